"""The text of a population: split in order into training, validation and test data, and cut into streams."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxrnn.data.windows import ScoredStreams, count_windows, scored_streams, to_streams
from jaxrnn.errors import ConfigurationError

THESIS_SPLIT = (0.8, 0.1, 0.1)


class TextSplit(NamedTuple):
    """Three parts of a text, each in the text's order."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


class PopulationData(NamedTuple):
    """What the members of a population read; all of one fold read the same.

    Attributes:
      train: ids, (folds, S + 1, B).
      valid: the validation data of each fold.
    """

    train: Any
    valid: ScoredStreams


def split_in_order(
    ids: np.ndarray, fractions: tuple[float, float, float] = THESIS_SPLIT, fold: int = 0, folds: int = 1
) -> TextSplit:
    """The text's beginning for training, what follows for validation, the end for tests.

    Fold f of F begins f N / F symbols later and goes on from the text's end at its start, so that all folds have parts
    of the same lengths and each has other test data.

    Args:
      ids: (N,).
      fractions: the shares of the three parts; their sum is 1.
      fold: f, from 0.
      folds: F.

    Raises:
      ConfigurationError: if the shares are not positive or their sum is not 1, or there is no such fold.

    Example:
      >>> [part.tolist() for part in split_in_order(np.arange(10), (0.6, 0.2, 0.2), fold=1, folds=2)]
      [[5, 6, 7, 8, 9, 0], [1, 2], [3, 4]]
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ConfigurationError(f"--split expects three positive shares whose sum is 1; got {fractions}")
    if not 0 <= fold < folds:
        raise ConfigurationError(f"a fold is a number from 0 to {folds - 1}; got {fold}")
    if fold:
        ids = np.roll(ids, -(fold * len(ids) // folds))
    train_end = round(len(ids) * fractions[0], 6) // 1
    valid_end = train_end + round(len(ids) * fractions[1], 6) // 1
    return TextSplit(*np.split(ids, [int(train_end), int(valid_end)]))


def population_data(splits: list[TextSplit], batch_size: int, bptt_length: int, retrain: bool = False):
    """The data of all folds, and the test data apart: it is read once, at the end.

    Args:
      splits: one a fold.
      batch_size: B.
      bptt_length: T.
      retrain: train on training and validation data together.

    Returns:
      `PopulationData` and the `ScoredStreams` of the test data.

    Raises:
      DataError, ConfigurationError: if a part is too short.
    """
    trained = [np.concatenate([s.train, s.valid]) if retrain else s.train for s in splits]
    count_windows(len(trained[0]), bptt_length, batch_size)
    train = np.stack([to_streams(ids, batch_size) for ids in trained])
    valid = stacked([scored_streams(s.valid, batch_size, bptt_length) for s in splits])
    return PopulationData(train, valid), stacked([scored_streams(s.test, batch_size, bptt_length) for s in splits])


def stacked(parts: list[ScoredStreams]) -> ScoredStreams:
    """The same part of all folds; it is scored at the same places in each."""
    return ScoredStreams(np.stack([part.streams for part in parts]), parts[0].scored)
