"""A population: many runs of one structure, which differ in values only, as members of one compiled program.

On a CPU each device takes its members one after another, since batched products are slow there; on an accelerator
they are batched with `vmap`. Fewer members than devices: several devices share a member's batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from jaxrnn.config import DROPOUT_SITES, TrainConfig
from jaxrnn.data.windows import ScoredStreams, reset_mask, window_at
from jaxrnn.devices.mesh import BATCH_AXIS
from jaxrnn.models.dropout import DropoutRates
from jaxrnn.models.loss import loss_nats
from jaxrnn.random_streams import STREAM_INIT, run_key, stream_key
from jaxrnn.training.early_stopping import observe, should_stop
from jaxrnn.training.job import make_model, task_of
from jaxrnn.training.population_data import PopulationData
from jaxrnn.training.population_devices import MEMBER_AXIS, PopulationSettings, compile_on_grid, state_specs
from jaxrnn.training.population_structure import refuse_other_structures
from jaxrnn.training.state import TrainState, initial_train_state, model_with
from jaxrnn.training.step import StepSettings, train_step

MAX_SKIPPED_IN_A_ROW = 10


class Member(NamedTuple):
    """All that changes of one member; in a population each leaf has a leading axis.

    Attributes:
      train: the state of training, of which `epoch` counts.
      number: which member of the population it is.
      fold: which fold it reads.
      epochs: epochs it trains at most.
      running: whether it goes on: not finished, stopped or diverged.
      diverged: whether it left the finite numbers, or a window's loss passed the limit.
      loss_sum_nats: sum of the windows' losses of this epoch.
      train_loss_nats: mean training loss of the epoch before; infinity at first.
      best_epoch: epochs done when the best parameters were kept.
    """

    train: TrainState
    number: jax.Array
    fold: jax.Array
    epochs: jax.Array
    running: jax.Array
    diverged: jax.Array
    loss_sum_nats: jax.Array
    train_loss_nats: jax.Array
    best_epoch: jax.Array


def initial_states(configs: list[TrainConfig], vocabulary_size: int = 0) -> TrainState:
    """The states of several runs before their first update, stacked; each is that of the run alone.

    Args:
      configs: settings, equal but for seed, learning rate, and the sizes above 0 of dropout rates and clipping limits.
      vocabulary_size: V of a text.

    Raises:
      ConfigurationError: with the first setting that does not fit; all else is taken from the first member.
    """
    refuse_other_structures(configs)
    config, dtype = configs[0], jnp.dtype(configs[0].dtype)
    hyperparameters = jax.tree.map(lambda *values: jnp.stack(values), *(c.hyperparameters() for c in configs))
    rates = {
        site.removeprefix("dropout_"): jnp.asarray([getattr(c, site) for c in configs], dtype)
        if getattr(config, site)
        else None
        for site in DROPOUT_SITES
    }
    seeds = jnp.asarray([c.seed for c in configs], jnp.uint32)
    limits = jnp.asarray([c.clip_backward or jnp.inf for c in configs], dtype)

    def start(values: Any) -> TrainState:
        seed, hyper, dropout, limit = values
        key = stream_key(run_key(seed), STREAM_INIT)
        model = make_model(config, vocabulary_size, nnx.Rngs(params=key))
        return initial_train_state(
            model,
            config.optimizer_settings(),
            hyper,
            config.batch_size,
            seed,
            dropout,
            limit,
            passes_carry=task_of(config).passes_carry,
            measures_accuracy=config.measures_accuracy,
        )

    return jax.jit(lambda values: jax.lax.map(start, values))((seeds, hyperparameters, DropoutRates(**rates), limits))


def initial_members(configs: list[TrainConfig], folds: list[int], epochs: list[int], vocabulary_size: int) -> Member:
    """The members before their first update, stacked; each starts as the run alone with its settings does.

    Args:
      configs: settings that fit together, see `initial_states`.
      folds: the fold of each.
      epochs: epochs of each.
      vocabulary_size: V.
    """
    count, dtype = len(configs), jnp.dtype(configs[0].dtype)
    return Member(
        train=initial_states(configs, vocabulary_size),
        number=jnp.arange(count, dtype=jnp.int32),
        fold=jnp.asarray(folds, jnp.int32),
        epochs=jnp.asarray(epochs, jnp.int32),
        running=jnp.ones((count,), bool),
        diverged=jnp.zeros((count,), bool),
        loss_sum_nats=jnp.zeros((count,), dtype),
        train_loss_nats=jnp.full((count,), jnp.inf, dtype),
        best_epoch=jnp.zeros((count,), jnp.int32),
    )


def score(graphdef: nnx.GraphDef, settings: StepSettings, params: Any, data: ScoredStreams, windows: jax.Array | int):
    """Mean loss in nats over so many windows of a text whose carry starts at zero, one stream beside the other.

    Args:
      graphdef: structure of the model.
      settings: of the update.
      params: the parameters.
      data: the text of one fold.
      windows: how many are read; traced, so that 0 costs nothing.
    """
    T = settings.bptt_length
    model = model_with(graphdef, params)

    def body(window: jax.Array, loop: Any) -> Any:
        carry, total = loop
        ids = window_at(data.streams, window, T)
        resets = None
        if settings.document_end is not None:
            resets = reset_mask(data.streams, window, T, settings.document_end)
        logits, carry = model(ids[:-1], carry, engine=settings.engine, resets=resets)
        counts = jax.lax.dynamic_slice_in_dim(data.scored, window * T, T)
        return carry, total + jnp.where(counts, loss_nats(logits, ids[1:]), 0.0).sum()

    carry = model.initial_carry(data.streams.shape[1])
    zero = jnp.zeros((), jax.tree.leaves(params)[0].dtype)
    _, total = jax.lax.fori_loop(0, windows, body, (carry, zero))
    scored = data.scored.sum()
    if settings.devices > 1:
        total, scored = jax.lax.psum((total, scored), BATCH_AXIS)
    return total / scored


def make_advance(graphdef: nnx.GraphDef, settings: PopulationSettings) -> Callable[..., Member]:
    """Compiles `advance(members, data, updates, ends) -> members`: so many updates of every running member.

    The running members are at the same window; the number of updates is traced and leads at most to the epoch's end,
    and `ends` says whether it does. Then the validation data is scored and the stopping rule asked. A member that does
    not run is left as it is and, one after another, costs nothing. One that diverges goes back to what it was before
    the call, and stops. The members are donated.
    """

    def advance_one(member: Member, data: PopulationData, updates: jax.Array, ends: jax.Array) -> Member:
        streams = data.train[member.fold]

        def body(loop: Any) -> Any:
            i, state, total, diverged = loop
            state, loss, _ = train_step(graphdef, settings.step, state, streams)
            diverged |= (state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW) | (loss > settings.explosion_nats)
            return i + 1, state, total + jnp.where(jnp.isfinite(loss), loss, 0), diverged

        start = (jnp.zeros((), jnp.int32), member.train, member.loss_sum_nats, member.diverged)
        if settings.batched:  # a count that is the same for all needs no selection at every update
            _, state, total, diverged = jax.lax.fori_loop(0, updates, lambda _, loop: body(loop), start)
        else:
            updates = jnp.where(member.running, updates, 0)
            more = functools.partial(_goes_on, updates)
            _, state, total, diverged = jax.lax.while_loop(more, body, start)
            ends = ends & member.running & ~diverged
        after = member._replace(train=state, loss_sum_nats=total)
        after = _end_of_epoch(graphdef, settings, after, data, ends)
        diverged = member.running & (diverged | after.diverged)
        keep = member.running & ~diverged
        after = jax.tree.map(lambda new, old: jnp.where(keep, new, old), after, member)
        return after._replace(running=after.running & ~diverged, diverged=member.diverged | diverged)

    def advance(members: Member, data: PopulationData, updates: jax.Array, ends: jax.Array) -> Member:
        if settings.batched:
            return jax.vmap(advance_one, in_axes=(0, None, None, None))(members, data, updates, ends)
        return jax.lax.map(lambda member: advance_one(member, data, updates, ends), members)

    specs = (member_specs(), data_specs(), PartitionSpec(), PartitionSpec())
    return compile_on_grid(advance, settings, specs, member_specs(), donate_argnums=0)


def make_score(graphdef: nnx.GraphDef, settings: PopulationSettings) -> Callable[[Member, ScoredStreams], jax.Array]:
    """Compiles `score(members, data) -> losses`: the mean loss in nats of each member's best parameters."""

    def losses(members: Member, data: ScoredStreams) -> jax.Array:
        def one(member: Member) -> jax.Array:
            windows = data.scored.shape[0] // settings.step.bptt_length
            return score(graphdef, settings.step, member.train.best_params, _of_fold(data, member.fold), windows)

        return jax.vmap(one)(members) if settings.batched else jax.lax.map(one, members)

    specs = (member_specs(), data_specs().valid)
    return compile_on_grid(losses, settings, specs, PartitionSpec(MEMBER_AXIS))


def _goes_on(updates: jax.Array, loop: Any) -> jax.Array:
    return (loop[0] < updates) & ~loop[3]


def _of_fold(data: ScoredStreams, fold: jax.Array) -> ScoredStreams:
    return data._replace(streams=data.streams[fold])


def _end_of_epoch(graphdef, settings: PopulationSettings, member: Member, data: PopulationData, ends) -> Member:
    # Without an epoch's end no window is scored, and every value is put back.
    state, T = member.train, settings.step.bptt_length
    windows = (data.train.shape[1] - 1) // T
    if settings.validates:
        read = jnp.where(ends, data.valid.scored.shape[0] // T, 0)
        loss = score(graphdef, settings.step, state.params, _of_fold(data.valid, member.fold), read)
        seen = observe(state.early_stopping, loss)
        better, stops = seen.since_best == 0, should_stop(seen, settings.rule, settings.patience)
        lost = ends & ~jnp.isfinite(loss)
    else:
        loss, seen = state.valid_loss_nats, state.early_stopping
        better, stops, lost = jnp.asarray(True), jnp.asarray(False), jnp.asarray(False)

    def if_better(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(better, n, o), new, old)

    observed = state._replace(
        valid_loss_nats=loss,
        valid_update=state.update,
        early_stopping=seen,
        best_params=if_better(state.params, state.best_params),
        best_smooth_loss_nats=if_better(state.smooth_loss_nats, state.best_smooth_loss_nats),
        best_update=if_better(state.update, state.best_update),
    )
    after = member._replace(
        train=observed,
        running=member.running & ~stops & (state.epoch < member.epochs),
        diverged=member.diverged | lost,
        loss_sum_nats=jnp.zeros_like(member.loss_sum_nats),
        train_loss_nats=member.loss_sum_nats / windows,
        best_epoch=jnp.where(better, state.epoch, member.best_epoch),
    )
    return jax.tree.map(lambda new, old: jnp.where(ends, new, old), after, member)


def member_specs() -> Member:
    """How the members lie on the grid of devices: a carry by member and by stream, all else by member."""
    along: Any = PartitionSpec(MEMBER_AXIS)
    return Member(state_specs(), *(along for _ in Member._fields[1:]))


def data_specs() -> PopulationData:
    """How the data lies on the grid: every device of a row of the grid has its streams."""
    streams = PartitionSpec(None, None, BATCH_AXIS)
    return PopulationData(streams, ScoredStreams(streams, PartitionSpec(None, BATCH_AXIS)))
