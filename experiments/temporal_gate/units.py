"""What is known of a trained network: how it learned, when the gate of each unit is open, and what noise it lets in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from experiments.temporal_gate.timed_signals import Bursts
from jaxrnn.cells import openness

QUIET = 0.2


class Units(NamedTuple):
    """The gates of a network, (H,) each.

    Attributes:
      period, shift, open_ratio: as the cell has them.
      use: share of the unit in telling the classes apart: standard deviation, over the classes, of its mean h_T, times
        the norm of its row of W_y. What noise does to h_T does not count.
    """

    period: np.ndarray
    shift: np.ndarray
    open_ratio: np.ndarray
    use: np.ndarray

    def openness(self, times: np.ndarray) -> np.ndarray:
        """k of each unit at these times, (N, H), without leak."""
        k = openness(times[:, None], self.period[None, :], self.shift[None, :], self.open_ratio[None, :])
        return np.asarray(k, np.float64)


class Curve(NamedTuple):
    """How a network learned, over seeds.

    Attributes:
      updates: (N,).
      accuracy: validation accuracy then, (seeds, N).
      before, after: the gates of each seed at first and at the end; empty for a network without gates.
      sensitivity: of each seed at the end, (T,) each; empty for a network without gates.
    """

    updates: np.ndarray
    accuracy: np.ndarray
    before: list[Units]
    after: list[Units]
    sensitivity: list[np.ndarray]


def openness_in_noise(units: Units, bursts: Bursts, times: np.ndarray) -> np.ndarray:
    """The share of each unit's openness at these times that lies within bursts, (H,); NaN if it never opens."""
    k = units.openness(times)
    noisy = np.asarray(bursts.cover(times))
    total = k.sum(axis=0)
    return np.where(total > 0, k[noisy].sum(axis=0) / np.where(total > 0, total, 1), np.nan)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value at which half of the weight is reached; values that are not finite do not count."""
    finite = np.isfinite(values)
    order = np.argsort(values[finite])
    reached = np.cumsum(weights[finite][order])
    return float(values[finite][order][np.searchsorted(reached, reached[-1] / 2)])


def noise_of_gates(curve: Curve, bursts: Bursts, length: int) -> dict[str, Any]:
    """What the gates are like before and after training, one a seed, beside the gate that shuts the noise out.

    Medians and means are over units, weighted by use. A quiet unit has less than `QUIET` of its openness in noise; of
    the most used one period, shift and open ratio are given.
    """
    times = np.arange(length, dtype=np.float64)

    def summary(units: Units) -> dict[str, Any]:
        in_noise = openness_in_noise(units, bursts, times)
        known = np.isfinite(in_noise)
        quiet = known & (np.nan_to_num(in_noise, nan=1.0) < QUIET)
        best = int(np.argmax(np.where(quiet, units.use, -1))) if quiet.any() else None
        return {
            "period": weighted_median(units.period, units.use),
            "shift": weighted_median((units.shift - true_shift) % bursts.period + true_shift, units.use),
            "open_ratio": weighted_median(units.open_ratio, units.use),
            "use_of_quiet_units": float(units.use[quiet].sum()),
            "most_used_quiet_unit": None if best is None else [float(part[best]) for part in units[:3]],
            "openness_in_noise": float(np.average(in_noise[known], weights=units.use[known])),
        }

    true_shift = (bursts.onset + bursts.share * bursts.period) % bursts.period
    return {
        "true_period": bursts.period,
        "true_shift": true_shift,
        "true_open_ratio": 1 - bursts.share,
        "sensitivity_in_noise": [
            float(of[np.asarray(bursts.cover(times))].sum() / of.sum()) for of in curve.sensitivity
        ],
        "noisy_share_of_steps": float(np.asarray(bursts.cover(times)).mean()),
        "before": [summary(units) for units in curve.before],
        "after": [summary(units) for units in curve.after],
    }


def units_of_gates(curve: Curve) -> dict[str, list[dict[str, list[float]]]]:
    """The gates of each seed before and after training, for JSON: period, shift, open ratio and use of every unit."""
    return {
        when: [{name: part.tolist() for name, part in units._asdict().items()} for units in of]
        for when, of in (("before", curve.before), ("after", curve.after))
    }
