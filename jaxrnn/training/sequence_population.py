"""A population of runs on generated sequences: members of one compiled program, each with its own end.

The layout is that of `jaxrnn.training.population`: on a CPU each device takes its members one after another, on an accelerator
they are batched with `vmap`. There are no epochs here, and every member draws its own sequences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from jaxrnn.config import TrainConfig
from jaxrnn.devices.mesh import BATCH_AXIS
from jaxrnn.tasks.protocol import PROBES
from jaxrnn.training.job import step_settings
from jaxrnn.training.population import MAX_SKIPPED_IN_A_ROW, initial_states
from jaxrnn.training.population_devices import (
    MEMBER_AXIS,
    PopulationSettings,
    compile_on_grid,
    device_layout,
    state_specs,
)
from jaxrnn.training.state import TrainState
from jaxrnn.training.step import is_solved, latest_accuracy, train_step

MAX_CALL_UPDATES = 1024
# A smoothed loss so many times that of a model that knows nothing counts as divergence. A single bad batch does not
# reach it, since it moves the smoothed loss by a thousandth of its own.
EXPLOSION = 10.0


class SequenceMember(NamedTuple):
    """All that changes of one member; in a population each leaf has a leading axis.

    Attributes:
      train: the state of training.
      running: whether it goes on: not solved and not diverged.
      diverged: whether `MAX_SKIPPED_IN_A_ROW` updates in a row were not finite, or the smoothed loss passed the limit.
        Its parameters are the last finite ones.
    """

    train: TrainState
    running: jax.Array
    diverged: jax.Array


class UpdateMetrics(NamedTuple):
    """What each update of a call measured, (members, MAX_CALL_UPDATES) each; 0 past a member's end.

    Attributes:
      loss: mean loss in nats, or the mean squared error; infinity where it is not a number.
      accuracy: share of right answers.
    """

    loss: Any
    accuracy: Any


def sequence_settings(configs: list[TrainConfig], devices: int, batched: bool) -> PopulationSettings:
    """What is fixed when the program of these members is compiled.

    Args:
      configs: settings that fit into one population (`group_by_structure`).
      devices: JAX devices in use.
      batched: members of one device at once, or one after another.
    """
    config = configs[0]
    spread, share = device_layout(len(configs), devices, config.batch_size)
    probe = PROBES[config.task]
    knows_nothing = 1.0 if probe.is_regression else math.log(probe.classes)
    explosion = EXPLOSION * knows_nothing
    return PopulationSettings(step_settings(config, devices=share), spread, batched, explosion_nats=explosion)


def initial_sequence_members(configs: list[TrainConfig]) -> SequenceMember:
    """The members before their first update, stacked; each starts as the run alone with its settings does."""
    count = len(configs)
    return SequenceMember(initial_states(configs), jnp.ones((count,), bool), jnp.zeros((count,), bool))


def make_sequence_advance(
    graphdef: nnx.GraphDef, settings: PopulationSettings
) -> Callable[..., tuple[SequenceMember, UpdateMetrics]]:
    """Compiles `advance(members, rows, updates) -> (members, metrics)`: so many updates of every running member.

    A member ends at the very update at which it is solved (`is_solved`) or has diverged, and costs nothing from then on
    where members run one after another. The number of updates is traced, at most `MAX_CALL_UPDATES`, and every split
    of the run into calls gives the same bits. The members are donated. `rows` are the `row_numbers` of the batch.
    """

    def advance_one(member: SequenceMember, rows: jax.Array, updates: jax.Array) -> Any:
        zeros = jnp.zeros((MAX_CALL_UPDATES,), member.train.smooth_loss_nats.dtype)

        def goes_on(loop: Any) -> jax.Array:
            return (loop[0] < updates) & loop[1].running

        def body(loop: Any) -> Any:
            i, member, metrics = loop
            state, loss, smooth = train_step(graphdef, settings.step, member.train, rows)
            diverged = (state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW) | (smooth > settings.explosion_nats)
            running = ~diverged & ~is_solved(settings.step, state)
            values = UpdateMetrics(jnp.where(jnp.isnan(loss), jnp.inf, loss), latest_accuracy(state)[0])
            metrics = jax.tree.map(lambda m, v: jax.lax.dynamic_update_index_in_dim(m, v, i, 0), metrics, values)
            return i + 1, SequenceMember(state, running, diverged), metrics

        start = (jnp.zeros((), jnp.int32), member, UpdateMetrics(zeros, zeros))
        return jax.lax.while_loop(goes_on, body, start)[1:]

    def advance(members: SequenceMember, rows: jax.Array, updates: jax.Array) -> Any:
        updates = jnp.minimum(updates, MAX_CALL_UPDATES)
        if settings.batched:
            return jax.vmap(advance_one, in_axes=(0, None, None))(members, rows, updates)
        return jax.lax.map(lambda member: advance_one(member, rows, updates), members)

    specs = (sequence_member_specs(), PartitionSpec(None, BATCH_AXIS), PartitionSpec())
    along = PartitionSpec(MEMBER_AXIS)
    return compile_on_grid(
        advance, settings, specs, (sequence_member_specs(), UpdateMetrics(along, along)), donate_argnums=0
    )


def sequence_member_specs() -> SequenceMember:
    """How the members lie on the grid of devices."""
    along: Any = PartitionSpec(MEMBER_AXIS)
    return SequenceMember(state_specs(), along, along)
