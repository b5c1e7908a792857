"""What draws starting weights, by name. The names can be read without loading JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax

Initializer = Callable[["jax.Array", tuple[int, ...], Any], "jax.Array"]

SCALED = ("normal", "uniform")  # those that `init_scale` is for
# Functions of `jax.nn.initializers`. The sizes of a matrix decide: its rows or columns are orthonormal (Saxe et al.,
# 2014), or 2 / (rows + columns) (Glorot and Bengio, 2010), 1 / rows (LeCun et al., 1998) or 2 / rows (He et al., 2015)
# is the variance.
BY_SIZE = ("orthogonal", "glorot-uniform", "glorot-normal", "lecun-normal", "he-normal")
INITIALIZER_NAMES = SCALED + BY_SIZE


def symmetric_uniform(bound: float) -> Initializer:
    """Draws evenly from -bound to bound, as char-rnn does."""
    import jax

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def initializer(name: str, scale: float) -> Initializer:
    """What draws starting weights, by its name among the settings.

    Args:
      name: one of `INITIALIZER_NAMES`.
      scale: the standard deviation of "normal" or half the width of "uniform"; the others have none.

    Raises:
      ValueError: if there is no such name.

    Example:
      >>> import jax
      >>> initializer("glorot-normal", 0.01)(jax.random.key(0), (3, 4), "float32").shape
      (3, 4)
    """
    import jax

    if name not in INITIALIZER_NAMES:
        raise ValueError(f"initializer expects a name out of {', '.join(INITIALIZER_NAMES)}; got {name!r}")
    if name == "uniform":
        return symmetric_uniform(scale)
    if name == "normal":
        return jax.nn.initializers.normal(scale)
    return getattr(jax.nn.initializers, name.replace("-", "_"))()
