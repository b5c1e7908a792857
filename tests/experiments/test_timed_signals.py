"""Signals with times against their rules, written out row by row in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.temporal_gate.timed_signals import Bursts, noisy_waves, sines

KEY = jax.random.key(5)
ROWS = jnp.arange(400)
BURSTS = Bursts(period=8.0, onset=3.0, share=0.5, scale=2.0)
WAVES = (20.0, 30.0, 45.0)
T = 40


def drawn_waves(key=KEY, rows=ROWS, bursts=BURSTS):
    drawn = jax.jit(noisy_waves, static_argnums=(2, 3, 4))(key, rows, T, WAVES, bursts)
    return tuple(np.asarray(part) for part in drawn)


def drawn_sines(asynchronous, key=KEY, rows=ROWS):
    drawn = jax.jit(sines, static_argnums=(2, 3, 4))(key, rows, 60, 30.0, asynchronous)
    return tuple(np.asarray(part) for part in drawn)


def fitted_residual(values, times, period):
    """What is left of values after the best sine of this period, and its amplitude."""
    angles = 2 * np.pi * times.astype(np.float64) / period
    basis = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    weights = np.linalg.lstsq(basis, values, rcond=None)[0]
    return np.abs(basis @ weights - values).max(), np.hypot(*weights)


def test_noise_covers_the_waves_during_bursts_only():
    values, times, classes = drawn_waves()
    assert values.shape == times.shape == (T, 400) and values.dtype == times.dtype == np.float32
    np.testing.assert_array_equal(times, np.repeat(np.arange(T)[:, None], 400, axis=1))
    noisy = (np.arange(T) - 3) % 8 < 4  # four of eight steps from the onset on
    np.testing.assert_array_equal(np.asarray(BURSTS.cover(jnp.arange(T))), noisy)
    for row in range(50):
        residual, amplitude = fitted_residual(values[~noisy, row], times[~noisy, row], WAVES[classes[row]])
        assert residual < 1e-4 and amplitude == pytest.approx(1, abs=1e-4)
    noise = values[noisy]
    assert abs(noise.mean()) < 0.1 and noise.std() == pytest.approx(2, rel=0.05)
    assert abs(np.corrcoef(noise)[0, 1:]).max() < 0.2  # fresh at each step
    np.testing.assert_allclose(np.bincount(classes) / 400, 1 / 3, atol=0.08)


def test_the_angles_of_the_waves_are_all_over_the_circle():
    clean = drawn_waves(bursts=BURSTS._replace(share=0.0))[0]
    assert abs(clean[0].mean()) < 0.12 and clean[0].std() == pytest.approx(np.sqrt(0.5), rel=0.1)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_sines_are_asked_whether_their_period_is_in_the_band(asynchronous):
    values, times, classes = drawn_sines(asynchronous)
    assert values.shape == times.shape == (60, 400) and set(np.unique(classes)) == {0, 1}
    assert 160 < classes.sum() < 240 and np.abs(values).max() <= 1
    in_band, others = np.linspace(5, 6, 41), np.concatenate([np.linspace(1.5, 4.9, 400), np.geomspace(6.2, 95, 400)])
    for row in range(12):
        best = [
            min(fitted_residual(values[:, row], times[:, row], period)[0] for period in periods)
            for periods in (in_band, others)
        ]
        if classes[row]:
            assert best[0] < 0.25 and best[0] < best[1]


def test_periods_outside_the_band_lie_on_both_sides_of_it():
    """Sign changes count half periods: fewer than those of period 6, or more than those of period 5."""
    values, _, classes = drawn_sines(False)
    changes = (np.diff(np.signbit(values), axis=0) != 0).sum(axis=0)
    assert set(changes[classes == 1]) <= set(range(9, 14))  # 30 / 6 to 30 / 5 periods
    slow, fast = (changes[classes == 0] < 9).mean(), (changes[classes == 0] > 13).mean()
    assert slow == pytest.approx(0.48, abs=0.1) and fast == pytest.approx(0.43, abs=0.1)


def test_times_are_regular_or_random():
    regular, random = drawn_sines(False)[1], drawn_sines(True)[1]
    np.testing.assert_allclose(regular, np.repeat(np.arange(60)[:, None] / 2, 400, axis=1))
    assert (np.diff(random, axis=0) >= 0).all() and random.min() >= 0 and random.max() < 30
    assert random.mean() == pytest.approx(15, abs=0.3) and random.std() == pytest.approx(30 / np.sqrt(12), rel=0.03)
    assert (random[:, 0] != random[:, 1]).any()


@pytest.mark.parametrize("draw", [drawn_waves, lambda **given: drawn_sines(True, **given)], ids=["waves", "sines"])
def test_a_row_depends_on_the_key_and_its_number_only(draw):
    whole, some, other = draw(), draw(rows=jnp.array([7, 3])), draw(key=jax.random.key(6))
    for part, few in zip(whole, some, strict=True):
        np.testing.assert_array_equal(few, part[..., [7, 3]])
    assert (other[0] != whole[0]).any()
