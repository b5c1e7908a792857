"""Limits of the gradient: of each entry, and of the norm of the whole tree.

A limit is above 0. Where nothing is to be clipped, the transformation is left out; see `jaxrnn.optim.optimizer`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

CLIP_NORMS = ("l1", "l2", "linf")


def clip_by_value(limit: jax.Array | float) -> optax.GradientTransformation:
    """Each entry to the range from -limit to limit.

    An infinite entry becomes the limit, NaN stays NaN: who must know that a gradient was not finite looks at it before.

    Args:
      limit: above 0; infinity clips nothing. May be traced.

    Raises:
      ValueError: if the limit is known and not above 0.
    """
    return optax.clip(_above_0("clip_by_value", limit))


def clip_by_norm(limit: jax.Array | float, norm: str = "l2") -> optax.GradientTransformation:
    r"""The whole gradient to a norm, over all entries of all leaves together:

        g <- g limit / |g|    if |g| > limit, else g as it is
        |g| = sum |g_i| (l1),  sqrt(sum g_i^2) (l2),  max |g_i| (linf)

    The largest entry m is taken out, |g| = m |g / m|, so that the norm of a finite gradient never overflows. A gradient
    with an infinite entry or NaN has no direction to keep: it passes as it is.

    Args:
      limit: above 0; infinity clips nothing. May be traced.
      norm: one of `CLIP_NORMS`.

    Raises:
      ValueError: if the norm is unknown, or the limit is known and not above 0.

    Example:
      >>> clip = clip_by_norm(jnp.asarray(1.0), "l1")
      >>> print(clip.update(jnp.asarray([3.0, -1.0]), clip.init(None))[0])
      [ 0.75 -0.25]

    Reference: Pascanu, Mikolov and Bengio, 2013, for the L2 norm.
    """
    if norm not in CLIP_NORMS:
        raise ValueError(f"clip_by_norm expects a norm out of {', '.join(CLIP_NORMS)}; got {norm!r}")
    limit = _above_0("clip_by_norm", limit)

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        leaves = [jnp.abs(leaf) for leaf in jax.tree.leaves(gradients)]
        largest = jnp.stack([leaf.max(initial=0.0) for leaf in leaves]).max()
        divisor = jnp.where(largest > 0, largest, 1)
        ratios = [leaf / divisor for leaf in leaves]
        if norm == "l1":
            relative = sum(ratio.sum() for ratio in ratios)
        elif norm == "l2":
            relative = jnp.sqrt(sum((ratio * ratio).sum() for ratio in ratios))
        else:
            relative = jnp.stack([ratio.max(initial=0.0) for ratio in ratios]).max()
        allowed = limit / divisor
        above = relative > allowed  # false if an entry is not finite, since the ratios then have a NaN
        factor = jnp.where(above, allowed / relative, 1)
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), gradients), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _above_0(name: str, limit: jax.Array | float) -> jax.Array:
    # 0 would make every gradient 0. A traced limit cannot be looked at.
    if not isinstance(limit, jax.core.Tracer) and not np.all(np.asarray(limit) > 0):
        raise ValueError(f"{name} expects a limit above 0, got {limit}; leave it out if nothing is to be clipped")
    return jnp.asarray(limit)
