"""Optimizers by name, as Optax chains with every constant visible.

The learning rate, its schedule and the clipping limits are values, traced like any other: a population may hold many
of them in one compiled program. What is static is only which transformations there are, and their constants.

A clipping limit of 0 in the settings of a run switches it off, and one place decides that:
`TrainConfig.optimizer_settings` then leaves the transformation out (`clips_value`, `clips_global_norm`), and the value
is never read. Where the transformation is there, its limit is above 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrnn.optim import rules
from jaxrnn.optim.accumulation import accumulated
from jaxrnn.optim.clipping import clip_by_norm, clip_by_value
from jaxrnn.optim.schedule import cosine_decay, epoch_decay, step_decay, warm_up
from jaxrnn.optim.settings import OptimizerSettings
from jaxrnn.optim.table import OPTIMIZERS


class Hyperparameters(NamedTuple):
    """The values that steer the optimizer, each a scalar array.

    Attributes:
      learning_rate: eta.
      clip_value: limit of each gradient entry, above 0 if `clips_value`; infinity clips nothing.
      clip_global_norm: limit of the norm of the whole gradient, above 0 if `clips_global_norm`; infinity clips nothing.
      decay_rate: factor of the learning rate each time it decays.
      decay_after_epochs: epochs at the full learning rate.
      decay_every_updates: updates between two decays, beside those of the epochs; 0 is none.
      warmup_updates: updates in which the learning rate grows to its full size; 0 is none.
    """

    learning_rate: Any
    clip_value: Any
    clip_global_norm: Any
    decay_rate: Any
    decay_after_epochs: Any
    decay_every_updates: Any
    warmup_updates: Any


def make_hyperparameters(
    learning_rate: float,
    *,
    clip_value: float = math.inf,
    clip_global_norm: float = math.inf,
    decay_rate: float = 1.0,
    decay_after_epochs: int = 0,
    decay_every_updates: int = 0,
    warmup_updates: int = 0,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> Hyperparameters:
    """The values as arrays of NumPy, each its own: rates and limits in `dtype`, counts as 32-bit integers.

    Raises:
      ValueError: if a finite rate or limit is infinite in `dtype`.
    """
    rates = (learning_rate, clip_value, clip_global_norm, decay_rate)
    counts = (decay_after_epochs, decay_every_updates, warmup_updates)
    return Hyperparameters(
        *(_rounded(rate, dtype) for rate in rates), *(np.asarray(count, np.int32) for count in counts)
    )


def _rounded(rate: Any, dtype: jax.typing.DTypeLike) -> np.ndarray:
    with np.errstate(over="ignore"):
        made = np.asarray(rate, dtype)
    if (np.isinf(made) & np.isfinite(rate)).any():
        raise ValueError(
            f"make_hyperparameters expects rates and limits that {np.dtype(dtype)} can hold; got {rate}; give a "
            "smaller one, infinity for no limit, or another dtype"
        )
    return made


def learning_rate_at(
    hyperparameters: Hyperparameters, epoch: jax.Array | int, update: jax.Array | int = 0, decay_shape: str = "steps"
) -> jax.Array:
    """The learning rate at an epoch and an update, both from 0: the rate times each factor of `jaxrnn.optim.schedule`.

    With `decay_after_epochs` = 10 the first epoch with a smaller rate is the eleventh, epoch 10.
    """
    values, epoch, update = hyperparameters, jnp.asarray(epoch), jnp.asarray(update)
    if decay_shape == "cosine":
        rate = values.learning_rate * cosine_decay(update, values.decay_rate, values.decay_every_updates)
    else:
        rate = values.learning_rate * epoch_decay(epoch, values.decay_rate, values.decay_after_epochs)
        rate = rate * step_decay(update, values.decay_rate, values.decay_every_updates)
    return rate * warm_up(update, values.warmup_updates, values.learning_rate.dtype)


def make_optimizer(
    settings: OptimizerSettings,
    hyperparameters: Hyperparameters,
    epoch: jax.Array | int = 0,
    update: jax.Array | int = 0,
) -> optax.GradientTransformation:
    r"""The Optax chain: mean over windows, clip by value, clip by norm, the named rule, momentum, the learning rate.

    With g the clipped gradient, eta the learning rate at this epoch and update, and every accumulator 0 at first:

        adagrad   M <- M + g^2                                              s = g / sqrt(M + eps)
        rmsprop   m <- rho m + (1 - rho) g^2                                s = g / (sqrt(m) + eps)
        adam      m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2         s = m^ / (sqrt(v^) + eps)
                  m^ = m / (1 - b1^n),  v^ = v / (1 - b2^n) at step n
        adamw     as adam, and                                              s = m^ / (sqrt(v^) + eps) + lambda theta
        sgd                                                                 s = g

        theta <- theta - eta s                        without momentum
        q <- mu q + s,  theta <- theta - eta q        with it
                        theta <- theta - eta (s + mu q)   and with nesterov

    The learning rate is outside the momentum, as in PyTorch: when it changes, the whole step changes at once.

    Args:
      settings: which transformations there are, and their constants.
      hyperparameters: limits and rates; may be traced.
      epoch: the epoch, from 0, for the learning rate.
      update: the update, from 0, for the learning rate. With `accumulate` each window counts as one.

    Raises:
      ValueError: if the name of the rule or of the norm is unknown, or a limit that is not traced is not above 0.

    References: Duchi, Hazan and Singer, 2011 (AdaGrad); Tieleman and Hinton, 2012 (RMSprop); Kingma and Ba, 2015
    (Adam).
    """
    if settings.name not in OPTIMIZERS:
        raise ValueError(f"make_optimizer expects a name out of {', '.join(OPTIMIZERS)}; got {settings.name!r}")
    steps = []
    if settings.clips_value:
        steps.append(clip_by_value(hyperparameters.clip_value))
    if settings.clips_global_norm:
        steps.append(clip_by_norm(hyperparameters.clip_global_norm, settings.clip_norm))
    steps.append(getattr(rules, settings.name)(settings))
    if settings.momentum and "momentum" in OPTIMIZERS[settings.name]:
        steps.append(optax.trace(settings.momentum, settings.nesterov))
    rate = hyperparameters.learning_rate
    if settings.scheduled:
        rate = learning_rate_at(hyperparameters, epoch, update, settings.decay_shape)
    steps.append(optax.scale_by_learning_rate(rate))
    chain = optax.chain(*steps)
    return chain if settings.accumulate == 1 else accumulated(chain, settings.accumulate)


class NamedOptimizer(optax.GradientTransformationExtraArgs):
    """An optimizer by name, as Optax calls it: `update` is given the hyperparameters, the epoch and the update.

    Its values are in the state of training, so members of one program may differ in them.

    Args:
      settings: see `make_optimizer`.
      given: the settings of `jaxrnn.TrainConfig` that name it and its values, for `fit`.
    """

    settings: OptimizerSettings
    given: Mapping[str, Any]

    @property
    def rests_at_zero(self) -> bool:
        """Whether gradients of 0 leave its state as it is, to the last bit, as they do sums of squares."""
        return self.settings.name == "adagrad" and self.settings.accumulate == 1

    @property
    def takes_a_vector(self) -> bool:
        """Whether all parameters may come as one vector: each is changed by its own gradient, and norms are of all."""
        return True

    def __new__(cls, settings: OptimizerSettings, given: Mapping[str, Any] | None = None) -> NamedOptimizer:
        def init(params: Any) -> Any:
            return make_optimizer(settings, make_hyperparameters(1.0, clip_value=1.0, clip_global_norm=1.0)).init(
                params
            )

        def update(gradients: Any, state: Any, params: Any = None, **values: Any) -> tuple[Any, Any]:
            at = [values[name] for name in ("hyperparameters", "epoch", "update")]
            return make_optimizer(settings, *at).update(gradients, state, params)

        made = super().__new__(cls, init, update)
        made.settings, made.given = settings, given or {}
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedOptimizer) and self.settings == other.settings

    def __hash__(self) -> int:
        return hash(self.settings)
