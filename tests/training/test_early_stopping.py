"""The rules on hand-made histories, and against the formula on random ones."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.training.early_stopping import EARLY_STOPPING_RULES, initial_early_stopping, observe, should_stop
from tests.trees import assert_trees_equal


@functools.partial(jax.jit, static_argnums=1)
def decisions(losses, rule, patience=3):
    """Whether the rule stops after each epoch."""

    def epoch(state, loss):
        state = observe(state, loss)
        return state, should_stop(state, rule, patience)

    return jax.lax.scan(epoch, initial_early_stopping(losses.dtype), losses)[1]


def stops_at(losses, rule, patience=3):
    """The first epoch, from 1, after which the rule stops; None if it never does."""
    stops = np.flatnonzero(decisions(jnp.asarray(losses), rule, patience))
    return int(stops[0]) + 1 if len(stops) else None


FALLS = [3.0 * 0.994**t for t in range(14)]  # faster than 5 per mille an epoch
NEARLY_FALLS = [3.0 * 0.996**t for t in range(14)]
NAN = math.nan


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [
        (FALLS, None),
        (NEARLY_FALLS, 11),  # never checked before the eleventh
        ([2.0] * 10, None),
        ([2.0] * 11, 11),
        ([9.0] * 3 + [2.0] * 14, 14),  # at 13 the third epoch is the reference, at 14 the fourth
        ([2.0] * 10 + [2.0 * 0.995**10 * (1 - 1e-9)], None),
        ([2.0] * 10 + [2.0 * 0.995**10 * (1 + 1e-9)], 11),
        ([2.0] * 9 + [NAN, 1.0], None),
        ([2.0] * 10 + [NAN], 11),
        ([NAN] * 10 + [2.0], None),
        ([NAN] * 11, 11),
        ([math.inf] * 11, 11),
    ],
)
def test_relative_decrease(losses, epoch, float64):
    assert stops_at(losses, "relative-decrease") == epoch


def test_relative_decrease_is_its_formula(float64, rng):
    losses = 2.0 * 0.996 ** np.arange(60) * np.exp(0.01 * rng.normal(size=60))
    expected = [t > 10 and losses[t - 1] > losses[t - 11] * (1 - 0.005) ** 10 for t in range(1, 61)]
    assert 0 < sum(expected) < 50
    np.testing.assert_array_equal(decisions(jnp.asarray(losses), "relative-decrease"), expected)


@pytest.mark.parametrize(
    ("losses", "patience", "epoch"),
    [
        ([3.0, 2.0, 1.0, 0.5, 0.4], 1, None),
        ([3.0, 2.0, 2.5, 2.4, 2.3], 3, 5),
        ([3.0, 2.0, 2.5, 2.4, 1.9, 2.0, 2.0, 1.0], 3, None),
        ([2.0, 2.0, 2.0, 2.0], 3, 4),  # as good is not better
        ([3.0, 2.0, NAN, NAN, NAN], 3, 5),
        ([NAN, NAN, NAN], 3, 3),
        ([NAN, NAN, 5.0, NAN, 4.0], 3, None),
        ([3.0, -math.inf, 2.0], 1, 3),
    ],
)
def test_patience(losses, patience, epoch, float64):
    assert stops_at(losses, "patience", patience) == epoch


def test_none_never_stops():
    assert stops_at([1.0] * 30 + [NAN] * 30, "none") is None


def test_members_of_a_population_stop_on_their_own(float64):
    histories = jnp.asarray([FALLS, NEARLY_FALLS, [2.0] * 14])
    together = jax.vmap(lambda losses: decisions(losses, "relative-decrease"))(histories)
    np.testing.assert_array_equal(together, [decisions(losses, "relative-decrease") for losses in histories])
    patiences = jnp.asarray([1, 2, 30])
    members = jax.vmap(lambda p: decisions(histories[2], "patience", p))(patiences)
    np.testing.assert_array_equal(members.argmax(axis=1), [1, 2, 0])
    assert not members[2].any()


def test_the_state_keeps_its_shape_and_survives_a_pause():
    """A restart in the middle sees what the run without a pause sees, and nothing is compiled again."""
    state = initial_early_stopping(jnp.float32)
    step = jax.jit(observe)
    for loss in FALLS:
        state = step(state, np.float32(loss))
    half = initial_early_stopping(jnp.float32)
    for n, loss in enumerate(FALLS):
        half = jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), half) if n == 6 else half
        half = step(half, np.float32(loss))
    assert_trees_equal(half, state)
    assert step._cache_size() == 1  # type: ignore[attr-defined]
    assert state.losses.dtype == jnp.float32 and int(state.epochs) == len(FALLS)


def test_an_unknown_rule_is_refused():
    assert EARLY_STOPPING_RULES == ("none", "patience", "relative-decrease")
    with pytest.raises(ValueError, match="none, patience, relative-decrease; got 'hope'"):
        should_stop(initial_early_stopping(), "hope")
