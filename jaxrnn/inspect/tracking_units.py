"""Units that track a property of the text: ranked, set beside a probe over all units, confirmed on held-out text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxrnn.errors import ConfigurationError

HELD_OUT = 1 / 3
SHIFTS = 200
LEVEL = 0.05  # share of searches among unrelated units that confirm one
PENALTIES = (0.2, 0.1, 0.05, 0.02, 0.01)  # of the probe, in units of the labels' standard deviation
PROBE_STEPS = 500
FEWEST = 1000  # characters


class TrackingUnit(NamedTuple):
    """The unit that tracks a property best, by the first part of the text.

    Attributes:
      property: its name.
      unit: index among all units, the lowest layer's first.
      score: correlation on the first part.
      held_out: correlation on the held-out rest.
      threshold: what the largest |correlation| of all units and properties reaches on the rest by chance, at `LEVEL`.
      confirmed: whether |held_out| is above it, with the sign of `score`.
      probe: correlation on the rest of a sparse linear probe over all units.
      probe_units: how many units that probe uses.
    """

    property: str
    unit: int
    score: float
    held_out: float
    threshold: float
    confirmed: bool
    probe: float
    probe_units: int


def find_tracking_units(
    activations: np.ndarray, properties: Mapping[str, np.ndarray], *, seed: int = 0, shifts: int = SHIFTS
) -> list[TrackingUnit]:
    r"""For each property, the unit that correlates with it most.

    The score of unit u and property q is Pearson's

        r_uq = mean_n  (a_un - mean a_u) / sd a_u  *  (q_n - mean q) / sd q

    which for a yes or no is the difference of the unit's means inside and outside, in its standard deviations, times
    sqrt(p (1 - p)). The unit is chosen on the first two thirds of the text and judged on the last. By chance even the
    best of many units correlates, and both go slowly through the text; so the threshold is the quantile 1 - `LEVEL` of

        max over all u and q  |r_uq|     with the properties of the rest shifted cyclically against it

    over random shifts, which keeps how slowly each goes. Of searches in which nothing is tracked at most `LEVEL`
    confirm anything.

    The probe is least squares with an L1 penalty on the same first part (lasso, by accelerated proximal steps), its
    penalty chosen within that part.

    Args:
      activations: (N, U): row n after the model has read character n.
      properties: by name (N,), such as `properties_of` gives.
      seed: of the shifts.
      shifts: how many.

    Returns:
      One a property, the highest |held_out| first.

    Raises:
      ConfigurationError: if lengths differ, or the text is shorter than `FEWEST` characters.
    """
    if len(activations) < FEWEST or any(len(of) != len(activations) for of in properties.values()):
        lengths = sorted({len(activations), *(len(of) for of in properties.values())})
        raise ConfigurationError(
            f"a search for units expects as many activations as characters, at least {FEWEST}; got {lengths}"
        )
    names = list(properties)
    labels = np.stack([np.asarray(properties[name], np.float32) for name in names], axis=1)
    cut = len(activations) - int(len(activations) * HELD_OUT)
    first, rest = (_standardised(part) for part in (activations[:cut], activations[cut:]))
    first_labels, rest_labels = (_standardised(part) for part in (labels[:cut], labels[cut:]))
    scores, held_out = first.T @ first_labels / len(first), rest.T @ rest_labels / len(rest)
    threshold = float(np.quantile(_by_chance(rest, rest_labels, seed, shifts), 1 - LEVEL))
    weights = _probe(first, first_labels)
    answers = rest @ weights
    found = []
    for number, name in enumerate(names):
        unit = int(np.argmax(np.abs(scores[:, number])))
        score, other = float(scores[unit, number]), float(held_out[unit, number])
        probe = float(_standardised(answers[:, [number]])[:, 0] @ rest_labels[:, number] / len(rest))
        used = int((weights[:, number] != 0).sum())
        found.append(
            TrackingUnit(name, unit, score, other, threshold, abs(other) > threshold and score * other > 0, probe, used)
        )
    return sorted(found, key=lambda unit: -abs(unit.held_out))


def _standardised(columns: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1; one that never changes is 0."""
    columns = columns.astype(np.float32)
    columns = columns - columns.mean(0, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt((columns.astype(np.float64) ** 2).mean(0))
    return (columns / np.where(deviation > 1e-12, deviation, np.inf)).astype(np.float32)


def _by_chance(units: np.ndarray, labels: np.ndarray, seed: int, shifts: int) -> np.ndarray:
    """The largest |correlation| under each shift, (shifts,)."""
    generator, n = np.random.default_rng(seed), len(units)
    by = generator.integers(n // 10, n - n // 10, shifts)
    largest = [np.abs(units.T @ np.roll(labels, shift, axis=0)).max() / n for shift in by]
    return np.array(largest)


def _probe(units: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights (U, Q) of the least squares with an L1 penalty, both sides standardised.

    Each property's penalty is the one that does best on the last third of these rows, when fitted on the others.
    """
    cut = len(units) - int(len(units) * HELD_OUT)
    gram, target = units[:cut].T @ units[:cut] / cut, units[:cut].T @ labels[:cut] / cut
    tried = np.stack([_lasso(gram, target, penalty) for penalty in PENALTIES])
    errors = ((units[cut:] @ tried - labels[cut:]) ** 2).mean(1)
    return np.take_along_axis(tried, errors.argmin(0)[None, None, :], axis=0)[0]


def _lasso(gram: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
    step = 1 / max(float(np.linalg.eigvalsh(gram)[-1]), 1e-12)
    weights = ahead = np.zeros_like(target)
    momentum = 1.0
    for _ in range(PROBE_STEPS):
        new = ahead - step * (gram @ ahead - target)
        new = np.sign(new) * np.maximum(np.abs(new) - step * penalty, 0)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, weights, momentum = new + (momentum - 1) / following * (new - weights), new, following
    return weights
