"""Training, validation and test data of one text, in the text's order, and how many characters a share of it is.

A share is the decimal number that was written, not its binary neighbour: 0.29 of 100 characters are 29, where
100 * 0.29 in binary numbers is 28.999999999999996.
"""

from __future__ import annotations

import decimal
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable

CUT_BY = ("validation_fraction", "test_fraction", "fold", "folds", "retrain")  # settings, as `split_text` takes them
LARGEST_DIGITS = 30  # far more than a text's length has


def held_out(characters: int, share: float) -> int:
    """How many characters a share of a text is, rounded down.

    Args:
      characters: N.
      share: from 0 to below 1; it means the shortest decimal number that Python prints for it. Where it is the quotient
        k / N as Python computes it, it means k characters.

    Example:
      >>> held_out(100, 0.29), held_out(720, 80 / 720)
      (29, 80)
    """
    count = math.floor(exactly(share) * characters)
    return count + 1 if (count + 1) / characters <= share else count


def smallest_share(characters: int, least: int, most: int) -> str | None:
    """The smallest share of few digits that holds out so many characters, as a person would type it.

    Four digits are taken, rounded up, and more only where four would hold out too much.

    Args:
      characters: N.
      least: how many characters must be held out.
      most: how many may be.

    Returns:
      The share in decimal digits; None if no share holds out a number of characters between the two.

    Example:
      >>> smallest_share(1_000_000, 123_457, 200_000), smallest_share(1_000_000, 123_457, 123_457)
      ('0.1235', '0.123457')
    """
    if not 0 < least <= most < characters:
        return None
    for digits in range(4, LARGEST_DIGITS):
        rounding = decimal.Context(digits, decimal.ROUND_CEILING)
        share = format(rounding.divide(decimal.Decimal(least), decimal.Decimal(characters)), "f")
        if float(share) < 1 and least <= held_out(characters, float(share)) <= most:
            return share
    return None


class TextSplit(NamedTuple):
    """Three parts of a text, each in the text's order; validation and test data may be empty."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split_text(
    ids: np.ndarray,
    validation_fraction: float = 0.0,
    test_fraction: float = 0.0,
    fold: int = 0,
    folds: int = 1,
    retrain: bool = False,
) -> TextSplit:
    """The text's beginning for training, what follows for validation, the end for tests.

    Of N symbols floor(N validation_fraction) are for validation; with test data floor(N (1 - both)) are trained on and
    the rest is for tests. The fractions count as the decimal numbers they are written as: 0.29 of 100 is 29. Fold f of
    F begins floor(f N / F) symbols later and goes on from the text's end at its start, so that all folds have parts of
    the same lengths and each has other test data.

    Args:
      ids: (N,).
      validation_fraction: from 0 to below 1.
      test_fraction: likewise; together below 1.
      fold: f, from 0.
      folds: F.
      retrain: the validation data is trained on as well, and there is none.

    Returns:
      The parts; of fold 0 views, nothing is copied.

    Raises:
      ConfigurationError: if a fraction is not a number from 0 to below 1, both together leave nothing, or there is no
        such fold.

    Example:
      >>> [part.tolist() for part in split_text(np.arange(10), 0.2, 0.2, fold=1, folds=2)]
      [[5, 6, 7, 8, 9, 0], [1, 2], [3, 4]]
    """
    _check_share("validation fraction", validation_fraction)
    _check_share("test fraction", test_fraction)
    share = exactly(validation_fraction) + exactly(test_fraction)
    if share >= 1:
        raise ConfigurationError(f"the validation and test fractions expect a sum below 1, got {float(share):g}")
    if not 0 <= fold < folds:
        raise ConfigurationError(f"a fold of {folds} expects a number from 0 to {folds - 1}, got {fold}")
    ids = from_fold(ids, fold, folds)
    validated = held_out(len(ids), validation_fraction)
    trained = len(ids) - validated
    if test_fraction:
        trained = math.floor(len(ids) * (1 - share))
    if retrain:
        return TextSplit(ids[: trained + validated], ids[:0], ids[trained + validated :])
    return TextSplit(*np.split(ids, [trained, trained + validated]))


def from_fold(ids: np.ndarray, fold: int, folds: int) -> np.ndarray:
    """A text from where fold f of F begins, floor(f N / F), around to there; of fold 0 it is not copied."""
    return np.roll(ids, -(fold * len(ids) // folds)) if fold else ids


def exactly(fraction: float) -> Fraction:
    """The decimal number that a float is written as: 0.29 is 29/100, not the nearest binary number."""
    return Fraction(repr(float(fraction)))


def _check_share(name: str, share: object) -> None:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        got = printable(repr(share), keep="")[:40]
        raise ConfigurationError(f"{name} expects a number from 0 to below 1, got {got}")
