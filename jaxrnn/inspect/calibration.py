"""Whether a model is as sure as it is right: confidence beside accuracy, and entropy, over any number of chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class CalibrationSums:
    """Sums over some characters; `+` joins those of two chunks.

    Args:
      characters: of each bin of confidence, how many, (bins,).
      confidence: of each bin, the sum of the best guess's probability, (bins,).
      right: of each bin, how many best guesses were right, (bins,).
      entropy_nats: sum of - sum_v p(v) ln p(v).
      loss_nats: sum of - ln p(the true one).
    """

    characters: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    entropy_nats: float
    loss_nats: float

    def __add__(self, other: CalibrationSums) -> CalibrationSums:
        return CalibrationSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


class Calibration(NamedTuple):
    """How sure a model is, and how often it is right.

    Args:
      characters: of each bin of confidence, how many, (bins,).
      confidence: of each bin, the mean probability of the best guess, (bins,); NaN where the bin is empty.
      accuracy: of each bin, the share of right guesses, (bins,); NaN likewise.
      expected_error: sum over bins of (share of the characters) |accuracy - confidence|, from 0, calibrated, to 1.
      mean_confidence: over all characters.
      mean_accuracy: likewise.
      entropy_nats: mean of - sum_v p(v) ln p(v): the loss that the model expects.
      loss_nats: mean of - ln p(the true one): the loss that it has.
    """

    characters: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    expected_error: float
    mean_confidence: float
    mean_accuracy: float
    entropy_nats: float
    loss_nats: float


def calibration_sums(probabilities: np.ndarray, targets: np.ndarray, bins: int = 10) -> CalibrationSums:
    """Counts one chunk; the sums of all chunks, added, go to `calibration_of`.

    A character is in bin floor(confidence x bins), confidence 1 in the last. Of equal probabilities the lowest id is
    the guess.

    Args:
      probabilities: p of every symbol at each character, (T, V).
      targets: the true ids, (T,).
      bins: how many parts from 0 to 1.

    Raises:
      ValueError: if the shapes do not fit, a row does not sum to 1 within 1e-3, as logits would not, or a target has
        no probability.

    Example:
      >>> sums = calibration_sums(np.array([[0.75, 0.25]]), np.array([0]))
      >>> sums += calibration_sums(np.array([[1, 0], [0, 1]]), np.array([0, 0]))
      >>> sums.characters[[7, 9]], round(calibration_of(sums).expected_error, 4)  # (|1 - 0.75| + |1 - 2|) / 3
      (array([1, 2]), 0.4167)
    """
    p, targets = np.asarray(probabilities, np.float64), np.asarray(targets)
    if p.ndim != 2 or targets.shape != p.shape[:1]:
        raise ValueError(f"expected probabilities (T, V) and targets (T,), got {p.shape} and {targets.shape}")
    if not (np.all(p >= 0) and np.all(np.abs(p.sum(axis=1) - 1) < 1e-3)):
        raise ValueError("expected probabilities, rows that sum to 1, got others; take the softmax of logits first")
    if targets.size and not 0 <= targets.min() <= targets.max() < p.shape[1]:
        raise ValueError(f"expected targets from 0 to {p.shape[1] - 1}, got {targets.min()} to {targets.max()}")
    rows, guesses = np.arange(len(p)), p.argmax(axis=1)
    with np.errstate(divide="ignore"):  # a true symbol of probability 0 is an infinite loss
        loss = -np.log(p[rows, targets])
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1)
    return sums_of_guesses(p[rows, guesses], guesses == targets, entropy, loss, bins)


def sums_of_guesses(
    confidence: np.ndarray, right: np.ndarray, entropy: np.ndarray, loss: np.ndarray, bins: int = 10
) -> CalibrationSums:
    """Counts one chunk by each character's best guess, its probability and whether it was right; all (T,)."""
    confidence = np.asarray(confidence, np.float64)
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    characters, sure, correct = (np.bincount(bin_of, weights, bins) for weights in (None, confidence, right))
    entropy_nats, loss_nats = (float(of.sum(dtype=np.float64)) for of in (entropy, loss))
    return CalibrationSums(characters, sure, correct, entropy_nats, loss_nats)


def calibration_of(sums: CalibrationSums) -> Calibration:
    """Means of what was counted; NaN if nothing was.

    Source: the expected error is that of Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks",
    2017, whose bins are open below where ours are open above.
    """
    characters = sums.characters
    total = np.where(characters.sum() > 0, characters.sum(), np.nan)
    of_bin = np.where(characters > 0, characters, np.nan)
    sums_of_all = (sums.confidence.sum(), sums.right.sum(), sums.entropy_nats, sums.loss_nats)
    return Calibration(
        characters,
        sums.confidence / of_bin,
        sums.right / of_bin,
        float(np.abs(sums.right - sums.confidence).sum() / total),
        *(float(of_all / total) for of_all in sums_of_all),
    )
