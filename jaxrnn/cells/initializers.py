"""What draws starting weights, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

Initializer = Callable[[jax.Array, tuple[int, ...], Any], jax.Array]


def symmetric_uniform(bound: float) -> Initializer:
    """Draws evenly from -bound to bound, as char-rnn does."""

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


WITH_A_SCALE: dict[str, Callable[[float], Initializer]] = {
    "normal": jax.nn.initializers.normal,
    "uniform": symmetric_uniform,
}
# The sizes of a matrix decide: its rows or columns are orthonormal (Saxe et al., 2014), or 2 / (rows + columns)
# (Glorot and Bengio, 2010), 1 / rows (LeCun et al., 1998) or 2 / rows (He et al., 2015) is the variance.
BY_SIZE: dict[str, Initializer] = {
    "orthogonal": jax.nn.initializers.orthogonal(),
    "glorot-uniform": jax.nn.initializers.glorot_uniform(),
    "glorot-normal": jax.nn.initializers.glorot_normal(),
    "lecun-normal": jax.nn.initializers.lecun_normal(),
    "he-normal": jax.nn.initializers.he_normal(),
}


def initializer(name: str, scale: float) -> Initializer:
    """What draws starting weights, by its name among the settings; only normal and uniform ones have a scale."""
    return WITH_A_SCALE[name](scale) if name in WITH_A_SCALE else BY_SIZE[name]
