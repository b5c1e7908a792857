"""Dynamic evaluation against a loop in NumPy with the hand-derived gradient of the vanilla network."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from jaxrnn.errors import ConfigurationError
from jaxrnn.models.structure import params_of
from jaxrnn.scoring import Adaptation, evaluate_adapting, evaluate_ids, mean_squared_gradients
from jaxrnn.scoring.dynamic import EPSILON
from tests.reference.book_loop import window_loss_and_gradients
from tests.reference.small_model import random_model, to_reference

SYMBOLS, HIDDEN, SEGMENT, END = 6, 5, 3, 4
ETA, LAMBDA = 0.02, 0.6


def read(weights: dict, ids: np.ndarray, step: Any) -> float:
    """The loss sum of a text, segment by segment; `step(gradients)` may change the weights after each."""
    h, loss = np.zeros(HIDDEN), 0.0
    for start in range(0, len(ids) - 1, SEGMENT):
        own = ids[start : start + SEGMENT + 1]
        resets = np.array([i > 0 and ids[i - 1] == END for i in range(start, start + len(own) - 1)])
        lost, gradients, h = window_loss_and_gradients(weights, own[:-1], own[1:], h, resets)
        loss += lost
        step({name: g / (len(own) - 1) for name, g in gradients.items()})
    return loss


@pytest.fixture
def parts(float64: Any, rng: np.random.Generator) -> tuple[Any, Any, np.ndarray, Any]:
    model = random_model(SYMBOLS, HIDDEN, rng)
    ids = rng.integers(0, SYMBOLS, 3 * 64 * SEGMENT // 2).astype(np.uint8)  # a call and a half, and a short segment
    squares = jax.tree.map(lambda p: np.abs(rng.normal(size=p.shape)), params_of(model))
    return nnx.split(model)[0], params_of(model), ids, squares


def test_mean_squared_gradients_are_those_of_the_loop(parts: Any) -> None:
    graphdef, params, ids, _ = parts
    gradients: list[dict] = []
    read(to_reference(params), ids, gradients.append)
    found = to_reference(mean_squared_gradients(graphdef, params, ids, segment=SEGMENT, document_end=END))
    for name, of in found.items():
        np.testing.assert_allclose(of, np.mean([g[name] ** 2 for g in gradients], axis=0), rtol=1e-9, atol=1e-15)


def test_parameters_follow_as_in_the_loop(parts: Any) -> None:
    graphdef, params, ids, squares = parts
    weights, first = to_reference(params), to_reference(params)
    rms = {name: np.sqrt(of) for name, of in to_reference(squares).items()}
    mean = np.concatenate([of.ravel() for of in rms.values()]).mean()

    def step(gradients: dict) -> None:
        for name, g in gradients.items():
            back = np.minimum(LAMBDA * rms[name] / mean, 1) * (first[name] - weights[name])
            weights[name] += -ETA * g / (rms[name] + EPSILON * mean) + back

    loss = read(weights, ids, step)
    found = evaluate_adapting(graphdef, params, ids, squares, Adaptation(ETA, LAMBDA, SEGMENT), document_end=END)
    assert found.loss_nats == pytest.approx(loss / (len(ids) - 1), rel=1e-11)
    assert any(LAMBDA * of.max() / mean > 1 for of in rms.values())  # the limit of the decay was reached


def test_a_rate_of_zero_is_the_plain_score(parts: Any) -> None:
    graphdef, params, ids, squares = parts
    found = evaluate_adapting(graphdef, params, ids, squares, Adaptation(0.0, 0.1, SEGMENT), document_end=END)
    plain = evaluate_ids(graphdef, params, ids, document_end=END)
    assert found == pytest.approx(plain, rel=1e-12)


def test_what_repeats_is_learned_on_the_way(parts: Any) -> None:
    graphdef, params, _, squares = parts
    ids = np.tile([0, 3, 5, 1, 2], 100)
    found = evaluate_adapting(graphdef, params, ids, squares, Adaptation(0.03, 0.0, SEGMENT))
    assert found.loss_nats < 0.5 * evaluate_ids(graphdef, params, ids).loss_nats


@pytest.mark.parametrize(
    ("values", "told"),
    [((-1.0,), "--adapt-rate"), ((1e-3, 1.0), "--adapt-decay"), ((1e-3, 0.1, 0), "--adapt-segment")],
)
def test_settings_out_of_range_are_refused(values: tuple, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Adaptation(*values)
