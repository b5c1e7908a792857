"""Signals with a time for each sample, drawn from a key on the device: waves under noise bursts, sines by frequency.

As in `jaxrnn.tasks.probes` a row depends on the key and its own number only. Numbers are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

TARGET_PERIODS = (5.0, 6.0)
OTHER_PERIODS = ((1.0, 5.0), (6.0, 100.0))


class TimedSignals(NamedTuple):
    """Samples of one number, when each was taken, and the class of each row.

    Attributes:
      values: (T, B).
      times: (T, B), rising along a row.
      classes: (B,), int32.
    """

    values: jax.Array
    times: jax.Array
    classes: jax.Array


class Bursts(NamedTuple):
    """When noise covers a signal, and how strong it is.

    Attributes:
      period: time from the beginning of one burst to the next.
      onset: a time at which a burst begins.
      share: the noisy share of the period.
      scale: standard deviation of the noise.
    """

    period: float
    onset: float
    share: float
    scale: float

    def cover(self, times: jax.typing.ArrayLike) -> jax.Array:
        """Whether there is noise at these times: ((t - onset) mod period) / period < share."""
        periods = (jnp.asarray(times) - self.onset) / self.period
        return periods - jnp.floor(periods) < self.share


def noisy_waves(
    key: jax.Array, rows: jax.Array, length: int, wave_periods: tuple[float, ...], bursts: Bursts
) -> TimedSignals:
    r"""Slow sines of a few periods, replaced by noise during periodic bursts; which period is asked for.

        v_t = scale n_t                       while ((t - onset) mod period) / period < share,   n_t ~ N(0, 1)
              sin(2 pi t / P_y + theta)       else,                                              theta ~ U(0, 2 pi)

    The bursts fall on the same times in every row, one sample a time unit.

    Args:
      key: key of the update.
      rows: numbers of the rows, (B,).
      length: T; times are 0 .. T - 1.
      wave_periods: P of each class.
      bursts: when there is noise.
    """
    times = jnp.arange(length, dtype=jnp.float32)

    def one(row: jax.Array) -> TimedSignals:
        key_class, key_angle, key_noise = jax.random.split(jax.random.fold_in(key, row), 3)
        wave = jax.random.randint(key_class, (), 0, len(wave_periods), jnp.int32)
        angle = jax.random.uniform(key_angle, (), jnp.float32, 0, 2 * jnp.pi)
        clean = jnp.sin(2 * jnp.pi * times / jnp.asarray(wave_periods, jnp.float32)[wave] + angle)
        noise = bursts.scale * jax.random.normal(key_noise, (length,), jnp.float32)
        return TimedSignals(jnp.where(bursts.cover(times), noise, clean), times, wave)

    return _by_columns(one, rows)


def sines(key: jax.Array, rows: jax.Array, length: int, duration: float, asynchronous: bool) -> TimedSignals:
    r"""Sines; whether the period lies within a narrow band is asked for.

        v_k = sin(2 pi t_k / P + theta)                         theta ~ U(0, 2 pi)
        y = 1: P ~ U(5, 6)          y = 0: P ~ U(1, 5) or U(6, 100), one as likely as the other
        t_k = k duration / T        asynchronous: T draws from U(0, duration), sorted

    Both classes are equally likely.

    Args:
      key: key of the update.
      rows: numbers of the rows, (B,).
      length: T, samples of a row.
      duration: the time that the samples lie in, in the unit of the periods.
      asynchronous: whether each row has random times.

    Source: the task of Neil, Pfeiffer and Liu, 2016, section 3.1.
    """

    def one(row: jax.Array) -> TimedSignals:
        key_class, key_side, key_period, key_angle, key_times = jax.random.split(jax.random.fold_in(key, row), 5)
        inside = jax.random.bernoulli(key_class)
        low, high = jnp.asarray(OTHER_PERIODS, jnp.float32)[jax.random.bernoulli(key_side).astype(jnp.int32)]
        low, high = jnp.where(inside, TARGET_PERIODS[0], low), jnp.where(inside, TARGET_PERIODS[1], high)
        period = low + (high - low) * jax.random.uniform(key_period, (), jnp.float32)
        angle = jax.random.uniform(key_angle, (), jnp.float32, 0, 2 * jnp.pi)
        if asynchronous:
            times = jnp.sort(jax.random.uniform(key_times, (length,), jnp.float32, 0, duration))
        else:
            times = jnp.arange(length, dtype=jnp.float32) * (duration / length)
        return TimedSignals(jnp.sin(2 * jnp.pi * times / period + angle), times, inside.astype(jnp.int32))

    return _by_columns(one, rows)


def _by_columns(one: Callable[[jax.Array], TimedSignals], rows: jax.Array) -> TimedSignals:
    return jax.vmap(one, out_axes=TimedSignals._make((1, 1, 0)))(rows)
