"""Who is trained: one state alone, or those of several members stacked, each advanced by the same training program.

On a CPU each device takes its members one after another, since batched products are slow there; on an accelerator they
are batched with `vmap`. A run alone calls the program itself.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from jaxrnn.devices.compile_cache import compiled
from jaxrnn.devices.hosts import on_this_host
from jaxrnn.devices.mesh import BATCH_AXIS, MEMBER_AXIS, Layout, jit_on, place
from jaxrnn.engines.platforms import tracing_members
from jaxrnn.random_streams import as_data, as_keys, is_key
from jaxrnn.training.chunk import ChunkMetrics
from jaxrnn.training.state import Candidate, TrainState

LARGE = (
    *("params", "optimizer_state", "best_params", "candidate", "carry", "seed"),
    *("variables", "best_variables", "order", "best_carry"),
)
Feed = Callable[[int, int], Any]
Chunk = Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, ChunkMetrics]]


def lift(train_chunk: Chunk, batched: bool, several_streams: bool = False) -> Callable[..., Any]:
    """Maps the training program over members: `advance(states, streams, folds, updates) -> (states, metrics)`.

    Args:
      train_chunk: from `train_chunk_of`.
      batched: all at once with `vmap`, or one after another, where a member of 0 updates costs nothing.
      several_streams: whether `streams` are those of several folds, stacked, of which each member reads one.

    Every argument but the streams has a leading axis, one place a member; the updates of each are a number of its own.
    """

    def one(state: TrainState, streams: jax.Array, fold: jax.Array, updates: jax.Array) -> Any:
        return train_chunk(state, jax.tree.map(lambda s: s[fold], streams) if several_streams else streams, updates)

    def advance(states: TrainState, streams: jax.Array, folds: jax.Array, updates: jax.Array) -> Any:
        if batched:
            with tracing_members():
                return jax.vmap(one, in_axes=(0, None, 0, 0))(states, streams, folds, updates)
        return jax.lax.map(lambda member: one(member[0], streams, *member[1:]), (states, folds, updates))

    return advance


class Alone:
    """One state, advanced by the training program itself.

    Args:
      train_chunk: from `train_chunk_of`.
      layout: its `share` devices split the batch.
      streams: of the task, on the host.
      template: shapes and dtypes of the state.
      split: see `Objective.split`.
      feed: gives the streams of so many updates after one, on the devices; None where they stay the same.
      start: gives the state before its first update, or as it was saved; called beside the compiler, which leaves a
        core idle for most of its time.
    """

    def __init__(
        self,
        train_chunk: Chunk,
        layout: Layout,
        streams: Any,
        template: TrainState,
        start: Callable[[], TrainState],
        split: Any = True,
        feed: Feed | None = None,
    ):
        self.layout, self.specs, self._feed = layout, _state_specs(template), feed
        in_specs = (self.specs, stream_specs(split), PartitionSpec())
        program = jit_on(train_chunk, layout, in_specs, (self.specs, PartitionSpec()))
        with ThreadPoolExecutor(max_workers=1) as thread:
            started = thread.submit(start)
            self._chunk = compiled(program, template, streams, np.int32(1))
            self.put(0, started.result())
        self._streams = place_streams(layout, split, [streams])

    def put(self, member: int, state: TrainState) -> None:
        """Replaces the state."""
        self._state = place(self.layout, self.specs, state)

    def state(self, member: int) -> TrainState:
        """The state, on its devices."""
        return self._state

    def glance(self, member: int) -> TrainState:
        """The state without its large parts, as NumPy arrays."""
        return jax.tree.map(np.asarray, _without_large(self._state))

    def advance(self, updates: np.ndarray) -> list[ChunkMetrics]:
        """So many updates, fewer where it ends on the way; what each of them measured."""
        before = int(self._state.update)
        if self._feed is not None:
            self._streams = self._feed(before, int(updates[0]))
        self._state, metrics = self._chunk(self._state, self._streams, np.int32(updates[0]))
        return [_measured(metrics, int(self._state.update) - before)]


class Members:
    """The states of several members: on the host one stacked tree, on the devices those that run.

    Args:
      train_chunk: from `train_chunk_of`.
      layout: how members and their batches are spread.
      streams: of each fold, on the host.
      folds: the fold that each member reads.
      states: of each, which are held stacked, as NumPy arrays, with random keys as their integers.
      split, feed: as for `Alone`.
    """

    def __init__(
        self,
        train_chunk: Chunk,
        layout: Layout,
        streams: list[Any],
        folds: list[int],
        states: list[TrainState],
        split: Any = True,
        feed: Feed | None = None,
    ):
        self.layout, self.folds, self._feed = layout, np.asarray(folds, np.int32), feed
        self._are_keys = jax.tree.map(is_key, states[0])
        self._full = jax.tree.map(lambda *of: np.stack([np.asarray(leaf) for leaf in of]), *map(as_data, states))
        self._specs, self._along = _state_specs(states[0], MEMBER_AXIS), PartitionSpec(MEMBER_AXIS)
        several = len(streams) > 1
        in_specs = (self._specs, stream_specs(split, several), self._along, self._along)
        advance = lift(train_chunk, layout.batched, several)
        self._advance = jit_on(advance, layout, in_specs, (self._specs, self._along))
        self._streams = place_streams(layout, split, streams)
        self._slots: list[int] = []
        self._placed: TrainState | None = None
        self._compiled: set[int] = set()
        self._is_fetched = True
        self._compile_for(slots_for(np.ones(len(folds), bool), layout))

    def put(self, member: int, state: TrainState) -> None:
        """Replaces the state of one member."""
        self._fetch_all()
        self._placed = None
        for leaf, new in zip(jax.tree.leaves(self._full), jax.tree.leaves(as_data(state)), strict=True):
            leaf[member] = np.asarray(new)

    def state(self, member: int) -> TrainState:
        """The state of one member, on the host but for its keys."""
        self._fetch_all()
        return as_keys(jax.tree.map(lambda leaf: leaf[member], self._full), self._are_keys)

    def glance(self, member: int) -> TrainState:
        """The state of one member without its large parts, which are left where they are."""
        return jax.tree.map(lambda leaf: leaf[member], _without_large(self._full))

    def advance(self, updates: np.ndarray) -> list[ChunkMetrics]:
        """So many updates of each member, fewer where one ends on the way; what each of them measured."""
        slots = slots_for(updates > 0, self.layout)
        self._compile_for(slots)
        before = self._full.update.copy()
        if self._feed is not None:
            (update,) = set(before[updates > 0].tolist())  # the loop lets those behind catch up by themselves
            self._streams = self._feed(update, int(updates.max()))
        metrics = self._call(np.where(np.array(slots) >= 0, updates[slots], 0).astype(np.int32))
        ended: list[ChunkMetrics] = [_measured(metrics, 0, 0)] * len(updates)
        for slot, member in enumerate(slots):
            if member >= 0:
                ended[member] = _measured(metrics, int(self._full.update[member] - before[member]), slot)
        return ended

    def _compile_for(self, slots: list[int]) -> None:
        if self._placed is None or slots != self._slots:
            self._place(slots)
        if len(slots) not in self._compiled:  # by a call of no updates, so that the others can be timed
            self._compiled.add(len(slots))
            self._call(np.zeros(len(slots), np.int32))

    def _call(self, updates: np.ndarray) -> ChunkMetrics:
        assert self._placed is not None
        folds = place(self.layout, self._along, self.folds[np.maximum(self._slots, 0)])
        counts = place(self.layout, self._along, updates)
        self._placed, metrics = self._advance(self._placed, self._streams, folds, counts)
        self._fetch(_without_large)  # who runs is decided by it
        self._is_fetched = False
        return on_this_host(metrics)

    def _place(self, slots: list[int]) -> None:
        self._fetch_all()
        chosen = jax.tree.map(lambda leaf: leaf[np.maximum(slots, 0)], self._full)
        self._placed, self._slots = as_keys(place(self.layout, self._specs, chosen), self._are_keys), slots

    def _fetch_all(self) -> None:
        # Once after each call: several processes fetch together, but only one of them may ask again.
        if not self._is_fetched:
            self._fetch(lambda state: state)
            self._is_fetched = True

    def _fetch(self, part: Callable[[TrainState], TrainState]) -> None:
        # What lies on the devices, in the place of its older self on the host. What is placed stays valid.
        assert self._placed is not None
        state = part(as_data(self._placed))
        real = [slot for slot, member in enumerate(self._slots) if member >= 0]
        members = [self._slots[slot] for slot in real]
        for leaf, new in zip(jax.tree.leaves(part(self._full)), jax.tree.leaves(on_this_host(state)), strict=True):
            leaf[members] = new[real]


def slots_for(running: np.ndarray, layout: Layout) -> list[int]:
    """Which member lies in which place of the devices; -1 where none does.

    All that run are spread evenly, since a call takes as long as the device with the most. One after another the number
    of places stays, so that nothing is compiled again, and an empty place costs nothing; batched it is the power of two
    that holds what still runs.

    Example:
      >>> import numpy as np
      >>> slots_for(np.array([True, False, True, True]), Layout(spread=2))
      [0, 3, 2, -1]
    """
    numbers = np.flatnonzero(running).tolist()
    devices = layout.spread
    places = -(-len(running) // devices)
    if layout.batched:
        places = 1 << (-(-len(numbers) // devices) - 1).bit_length()
    return [
        numbers[place * devices + device] if place * devices + device < len(numbers) else -1
        for device in range(devices)
        for place in range(places)
    ]


def _without_large(state: TrainState) -> TrainState:
    nothing: dict[str, Any] = dict.fromkeys(LARGE, ())
    return state._replace(**nothing)


def _state_specs(template: TrainState, *along: str) -> TrainState:
    """How a state lies on the mesh: carries by rows of the batch, all else whole; stacked states by member first."""
    whole: Any = PartitionSpec(*along)
    by_rows: Any = PartitionSpec(*along, BATCH_AXIS)
    candidate: Any = Candidate(whole, whole, whole, whole, by_rows) if template.candidate else whole
    specs = TrainState(*[whole] * len(TrainState._fields))
    return specs._replace(carry=by_rows, best_carry=by_rows, candidate=candidate)


def stream_specs(split: Any, several: bool = False) -> Any:
    """How streams lie on the mesh, from `Objective.split`; those of several folds have an axis before."""
    before = [None] if several else []
    return jax.tree.map(lambda along: PartitionSpec(*before, None, BATCH_AXIS) if along else PartitionSpec(), split)


def place_streams(layout: Layout, split: Any, streams: list[Any]) -> Any:
    """Puts the streams of one fold, or those of several, stacked, on the devices."""
    several = len(streams) > 1
    stacked = jax.tree.map(lambda *of: np.stack(of), *streams) if several else streams[0]
    return place(layout, stream_specs(split, several), stacked)


def _measured(metrics: ChunkMetrics, updates: int, slot: int | None = None) -> ChunkMetrics:
    return jax.tree.map(lambda values: np.asarray(values if slot is None else values[slot])[:updates], metrics)
