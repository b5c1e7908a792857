"""Factors of the learning rate, as functions of the epoch and the update, both counted from 0.

Everything here is a value and may be traced, so one compiled program serves all rates and lengths. The factors are
multiplied.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def epoch_decay(epoch: jax.Array, decay_rate: jax.Array, decay_after_epochs: jax.Array) -> jax.Array:
    """Constant, then times `decay_rate` at each epoch's start:

        decay_rate ** max(epoch + 1 - decay_after_epochs, 0)

    Example:
      >>> [round(float(epoch_decay(epoch, 0.5, 10)), 3) for epoch in (0, 9, 10, 11)]  # the eleventh is the first
      [1.0, 1.0, 0.5, 0.25]
    """
    return jnp.asarray(decay_rate) ** jnp.maximum(epoch + 1 - decay_after_epochs, 0)


def step_decay(update: jax.Array, decay_rate: jax.Array, decay_every_updates: jax.Array) -> jax.Array:
    """Times `decay_rate` after every `decay_every_updates` updates; 0 decays never:

        decay_rate ** floor(update / decay_every_updates)

    Example:
      >>> [round(float(step_decay(update, 0.5, 100)), 3) for update in (0, 99, 100, 200)]
      [1.0, 1.0, 0.5, 0.25]
    """
    decays = jnp.where(decay_every_updates > 0, update // jnp.maximum(decay_every_updates, 1), 0)
    return jnp.asarray(decay_rate) ** decays


def cosine_decay(update: jax.Array, decay_rate: jax.Array, updates: jax.Array) -> jax.Array:
    """From 1 along half a cosine to `decay_rate`, which it keeps after N = `updates` updates:

        r + (1 - r) (1 + cos(pi min(update / N, 1))) / 2

    Example:
      >>> [round(float(cosine_decay(update, 0.1, jnp.int32(100))), 3) for update in (0, 50, 100, 200)]
      [1.0, 0.55, 0.1, 0.1]

    Reference: Loshchilov and Hutter, 2017.
    """
    rate = jnp.asarray(decay_rate)
    share = jnp.minimum(jnp.asarray(update).astype(rate.dtype) / jnp.maximum(updates, 1).astype(rate.dtype), 1)
    return rate + (1 - rate) * (1 + jnp.cos(jnp.pi * share)) / 2


def warm_up(update: jax.Array, warmup_updates: jax.Array, dtype: jax.typing.DTypeLike = float) -> jax.Array:
    """A straight line that reaches 1 at the last of `warmup_updates` updates, then 1; 0 has no warm-up:

        min((update + 1) / warmup_updates, 1)

    Example:
      >>> [round(float(warm_up(update, 4)), 3) for update in (0, 1, 3, 4)]
      [0.25, 0.5, 1.0, 1.0]
    """
    length = jnp.maximum(warmup_updates, 1)
    done = jnp.minimum(jnp.asarray(update) + 1, length)
    return done.astype(dtype) / length.astype(dtype)
