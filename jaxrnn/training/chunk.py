"""Many updates as one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.engines.platforms import platform
from jaxrnn.training.batch_loss import norms_by_layer
from jaxrnn.training.packing import Packing
from jaxrnn.training.state import TrainState
from jaxrnn.training.step import StepSettings, is_diverged, is_solved, latest_accuracy, train_step

MAX_CHUNK_UPDATES = 8192


class ChunkMetrics(NamedTuple):
    """What each update of a chunk measured; entries past the chunk's length are 0.

    Attributes:
      loss: mean loss per scored step, (MAX_CHUNK_UPDATES,).
      smooth_loss: the smoothed loss after it.
      accuracy: share of right answers; None where it is not measured.
      recent_accuracy: mean of it over the latest `RECENT_UPDATES` updates, fewer at first.
      norms: of `norms_by_layer`, by name; None where they are not measured.
    """

    loss: Any
    smooth_loss: Any
    accuracy: Any = None
    recent_accuracy: Any = None
    norms: Any = None


def measured(settings: StepSettings, state: TrainState, loss: jax.Array, norms: Any) -> ChunkMetrics:
    """What one update measured, of the state after it: scalars in the dtype of the loss, each a column of the log."""
    accuracy, recent = latest_accuracy(state) if settings.accuracy else (None, None)
    return ChunkMetrics(loss, state.smooth_loss, accuracy, recent, norms)


def train_chunk_of(
    graphdef: nnx.GraphDef, settings: StepSettings
) -> Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, ChunkMetrics]]:
    """`train_chunk(state, streams, updates) -> (state, ChunkMetrics)`, the only training program.

    The number of updates is a traced value, at most `MAX_CHUNK_UPDATES`: one compilation serves every split of the
    run into chunks, and every split gives the same bits. A run that is solved or has diverged ends within the chunk, at
    the very update: the state says how many were done. Where the host must ask the device whether the loop goes on, it
    asks once for several updates, of which those past the end change nothing.
    """

    def train_chunk(state: TrainState, streams: jax.Array, updates: jax.Array) -> tuple[TrainState, ChunkMetrics]:
        updates = jnp.minimum(updates, MAX_CHUNK_UPDATES).astype(jnp.int32)
        norms = norms_by_layer(*[state.params] * 3) if settings.norms else None  # for their names
        columns, names = jax.tree.flatten(measured(settings, state, state.smooth_loss, norms))
        packs, zeros = platform().counts_kernels, jnp.zeros((MAX_CHUNK_UPDATES,), state.smooth_loss.dtype)
        table: Any = [zeros for _ in columns]
        whole = (jnp.int32(0), state, jnp.stack(table, 1) if packs else table)  # of one table one write an update
        packing = Packing(whole, packs)

        def goes_on(loop: Any) -> jax.Array:
            i, state, _ = packing.unpacked(loop)
            return (i < updates) & ~is_solved(settings, state) & ~is_diverged(state)

        def one_update(loop: Any, wanted: jax.Array | None = None) -> Any:
            """Of the loop's state after an update; where it is not wanted, nothing of it stays."""
            i, before, table = packing.unpacked(loop)
            state, *found = train_step(graphdef, settings, before, streams)
            now: Any = jax.tree.leaves(measured(settings, state, *found))
            row = jnp.stack(now) if packs else now
            after = i + 1
            if wanted is not None:
                there = jax.tree.map(lambda old: jax.lax.dynamic_index_in_dim(old, i, 0, keepdims=False), table)
                kept = (before, there, i)
                state, row, after = jax.tree.map(lambda x, y: jnp.where(wanted, x, y), (state, row, after), kept)
            table = jax.tree.map(lambda old, new: jax.lax.dynamic_update_index_in_dim(old, new, i, 0), table, row)
            return packing.packed((after, state, table))

        def several_updates(loop: Any) -> Any:
            return jax.lax.fori_loop(0, at_once, lambda _, loop: one_update(loop, goes_on(loop)), loop)

        at_once = platform().updates_a_look
        body = one_update if at_once == 1 else several_updates
        _, state, table = packing.unpacked(jax.lax.while_loop(goes_on, body, packing.packed(whole)))
        return state, jax.tree.unflatten(names, list(table.T) if packs else table)

    return train_chunk
