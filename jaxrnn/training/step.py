"""One update, and many of them as one compiled program."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from jaxrnn.data.windows import reset_mask
from jaxrnn.devices.mesh import BATCH_AXIS, batch_mesh
from jaxrnn.models.dropout import Dropout
from jaxrnn.optim.optimizer import OptimizerSettings, make_optimizer
from jaxrnn.random_streams import STREAM_DROPOUT, stream_key
from jaxrnn.tasks.protocol import Task, Text, accuracy_of
from jaxrnn.training.state import RECENT_UPDATES, TrainState

SMOOTHING = 0.999
MAX_CHUNK_UPDATES = 8192


class StepSettings(NamedTuple):
    """What is fixed when the step is compiled.

    Attributes:
      bptt_length: T, the symbols in a window, or the steps of a sequence.
      optimizer: the rule and its constants.
      loss_reduction: "sum" for the reports' gradient of the sum over the scored steps (mean over the batch), or "mean".
      engine: engine of `unroll`.
      document_end: id of the symbol that ends a document, after which the carry is zero; None for one long text.
      learned_initial_carry: whether the carry of a fresh start is a parameter.
      drops_out: whether the network has a dropout site.
      dropout_per_window: one mask a window, or a fresh one at each step.
      clips_backward: whether the gradients of p_t and r_t, those of the whole batch, are clipped in the backward loop.
      devices: how many devices the batch is split over.
      task: what is learned; the next symbol of a text by default.
      accuracy: whether the share of right answers of each update is measured.
      stop_at_accuracy: mean accuracy of the latest `RECENT_UPDATES` updates at which training ends; 0 is never.
    """

    bptt_length: int
    optimizer: OptimizerSettings = OptimizerSettings()
    loss_reduction: str = "sum"
    engine: str = "auto"
    document_end: int | None = None
    learned_initial_carry: bool = False
    drops_out: bool = False
    dropout_per_window: bool = False
    clips_backward: bool = False
    devices: int = 1
    task: Task = Text()
    accuracy: bool = False
    stop_at_accuracy: float = 0.0


class ChunkMetrics(NamedTuple):
    """What each update of a chunk measured; entries past the chunk's length are 0.

    Attributes:
      loss_nats: mean loss per scored step, (MAX_CHUNK_UPDATES,); of a regression the mean squared error.
      smooth_loss_nats: the smoothed loss after it.
      accuracy: share of right answers; None where it is not measured.
      recent_accuracy: mean of it over the latest `RECENT_UPDATES` updates, fewer at first.
    """

    loss_nats: jax.Array
    smooth_loss_nats: jax.Array
    accuracy: jax.Array | None = None
    recent_accuracy: jax.Array | None = None


def windows_per_epoch(streams: jax.Array | np.ndarray, bptt_length: int) -> int:
    """How many windows of T symbols, with a target each, one pass over the streams has."""
    return (streams.shape[0] - 1) // bptt_length


def batch_loss(model: Any, carry: Any, inputs: jax.Array, targets: jax.Array, settings: StepSettings, **options: Any):
    """Loss of one batch, in the reduction of the settings, with (mean loss, carry after it, accuracy) beside it.

    Options are those of the model's call: resets, dropout, clip_backward.
    """
    outputs, carry = model(inputs, carry, engine=settings.engine, **options)
    mean = settings.task.losses(outputs, targets).mean()
    objective = mean * targets.shape[0] if settings.loss_reduction == "sum" else mean
    accuracy = accuracy_of(settings.task, outputs, targets) if settings.accuracy else None
    return objective, (mean, carry, accuracy)


def all_finite(tree: Any) -> jax.Array:
    """Whether every number of a tree is finite, and the sum of each column too.

    The columns are summed as a product with ones, which runs vectorised where XLA's reduction on a CPU does not.
    """

    def column_sums(leaf: jax.Array) -> jax.Array:
        rows = leaf.reshape(-1, leaf.shape[-1]) if leaf.ndim else leaf.reshape(1, 1)
        return jnp.ones((rows.shape[0],), rows.dtype) @ rows

    return jnp.isfinite(jnp.concatenate([column_sums(leaf) for leaf in jax.tree.leaves(tree)])).all()


def train_step(graphdef: nnx.GraphDef, settings: StepSettings, state, streams: jax.Array):
    """One update: batch, loss, gradient, clip, optimizer, smoothed loss, best parameters.

    An update whose loss or gradient is not finite is left out and counted.

    Args:
      graphdef: structure of the model.
      settings: what is fixed.
      state: a `TrainState`.
      streams: one column a row of the batch: ids of a text, (S + 1, B), or `jaxrnn.tasks.protocol.row_numbers`.

    Returns:
      The new state, the mean loss and the smoothed loss. The accuracy is in the state, see `latest_accuracy`.
    """
    T, task = settings.bptt_length, settings.task
    inputs, targets = task.batch(state, streams, T)
    options = {
        "resets": _resets(settings, state, streams),
        "dropout": _dropout(settings, state, streams.shape[1]),
        # Each device has the mean over its own rows, whose gradients are so many times those of the whole batch's mean.
        "clip_backward": state.clip_backward * settings.devices if settings.clips_backward else None,
    }

    def objective(params):
        model = nnx.merge(graphdef, nnx.State(params))
        carry = state.carry if task.passes_carry else model.initial_carry(streams.shape[1])
        return batch_loss(model, carry, inputs, targets, settings, **options)

    gradients, (loss, carry, accuracy) = jax.grad(objective, has_aux=True)(state.params)
    if settings.devices > 1:
        gradients, loss, accuracy = jax.lax.pmean((gradients, loss, accuracy), BATCH_AXIS)
    optimizer = make_optimizer(settings.optimizer, state.hyperparameters, state.epoch, state.update)
    steps, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params)
    params = optax.apply_updates(state.params, steps)
    carry = carry if task.passes_carry else ()
    first = state.update == state.skipped  # no finite update yet
    smooth = jnp.where(first, loss, SMOOTHING * state.smooth_loss_nats + (1 - SMOOTHING) * loss)
    finite = jnp.isfinite(loss) & all_finite(gradients)

    def keep(new, old):
        return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

    params, optimizer_state = keep(params, state.params), keep(optimizer_state, state.optimizer_state)
    carry, smooth = keep(carry, state.carry), keep(smooth, state.smooth_loss_nats)
    # From the first validation on that decides, even if its loss was NaN.
    better = (smooth < state.best_smooth_loss_nats) & (state.valid_update == 0) & finite
    best_params = jax.tree.map(lambda new, best: jnp.where(better, new, best), params, state.best_params)

    # Where the carry does not pass on there are no epochs: the window and the epoch stay 0.
    ends_epoch = state.window + 1 == windows_per_epoch(streams, T) if task.passes_carry else True
    carry = jax.tree.map(lambda c: jnp.where(ends_epoch, jnp.zeros_like(c), c), carry)
    update = state.update + 1
    if accuracy is not None:
        state = state._replace(recent_accuracy=state.recent_accuracy.at[state.update % RECENT_UPDATES].set(accuracy))
    state = state._replace(
        params=params,
        optimizer_state=optimizer_state,
        carry=carry,
        update=update,
        epoch=state.epoch + ends_epoch if task.passes_carry else state.epoch,
        window=jnp.where(ends_epoch, 0, state.window + 1) if task.passes_carry else state.window,
        smooth_loss_nats=smooth,
        best_params=best_params,
        best_smooth_loss_nats=jnp.where(better, smooth, state.best_smooth_loss_nats),
        best_update=jnp.where(better, update, state.best_update),
        skipped=state.skipped + jnp.where(finite, 0, 1),
        skipped_in_a_row=jnp.where(finite, 0, state.skipped_in_a_row + 1),
    )
    return state, loss, smooth


def latest_accuracy(state) -> tuple[jax.Array, jax.Array]:
    """The accuracy of the latest update, and the mean over the latest `RECENT_UPDATES`, or all if there are fewer."""
    recent = state.recent_accuracy
    return recent[(state.update - 1) % RECENT_UPDATES], recent.sum() / jnp.clip(state.update, 1, RECENT_UPDATES)


def is_solved(settings: StepSettings, state) -> jax.Array:
    """Whether the mean accuracy of the latest `RECENT_UPDATES` updates has reached `stop_at_accuracy`."""
    if not settings.stop_at_accuracy:
        return jnp.asarray(False)
    return (state.update >= RECENT_UPDATES) & (latest_accuracy(state)[1] >= settings.stop_at_accuracy)


def _resets(settings: StepSettings, state, streams: jax.Array) -> jax.Array | None:
    resets = None
    if not settings.task.passes_carry:
        return resets
    if settings.document_end is not None:
        resets = reset_mask(streams, state.window, settings.bptt_length, settings.document_end)
    if settings.learned_initial_carry:  # an epoch's start is a reset too: only inside the window it has a gradient
        starts = jnp.zeros((settings.bptt_length, streams.shape[1]), bool).at[0].set(state.window == 0)
        resets = starts if resets is None else resets | starts
    return resets


def _dropout(settings: StepSettings, state, batch_size: int) -> Dropout | None:
    if not settings.drops_out:
        return None
    key = stream_key(state.seed, STREAM_DROPOUT, state.update)
    rows = jnp.arange(batch_size)
    if settings.devices > 1:
        rows = rows + jax.lax.axis_index(BATCH_AXIS) * batch_size
    return Dropout(state.dropout_rates, key, rows, settings.dropout_per_window)


def compiler_options() -> dict[str, bool] | None:
    """XLA's own tanh and exp on a CPU, in place of the platform's.

    The book recipe ran 1.18 times as fast (90 against 106 us an update; an LSTM or GRU with a batch no faster), and
    fewer things outside the program decide its bits.
    """
    return {"xla_cpu_enable_platform_dependent_math": False} if jax.default_backend() == "cpu" else None


def make_train_chunk(graphdef: nnx.GraphDef, settings: StepSettings):
    """Compiles `train_chunk(state, streams, updates) -> (state, ChunkMetrics)`.

    The number of updates is a traced value, at most `MAX_CHUNK_UPDATES`: one compilation serves every split of the
    run into chunks, and every split gives the same bits. The state is donated: never touch the old one after a call.
    With several devices each holds its streams and their carry, and a copy of all else; the gradients are averaged.
    A run with `stop_at_accuracy` ends within the chunk, at the very update: the state says how many were done.
    """

    def train_chunk(state, streams, updates):
        zeros = jnp.zeros((MAX_CHUNK_UPDATES,), state.smooth_loss_nats.dtype)

        def body(i, loop):
            state, metrics = loop
            state, *values = train_step(graphdef, settings, state, streams)
            if settings.accuracy:
                values.extend(latest_accuracy(state))
            measured = zip(metrics, values, strict=False)
            return state, ChunkMetrics(*(jax.lax.dynamic_update_index_in_dim(m, v, i, 0) for m, v in measured))

        updates = jnp.minimum(updates, MAX_CHUNK_UPDATES).astype(jnp.int32)
        start = (state, ChunkMetrics(*(zeros,) * (4 if settings.accuracy else 2)))
        if not settings.stop_at_accuracy:
            return jax.lax.fori_loop(0, updates, body, start)

        def goes_on(loop):
            return (loop[0] < updates) & ~is_solved(settings, loop[1][0])

        return jax.lax.while_loop(goes_on, lambda loop: (loop[0] + 1, body(*loop)), (jnp.int32(0), start))[1]

    if settings.devices == 1:
        return jax.jit(train_chunk, donate_argnums=0, compiler_options=compiler_options())
    mesh, specs = batch_mesh(settings.devices), _specs()
    split = jax.shard_map(
        train_chunk,
        mesh=mesh,
        in_specs=(*specs, PartitionSpec()),
        out_specs=(specs[0], PartitionSpec()),
        check_vma=False,
    )
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), (*specs, PartitionSpec()))
    return jax.jit(split, in_shardings=shardings, donate_argnums=0, compiler_options=compiler_options())


def train_updates(train_chunk: Any, state: Any, streams: Any, updates: int) -> tuple[Any, float]:
    """Any number of updates, chunk by chunk; the state after them and the loss of the last, in nats a step.

    Args:
      train_chunk: from `make_train_chunk`.
      state: donated.
      streams: as for the chunk.
      updates: how many.
    """
    loss = float("nan")
    while updates > 0:
        now = min(updates, MAX_CHUNK_UPDATES)
        state, metrics = train_chunk(state, streams, np.int32(now))
        loss, updates = float(metrics.loss_nats[now - 1]), updates - now
    return state, loss


def place(state, streams: jax.Array | np.ndarray, devices: int):
    """Puts the state and the streams where a chunk over so many devices wants them."""
    if devices == 1:
        return state, jnp.asarray(streams)
    mesh = batch_mesh(devices)
    return tuple(
        jax.tree.map(lambda spec, part: jax.device_put(part, NamedSharding(mesh, spec)), specs, tree, is_leaf=_is_spec)
        for specs, tree in zip(_specs(), (state, streams), strict=True)
    )


def _is_spec(node: Any) -> bool:
    return isinstance(node, PartitionSpec)


def _specs() -> tuple[Any, PartitionSpec]:
    # Of the state, what is split over the devices is the carry, by rows; of the streams the columns.
    fields: dict[str, Any] = {name: PartitionSpec() for name in TrainState._fields}
    return TrainState(**{**fields, "carry": PartitionSpec(BATCH_AXIS)}), PartitionSpec(None, BATCH_AXIS)
