"""Many updates as one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.engines.platforms import platform
from jaxrnn.training.batch_loss import norms_by_layer
from jaxrnn.training.looks import in_looks, pays_as_vector
from jaxrnn.training.packing import ParameterVector
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

        def goes_on(done: jax.Array, state: TrainState) -> jax.Array:
            return (done < updates) & ~is_solved(settings, state) & ~is_diverged(state)

        def step(state: TrainState, vector: ParameterVector | None = None) -> tuple[TrainState, list[jax.Array]]:
            state, *found = train_step(graphdef, settings, state, streams, vector)
            return state, jax.tree.leaves(measured(settings, state, *found))

        def one_update(loop: Any) -> Any:
            done, state, table = loop
            state, row = step(state)
            pairs = zip(table, row, strict=True)
            return done + 1, state, [jax.lax.dynamic_update_index_in_dim(old, new, done, 0) for old, new in pairs]

        if platform().counts_kernels:
            as_vector = getattr(settings.optimizer, "takes_a_vector", False) and pays_as_vector(state.params)
            state, table = in_looks(step, goes_on, state, len(columns), MAX_CHUNK_UPDATES, as_vector)
        else:
            zeros = jnp.zeros((MAX_CHUNK_UPDATES,), state.smooth_loss.dtype)
            whole = (jnp.int32(0), state, [zeros for _ in columns])
            _, state, table = jax.lax.while_loop(lambda loop: goes_on(*loop[:2]), one_update, whole)
        return state, jax.tree.unflatten(names, table)

    return train_chunk
