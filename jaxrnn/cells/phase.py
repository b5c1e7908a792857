"""The phase of a time within its period, without rounding error even where very many periods have passed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def phase_of(time: Any, shift: Any, period: Any) -> jax.Array:
    r"""((time - shift) mod period) / period, in [0, 1).

    In float32 the remainder is summed from exact parts, so that the phase is as good after 2^24 time units as after
    one: right to about 1e-7 for these very values of time, shift and period. In float64 it is the plain formula, off by
    1e-16 a period passed. The derivatives are those of (time - shift) / period.

    Args:
      time, shift, period: in one unit; shapes broadcast.
    """
    dtype = jnp.result_type(time, shift, period, float)
    return _phase(*(jnp.asarray(value, dtype) for value in (time, shift, period)))


@jax.custom_jvp
def _phase(time: jax.Array, shift: jax.Array, period: jax.Array) -> jax.Array:
    periods = (time - shift) / period
    passed = jnp.floor(periods)
    if time.dtype != jnp.float32:
        return periods - passed
    remainder = _sum_of([time, *(-part for part in _exact_product(passed, period)), -shift])
    # The count of periods was rounded too: off by one, and by three where it is near 2^24.
    remainder = remainder - jnp.floor(remainder / period) * period
    remainder = jnp.where(remainder < 0, remainder + period, remainder)
    phase = remainder / period
    return jnp.where(phase < 1, phase, 0)


@_phase.defjvp
def _phase_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    time, shift, period = primals
    d_time, d_shift, d_period = tangents
    return _phase(*primals), (d_time - d_shift - (time - shift) / period * d_period) / period


def _exact_product(a: jax.Array, b: jax.Array) -> list[jax.Array]:
    """Four float32 numbers whose sum is a b, the largest first, none of them rounded.

    A float32 has 24 bits: halves of 12 have products of 24. That a compiler joins a product and a sum to one operation
    changes nothing, since there is no rounding between the two to leave out.
    """
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return [a_high * b_high, a_high * b_low, a_low * b_high, a_low * b_low]


def _halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    high = jax.lax.bitcast_convert_type(bits & jnp.asarray(-(1 << 12), jnp.int32), jnp.float32)
    return high, x - high


def _sum_of(parts: list[jax.Array]) -> jax.Array:
    """The sum with the rounding errors of all its additions added at the end (Ogita, Rump and Oishi, 2005)."""
    total, *others = parts
    error = jnp.zeros_like(total)
    for part in others:
        new = total + part
        back = new - total
        error = error + ((total - (new - back)) + (part - back))
        total = new
    return total + error
