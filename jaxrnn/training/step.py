"""One update."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxrnn.devices.mesh import BATCH_AXIS
from jaxrnn.models.dropout import Dropout
from jaxrnn.models.structure import joined, variables_of, with_leaves_of
from jaxrnn.random_streams import STREAM_DATA, STREAM_DROPOUT, stream_key
from jaxrnn.training.batch_loss import all_finite, batch_loss, divided, norms_by_layer, written_as_one
from jaxrnn.training.packing import ParameterVector
from jaxrnn.training.state import RECENT_UPDATES, Candidate, TrainState, best_of, with_best

SMOOTHING = 0.999
# An update is bad if its loss or gradient is not finite, or its loss so many times that of a model that knows nothing
# (char-rnn stops at three times its first loss). So many in a row are divergence; a single bad batch is not.
EXPLOSION = 3.0
MAX_BAD_IN_A_ROW = 10
CALL_OPTIONS = ("engine", "resets", "lengths", "dropout", "clip_backward")


class StepSettings(NamedTuple):
    """What is fixed when the step is compiled.

    Attributes:
      objective: what is learned, the half of a task that the step asks.
      optimizer: what makes steps of gradients; beside those it is told the hyperparameters, the epoch, the update and,
        as `value`, the loss.
      loss_reduction: "sum" for the reports' gradient of the sum over the scored steps (mean over the batch), or "mean".
      engine: engine of `unroll`.
      learned_initial_carry: whether the carry of a fresh start is a parameter.
      drops_out: whether the network has a dropout site.
      dropout_per_window: one mask a window, or a fresh one at each step.
      clips_backward: whether the gradients of p_t and r_t, those of the whole batch, are clipped in the backward loop.
      devices: how many devices the batch is split over.
      accuracy: whether the share of right answers of each update is measured.
      stop_at_accuracy: mean accuracy of the latest `RECENT_UPDATES` updates at which training ends; 0 is never.
      norms: whether the norms of each layer are measured, see `norms_by_layer`.
      options: what of engine, resets, lengths, dropout and clip_backward the model's call takes.
      begins_anew: whether an epoch's first carry is made by the model inside the window, whatever it is. (Those by name
        begin with zeros, or as `learned_initial_carry` says.)
    """

    objective: Any
    optimizer: Any
    loss_reduction: str = "sum"
    engine: str = "auto"
    learned_initial_carry: bool = False
    drops_out: bool = False
    dropout_per_window: bool = False
    clips_backward: bool = False
    devices: int = 1
    accuracy: bool = False
    stop_at_accuracy: float = 0.0
    norms: bool = False
    options: tuple[str, ...] = CALL_OPTIONS
    begins_anew: bool = False


def train_step(
    graphdef: nnx.GraphDef,
    settings: StepSettings,
    state: TrainState,
    streams: jax.Array,
    vector: ParameterVector | None = None,
):
    """One update: batch, loss, gradient, clip, optimizer, smoothed loss, best parameters.

    An update whose loss or gradient is not finite is left out and counted.

    Args:
      graphdef: structure of the model.
      settings: what is fixed.
      state: a `TrainState`.
      streams: of the task; of a text ids, (S + 1, B), one column a row of the batch.
      vector: how parameters lie in a vector, where each tree of such in the state is one.

    Returns:
      The new state, the mean loss, and the norms where they are measured, else None. The smoothed loss and the
      accuracy are in the state, see `latest_accuracy`.
    """
    task = settings.objective
    key, rows = stream_key(state.seed, STREAM_DATA, state.update), task.rows(streams)
    if task.shuffled:
        state = state._replace(order=_order(state, task.shuffled))
    batch = task.batch(key, state, streams, state.smooth_loss.dtype)
    options = {
        "engine": settings.engine,
        "resets": _resets(settings, state, streams, rows),
        "lengths": batch.lengths,
        "dropout": _dropout(settings, state, rows),
        # Each device sees the mean over its own rows only, whose gradients are so many times larger.
        "clip_backward": state.values.clip_backward * settings.devices if settings.clips_backward else None,
    }
    options = {name: options[name] for name in settings.options if options[name] is not None}

    def objective(params):
        model = nnx.merge(graphdef, nnx.State(joined(params, state.variables)))
        carry = state.carry if task.passes_carry else model.initial_carry(rows)
        if task.passes_carry and settings.begins_anew:
            first = state.window == 0
            carry = jax.tree.map(lambda old, new: jnp.where(first, new, old), carry, model.initial_carry(rows))
        loss, (mean, *measured) = batch_loss(
            task, model, carry, batch, settings.loss_reduction, settings.accuracy, settings.devices > 1, **options
        )
        return loss, (mean, *measured, state.variables and with_leaves_of(variables_of(model), state.variables))

    gradients, (loss, carry, accuracy, weights, variables) = jax.grad(objective, has_aux=True)(
        state.params if vector is None else vector.tree(state.params)
    )
    if settings.devices > 1:  # XLA makes one exchange of it
        mine = gradients, loss, accuracy, weights, variables
        gradients, loss, accuracy, weights, variables = jax.lax.pmean(mine, BATCH_AXIS)
        (gradients, loss), accuracy = divided((gradients, loss), weights[0]), divided(accuracy, weights[1])
    gradients = written_as_one(gradients)
    gradients = gradients if vector is None else vector.of(gradients)
    told = {
        "hyperparameters": state.values.hyperparameters,
        "epoch": state.epoch,
        "update": state.update,
        "value": loss,
    }
    finite = jnp.isfinite(loss) & all_finite(gradients)
    # Then its state needs no choice between new and old, for which XLA copies all of it: of the book recipe's update a
    # part in thirty on a CPU.
    rests = getattr(settings.optimizer, "rests_at_zero", False)
    learned = jax.tree.map(lambda g: jnp.where(finite, g, 0), gradients) if rests else gradients
    optimizer = optax.with_extra_args_support(settings.optimizer)
    steps, optimizer_state = optimizer.update(learned, state.optimizer_state, state.params, **told)
    norms = None
    if settings.norms:
        of_all = (gradients, state.params, steps)
        norms = norms_by_layer(*(of_all if vector is None else map(vector.tree, of_all)))
    params = optax.apply_updates(state.params, steps)
    carry = carry if task.passes_carry else ()
    first = state.update == state.skipped  # no finite update yet
    smooth = jnp.where(first, loss, SMOOTHING * state.smooth_loss + (1 - SMOOTHING) * loss)
    now = (params, carry, smooth, variables, () if rests else optimizer_state)
    before = (state.params, state.carry, state.smooth_loss, state.variables, () if rests else state.optimizer_state)
    params, carry, smooth, variables, kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), now, before)
    optimizer_state = optimizer_state if rests else kept
    # From the first validation on the validation decides which parameters are the best.
    update = state.update + 1
    lowest = state.candidate or best_of(state)
    better = finite & (smooth < lowest.smooth_loss) & (state.valid_update == 0)
    reached = Candidate(params, smooth, update, variables, carry if lowest.carry else ())
    lowest = jax.tree.map(lambda new, old: jnp.where(better, new, old), reached, lowest)
    if accuracy is not None:
        assert state.recent_accuracy is not None
        state = state._replace(recent_accuracy=state.recent_accuracy.at[state.update % RECENT_UPDATES].set(accuracy))
    if windows := task.windows(streams):
        state, carry = _in_epoch(state, carry, jnp.where(finite, loss, 0), windows)
    state = state._replace(
        params=params,
        optimizer_state=optimizer_state,
        carry=carry,
        update=update,
        smooth_loss=smooth,
        variables=variables,
        skipped=state.skipped + jnp.where(finite, 0, 1),
        bad_in_a_row=jnp.where(finite & (loss <= EXPLOSION * task.chance), 0, state.bad_in_a_row + 1),
    )
    if state.candidate:
        return state._replace(candidate=lowest), loss, norms
    return with_best(state, lowest), loss, norms


def _in_epoch(state: TrainState, carry: Any, loss: jax.Array, windows: int) -> tuple[TrainState, Any]:
    ends = state.window + 1 == windows
    total = state.epoch_loss_sum + loss
    state = state._replace(
        epoch=state.epoch + ends,
        window=jnp.where(ends, 0, state.window + 1),
        epoch_loss_sum=jnp.where(ends, 0, total),
        epoch_loss=jnp.where(ends, total / windows, state.epoch_loss),
    )
    return state, jax.tree.map(lambda c: jnp.where(ends, jnp.zeros_like(c), c), carry)


def latest_accuracy(state: TrainState) -> tuple[jax.Array, jax.Array]:
    """The accuracy of the latest update, and the mean over the latest `RECENT_UPDATES`, or all if there are fewer."""
    recent = state.recent_accuracy
    assert recent is not None
    return recent[(state.update - 1) % RECENT_UPDATES], recent.sum() / jnp.clip(state.update, 1, RECENT_UPDATES)


def recent_accuracy(state: TrainState) -> float:
    """The mean accuracy of the latest `RECENT_UPDATES` updates, or all if there are fewer, on the host."""
    return float(np.asarray(state.recent_accuracy).sum() / np.clip(int(state.update), 1, RECENT_UPDATES))


def is_solved(settings: StepSettings, state: TrainState) -> jax.Array:
    """Whether the mean accuracy of the latest `RECENT_UPDATES` updates has reached `stop_at_accuracy`."""
    if not settings.stop_at_accuracy:
        return jnp.asarray(False)
    return (state.update >= RECENT_UPDATES) & (latest_accuracy(state)[1] >= settings.stop_at_accuracy)


def is_diverged(state: TrainState) -> jax.Array:
    """Whether training left what can be learned from: the one rule for single runs and members.

    True after `MAX_BAD_IN_A_ROW` updates in a row whose loss or gradient was not finite (they were left out, the
    parameters are the last finite ones), or whose loss was above `EXPLOSION` times `Objective.chance`.
    """
    return state.bad_in_a_row >= MAX_BAD_IN_A_ROW


def _order(state: TrainState, rows: int) -> jax.Array:
    # A new one at each epoch's start, from the seed and the epoch's number only.
    def shuffled() -> jax.Array:
        key = jax.random.fold_in(stream_key(state.seed, STREAM_DATA), state.epoch)
        return jax.random.permutation(key, rows).astype(jnp.int32)

    return jax.lax.cond(state.window == 0, shuffled, lambda: state.order)


def _resets(settings: StepSettings, state: TrainState, streams: Any, rows: int) -> jax.Array | None:
    resets = settings.objective.resets(state.window, streams)
    if settings.learned_initial_carry and settings.objective.passes_carry:
        # An epoch's start is a reset too: only inside the window it has a gradient.
        starts = jnp.zeros((settings.objective.steps, rows), bool).at[0].set(state.window == 0)
        resets = starts if resets is None else resets | starts
    return resets


def _dropout(settings: StepSettings, state: TrainState, batch_size: int) -> Dropout | None:
    if not settings.drops_out:
        return None
    key = stream_key(state.seed, STREAM_DROPOUT, state.update)
    rows = jnp.arange(batch_size)
    if settings.devices > 1:
        rows = rows + jax.lax.axis_index(BATCH_AXIS) * batch_size
    return Dropout(state.values.dropout_rates, key, rows, settings.dropout_per_window)
