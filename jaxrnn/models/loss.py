"""The loss of a next-symbol prediction, in nats."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.engines.platforms import platform


def loss_nats(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Negative log-likelihood of each target, natural logarithm.

        L = log sum_k exp(logits_k - m) - (logits_target - m)      m = max_k logits_k

    Taking the largest logit out keeps exp from overflowing and large logits exact. The target's logit is picked by
    comparing ids, not by an index: the gradient of an indexed read is a scatter, which on a CPU cost a quarter of a
    small model's update. Where every kernel counts, one makes the log-probabilities, and a second one of them the loss
    and the gradient:

        z_k = logits_k - m - log sum_j exp(logits_j - m)     L = -z_target     dL/dlogits_k = exp(z_k) - (k = target)

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
    if platform().counts_kernels:
        return _by_log_probabilities(logits, targets)
    logits = logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    is_target = _is_target(logits, targets)
    return jnp.log(jnp.exp(logits).sum(axis=-1)) - jnp.where(is_target, logits, jnp.zeros_like(logits)).sum(axis=-1)


@jax.custom_jvp
def _by_log_probabilities(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return _and_slopes(logits, targets)[0]


@_by_log_probabilities.defjvp
def _by_log_probabilities_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    loss, slopes = _and_slopes(*primals)
    return loss, (slopes * tangents[0]).sum(axis=-1)


def _and_slopes(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    z, is_target = jax.nn.log_softmax(logits), _is_target(logits, targets)
    return -jnp.where(is_target, z, jnp.zeros_like(z)).sum(axis=-1), jnp.exp(z) - is_target.astype(z.dtype)


def _is_target(logits: jax.Array, targets: jax.Array) -> jax.Array:
    ids = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    return ids == targets[..., None].astype(jnp.int32)
