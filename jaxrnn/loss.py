"""The loss of a next-symbol prediction, in nats."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def loss_nats(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Negative log-likelihood of each target, natural logarithm.

        L = log sum_k exp(logits_k) - logits_target

    The largest logit is taken out of the sum, so no logit overflows.

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
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, targets[..., None].astype(jnp.int32), axis=-1)[..., 0]
    return log_normalizer - chosen
