"""Optimizers by name, as Optax chains with every constant visible.

The learning rate and the clipping limits are values, traced like any other: a population may hold many of them in one
compiled program. What is static is only which transformations there are.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

OPTIMIZERS = ("adagrad", "rmsprop", "adam", "sgd")

# AdaGrad as in the reports: theta -= eta g / sqrt(M + eps) with M = sum of g^2 from the first update on. Optax's own
# defaults (M starts at 0.1, eps 1e-7) are another rule.
ADAGRAD_INITIAL_ACCUMULATOR = 0.0
ADAGRAD_EPS = 1e-8
# RMSprop as in Torch: theta -= eta g / (sqrt(m) + eps), with char-rnn's decay.
RMSPROP_DECAY = 0.95
RMSPROP_EPS = 1e-8
ADAM_B1, ADAM_B2, ADAM_EPS = 0.9, 0.999, 1e-8


class Hyperparameters(NamedTuple):
    """The values that steer the optimizer, each a scalar array.

    Attributes:
      learning_rate: eta.
      clip_value: limit of each gradient entry; infinity clips nothing.
      clip_global_norm: limit of the L2 norm of the whole gradient; infinity clips nothing.
      decay_rate: factor of the learning rate per epoch, once it decays.
      decay_after_epochs: epochs at the full learning rate.
    """

    learning_rate: jax.Array
    clip_value: jax.Array
    clip_global_norm: jax.Array
    decay_rate: jax.Array
    decay_after_epochs: jax.Array


def learning_rate_at(hyperparameters: Hyperparameters, epoch: jax.Array) -> jax.Array:
    """The learning rate in an epoch, counted from 0: constant, then times `decay_rate` at each epoch's start.

    With `decay_after_epochs` = 10 the first epoch with a smaller rate is the eleventh, epoch 10.
    """
    decays = jnp.maximum(epoch + 1 - hyperparameters.decay_after_epochs, 0)
    return hyperparameters.learning_rate * hyperparameters.decay_rate**decays


def make_optimizer(
    name: str,
    hyperparameters: Hyperparameters,
    epoch: jax.Array | int = 0,
    *,
    clips_value: bool = True,
    clips_global_norm: bool = False,
) -> optax.GradientTransformation:
    """The Optax chain: clip by value, clip by norm, the named rule, the learning rate.

    Args:
      name: one of `OPTIMIZERS`.
      hyperparameters: limits and rates; may be traced.
      epoch: the epoch, from 0, for the learning rate.
      clips_value: whether the chain clips each entry to [-clip_value, clip_value].
      clips_global_norm: whether it scales the gradient by clip_global_norm / norm, above that norm only.

    Raises:
      ValueError: if the name is unknown.
    """
    rules = {
        "adagrad": lambda: optax.scale_by_rss(ADAGRAD_INITIAL_ACCUMULATOR, ADAGRAD_EPS),
        "rmsprop": lambda: optax.scale_by_rms(RMSPROP_DECAY, RMSPROP_EPS, initial_scale=0.0, eps_in_sqrt=False),
        "adam": lambda: optax.scale_by_adam(ADAM_B1, ADAM_B2, ADAM_EPS),
        "sgd": optax.identity,
    }
    if name not in rules:
        raise ValueError(f"make_optimizer expects a name out of {', '.join(OPTIMIZERS)}; got {name!r}")
    steps = []
    if clips_value:
        steps.append(optax.clip(hyperparameters.clip_value))
    if clips_global_norm:
        steps.append(optax.clip_by_global_norm(hyperparameters.clip_global_norm))
    steps += [rules[name](), optax.scale_by_learning_rate(learning_rate_at(hyperparameters, jnp.asarray(epoch)))]
    return optax.chain(*steps)
