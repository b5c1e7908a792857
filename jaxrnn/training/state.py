"""The state of training: one pytree with all that changes, so that what is saved is everything."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.models.dropout import DropoutRates
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.optim.optimizer import Hyperparameters, OptimizerSettings, make_optimizer
from jaxrnn.random_streams import run_key
from jaxrnn.training.early_stopping import EarlyStopping, initial_early_stopping

RECENT_UPDATES = 100


class TrainState(NamedTuple):
    """All that changes while training. A restart from it is exact to the last bit.

    Attributes:
      params: parameters of the model, a nested dict.
      optimizer_state: Optax's.
      hyperparameters: learning rate and clipping limits.
      dropout_rates: by site.
      clip_backward: limit of the gradients of p_t and r_t inside the backward loop.
      carry: the carry that enters the next window, one a layer; empty where each update starts afresh.
      seed: key of the run, from which each stream is folded.
      update: updates done.
      epoch: epochs done.
      window: the next window of the epoch.
      smooth_loss_nats: 0.999 s + 0.001 l of the mean loss per symbol, started at the first loss.
      best_params: parameters after the update with the lowest smoothed loss; from the first validation on, those with
        the lowest validation loss, where NaN is none. Never an alias of `params`, since the state is donated to the
        compiled step.
      best_smooth_loss_nats: the smoothed loss then; infinity before the first update.
      best_update: that update.
      skipped: updates left out because their loss or gradient was not finite.
      skipped_in_a_row: how many of them just now.
      valid_loss_nats: the latest validation loss; NaN before there is one, or where that loss was.
      valid_update: the update it was taken at; 0 before there is one.
      early_stopping: the validation losses that the stopping rule looks at.
      recent_accuracy: accuracies of the latest updates, (RECENT_UPDATES,), that of update u at place (u - 1) mod
        RECENT_UPDATES; None where the accuracy is not measured.
      valid_accuracy: the accuracy at the latest validation, 0 before there is one; None where it is not measured.
    """

    params: Any
    optimizer_state: Any
    hyperparameters: Hyperparameters
    dropout_rates: DropoutRates
    clip_backward: jax.Array
    carry: Any
    seed: jax.Array
    update: jax.Array
    epoch: jax.Array
    window: jax.Array
    smooth_loss_nats: jax.Array
    best_params: Any
    best_smooth_loss_nats: jax.Array
    best_update: jax.Array
    skipped: jax.Array
    skipped_in_a_row: jax.Array
    valid_loss_nats: jax.Array
    valid_update: jax.Array
    early_stopping: EarlyStopping
    recent_accuracy: jax.Array | None = None
    valid_accuracy: jax.Array | None = None


def params_of(model: nnx.Module) -> dict:
    """The parameters of a model as a nested dict of arrays."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def model_with(graphdef: nnx.GraphDef, params: dict) -> Any:
    """The model of this structure with these parameters, to score or to write: what is for training alone is off.

    That is what `nnx.Module.eval` turns off, such as the leak of `TemporalGateLSTMCell`; `train()` turns it on again.
    """
    model = nnx.merge(graphdef, nnx.State(params))
    model.eval()
    return model


def initial_train_state(
    model: LanguageModel | SequenceClassifier,
    optimizer: OptimizerSettings,
    hyperparameters: Hyperparameters,
    batch_size: int,
    seed: int,
    dropout_rates: DropoutRates | None = None,
    clip_backward: float = jnp.inf,
    passes_carry: bool = True,
    measures_accuracy: bool = False,
) -> TrainState:
    """The state before the first update, from a freshly made model.

    Args:
      model: the model.
      optimizer, hyperparameters: what changes its parameters.
      batch_size: B.
      seed: seed of everything random.
      dropout_rates: by site.
      clip_backward: limit of the gradients of p_t and r_t.
      passes_carry: whether the carry of one update enters the next, `Task.passes_carry`.
      measures_accuracy: whether the accuracies of the latest updates are kept, `StepSettings.accuracy`.
    """
    params = params_of(model)
    dtype = jax.tree.leaves(params)[0].dtype

    def count() -> jax.Array:
        return jnp.zeros((), jnp.int32)  # each its own array: a donated buffer may stand in the state only once

    return TrainState(
        params=params,
        optimizer_state=make_optimizer(optimizer, hyperparameters).init(params),
        hyperparameters=hyperparameters,
        dropout_rates=dropout_rates or DropoutRates(),
        clip_backward=jnp.asarray(clip_backward, dtype),
        # Copied, since no buffer may stand in the state twice.
        carry=jax.tree.map(jnp.copy, model.initial_carry(batch_size)) if passes_carry else (),
        seed=run_key(seed),
        update=count(),
        epoch=count(),
        window=count(),
        smooth_loss_nats=jnp.zeros((), dtype),
        best_params=jax.tree.map(jnp.copy, params),
        best_smooth_loss_nats=jnp.full((), jnp.inf, dtype),
        best_update=count(),
        skipped=count(),
        skipped_in_a_row=count(),
        valid_loss_nats=jnp.full((), jnp.nan, dtype),
        valid_update=count(),
        early_stopping=initial_early_stopping(dtype),
        recent_accuracy=jnp.zeros((RECENT_UPDATES,), dtype) if measures_accuracy else None,
        valid_accuracy=jnp.zeros((), dtype) if measures_accuracy else None,
    )
