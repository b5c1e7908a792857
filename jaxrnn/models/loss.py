"""The loss of a next-symbol prediction, in nats."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def loss_nats(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Negative log-likelihood of each target, natural logarithm.

        L = log sum_k exp(logits_k - m) - (logits_target - m)      m = max_k logits_k

    Taking the largest logit out keeps exp from overflowing and large logits exact. The target's logit is picked by
    comparing ids, not by an index: the gradient of an indexed read is a scatter, which on a CPU cost a quarter of a
    small model's update.

    Args:
      logits: (..., V), float32 or wider.
      targets: (...), ids below V.

    Returns:
      (...), one number a target.

    Example:
      >>> import jax.numpy as jnp
      >>> float(loss_nats(jnp.zeros((1, 4)), jnp.array([2]))[0]).__round__(4)
      1.3863
    """
    logits = logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    ids = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    is_target = ids == targets[..., None].astype(jnp.int32)
    return jnp.log(jnp.exp(logits).sum(axis=-1)) - jnp.where(is_target, logits, jnp.zeros_like(logits)).sum(axis=-1)
