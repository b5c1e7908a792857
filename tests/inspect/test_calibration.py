"""Calibration and entropy against a loop over characters, in any chunks."""

import math

import numpy as np
import pytest

from jaxrnn.inspect.calibration import calibration_of, calibration_sums


def some_probabilities(characters: int, symbols: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.full(symbols, 0.4), characters)
    p[3] = np.eye(symbols)[2]  # certain
    return p, generator.integers(0, symbols, characters).astype(np.uint8)


def test_chunks_together_equal_a_loop_over_characters():
    p, targets = some_probabilities(200, 6)
    sure = p.max(axis=1) > 0.8  # right wherever it is sure, so too unsure there and too sure elsewhere
    targets[sure] = p[sure].argmax(axis=1)
    found = calibration_of(sum((calibration_sums(p[i : i + 7], targets[i : i + 7], 5) for i in range(7, 200, 7)),
                               start=calibration_sums(p[:7], targets[:7], 5)))  # fmt: skip
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(5)]
    entropy = loss = 0.0
    for row, target in zip(p.tolist(), targets.tolist(), strict=True):
        guess = max(range(6), key=lambda v: row[v])
        bins[min(4, math.floor(row[guess] * 5))].append((row[guess], guess == target))
        entropy -= sum(x * math.log(x) for x in row if x > 0)
        loss -= math.log(row[target])
    assert found.characters.tolist() == [len(members) for members in bins] and not bins[0]
    assert np.isnan(found.confidence[0]) and np.isnan(found.accuracy[0])
    error = 0.0
    for k, members in enumerate(bins[1:], 1):
        confidence, accuracy = (sum(of) / len(members) for of in zip(*members, strict=True))
        np.testing.assert_allclose([found.confidence[k], found.accuracy[k]], [confidence, accuracy], rtol=1e-12)
        error += len(members) / 200 * abs(confidence - accuracy)
    right = [r for members in bins for _, r in members]
    means = (error, p.max(axis=1).mean(), sum(right) / 200, entropy / 200, loss / 200)
    np.testing.assert_allclose(found[3:], means, rtol=1e-12)


def test_a_perfectly_calibrated_model_has_no_error():
    p = np.tile([[0.75, 0.25]], (8, 1))
    found = calibration_of(calibration_sums(p, np.array([0, 0, 0, 1] * 2)))
    assert found.expected_error == 0 and found.accuracy[7] == 0.75
    np.testing.assert_allclose(found.loss_nats, found.entropy_nats, rtol=1e-12)


def test_an_impossible_truth_is_an_infinite_loss_and_nothing_is_nan():
    assert calibration_of(calibration_sums(np.array([[1.0, 0.0]]), np.array([1]))).loss_nats == np.inf
    nothing = calibration_of(calibration_sums(np.zeros((0, 3)), np.zeros(0, int)))
    assert np.isnan(nothing.expected_error) and np.isnan(nothing.entropy_nats)


def test_logits_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="targets from 0 to 1, got -1 to 0"):
        calibration_sums(np.full((2, 2), 0.5), np.array([0, -1]))
    with pytest.raises(ValueError, match="softmax"):
        calibration_sums(np.array([[3.0, -1.0]]), np.array([0]))
    with pytest.raises(ValueError, match="softmax"):
        calibration_sums(np.array([[np.nan, 1.0]]), np.array([0]))
    with pytest.raises(ValueError, match=r"\(T, V\)"):
        calibration_sums(np.ones((2, 1)), np.array([0]))
