"""The factors of the learning rate at the borders, against products written out step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.optim.schedule import epoch_decay, step_decay, warm_up


@pytest.mark.parametrize("after", [0, 1, 10])
def test_the_first_smaller_epoch_comes_right_after_the_full_ones(after, float64):
    expected, factor = [], 1.0
    for epoch in range(14):
        factor *= 0.95 if epoch >= after else 1.0  # epochs 0 to after - 1 are full
        expected.append(factor)
    actual = jax.vmap(epoch_decay, (0, None, None))(jnp.arange(14), jnp.asarray(0.95), jnp.asarray(after))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_step_decay_at_its_borders(float64):
    updates = jnp.asarray([0, 1, 499, 500, 501, 999, 1000, 2**31 - 1])
    expected = 0.9 ** np.asarray([0, 0, 0, 1, 1, 1, 2, (2**31 - 1) // 500])
    actual = jax.vmap(step_decay, (0, None, None))(updates, jnp.asarray(0.9), jnp.asarray(500))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_warm_up_at_its_borders(float64):
    actual = jax.vmap(warm_up, (0, None))(jnp.arange(7), jnp.asarray(5))
    np.testing.assert_allclose(actual, [0.2, 0.4, 0.6, 0.8, 1, 1, 1], rtol=1e-12)


@pytest.mark.parametrize("update", [0, 1, 10**6])
def test_zero_switches_off(update):
    assert float(step_decay(jnp.asarray(update), jnp.asarray(0.5), jnp.asarray(0))) == 1
    assert float(warm_up(jnp.asarray(update), jnp.asarray(0))) == 1


def test_one_program_holds_schedules_of_all_kinds():
    """Lengths are values: on, off and different in one vmap."""
    every, warm = jnp.asarray([0, 1, 3]), jnp.asarray([0, 4, 9])
    decays = jax.jit(jax.vmap(lambda e: step_decay(jnp.asarray(3), jnp.asarray(0.5), e)))(every)
    np.testing.assert_allclose(decays, [1, 0.125, 0.5], rtol=1e-6)
    warmed = jax.jit(jax.vmap(lambda w: warm_up(jnp.asarray(2), w)))(warm)
    np.testing.assert_allclose(warmed, [1, 0.75, 1 / 3], rtol=1e-6)
