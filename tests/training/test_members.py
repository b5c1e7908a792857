"""Members on their devices against plain arithmetic: who runs where, who comes back, what is fetched."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.devices.mesh import Layout
from jaxrnn.random_streams import run_key
from jaxrnn.training import members as module
from jaxrnn.training.chunk import ChunkMetrics
from jaxrnn.training.members import LARGE, Alone, Members, lift, slots_for
from jaxrnn.training.state import TrainState
from tests.trees import assert_trees_equal

LIMIT, LONGEST = 9, 8
LAYOUTS = [Layout(), Layout(2), Layout(batched=True), Layout(2, batched=True)]
FOLDS = [0, 1, 0, 1, 1]
STREAMS = [np.full((3, 4), 2, np.int32), np.full((3, 4), 5, np.int32)]
traces: list[None] = []


def chunk(state: TrainState, streams: jax.Array, updates: jax.Array) -> tuple[TrainState, ChunkMetrics]:
    """In place of training: each update adds the stream's number to all; it ends at update `LIMIT`."""
    traces.append(None)
    done = jnp.minimum(updates, LIMIT - state.update)
    added = (done * streams[0, 0]).astype(jnp.float32)
    after = state._replace(
        update=state.update + done,
        params=state.params + added,
        carry=state.carry + added,
        smooth_loss=state.smooth_loss + added,
    )
    loss = jnp.arange(LONGEST, dtype=jnp.float32) + state.update
    return after, ChunkMetrics(loss, loss * 2)


def state_of(member: int) -> Any:
    """Members differ in all that is there."""
    nothing: dict[str, Any] = dict.fromkeys(TrainState._fields, ())
    state: Any = TrainState(**nothing)
    return state._replace(
        params=np.arange(3, dtype=np.float32) + 10 * member,
        optimizer_state=(run_key(member + 20),),  # as that of `optax.add_noise`
        carry=np.full((4, 2), member, np.float32),
        seed=run_key(member),
        update=np.int32(member % 2),
        smooth_loss=np.float32(member / 4),
    )


def population(layout: Layout, count: int = 5, folds: list[int] | None = None) -> Members:
    return Members(chunk, layout, STREAMS, folds or FOLDS[:count], [state_of(member) for member in range(count)])


def after(state: Any, updates: int, fold: int) -> Any:
    """What `chunk` makes of it, in NumPy."""
    done = min(updates, LIMIT - int(state.update))
    added = np.float32(done * STREAMS[fold][0, 0])
    return state._replace(
        update=np.int32(state.update + done),
        params=state.params + added,
        carry=state.carry + added,
        smooth_loss=np.float32(state.smooth_loss + added),
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_member_goes_its_own_way_and_comes_back_to_its_own_place(layout: Layout) -> None:
    together = population(layout)
    expected: list[Any] = [state_of(member) for member in range(5)]
    calls: list[Any] = [[3, 3, 3, 3, 3], [0, 2, 0, 1, 0], "put 3", [1, 0, 0, 0, 4], [0, 0, 2, 0, 0], "put 0", [8] * 5]
    for call in calls:
        if isinstance(call, str):
            member = int(call[-1])
            expected[member] = state_of(member + 7)._replace(update=np.int32(2))
            together.put(member, expected[member])
        else:
            before = [int(state.update) for state in expected]
            expected = [after(state, *of) for state, of in zip(expected, zip(call, FOLDS, strict=True), strict=True)]
            for member, metrics in enumerate(together.advance(np.array(call))):
                losses = np.arange(before[member], int(expected[member].update), dtype=np.float32)
                np.testing.assert_array_equal(metrics.loss, losses)
                np.testing.assert_array_equal(metrics.smooth_loss, 2 * losses)
        for member, state in enumerate(expected):
            glance = together.glance(member)
            assert (glance.update, glance.smooth_loss) == (state.update, state.smooth_loss), (call, member)
    for member, state in enumerate(expected):
        assert_trees_equal(together.state(member), state)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_states_are_read_between_calls_as_after_them(layout: Layout) -> None:
    """What was fetched lies on the host; what is on the devices stays valid."""
    together = population(layout)
    expected: list[Any] = [state_of(member) for member in range(5)]
    for updates in ([1] * 5, [0, 0, 1, 0, 1], [2] * 5):
        expected = [after(state, *of) for state, of in zip(expected, zip(updates, FOLDS, strict=True), strict=True)]
        together.advance(np.array(updates))
        for member in (4, 0, 2):
            assert_trees_equal(together.state(member), expected[member])


def test_a_glance_leaves_the_large_parts_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes fetch together, so a second look asks no device again."""
    together, fetched = population(Layout(2)), []

    def noted(tree: Any) -> Any:
        leaves = {name for name, leaf in tree._asdict().items() if jax.tree.leaves(leaf)}
        fetched.append(leaves)
        return jax.tree.map(np.array, tree)

    monkeypatch.setattr(module, "on_this_host", noted)
    together.advance(np.array([1, 1, 1, 1, 1]))
    for member in range(5):
        glance = together.glance(member)
        assert all(getattr(glance, name) == () for name in LARGE)
    assert not any("params" in leaves for leaves in fetched)
    for member in range(5):
        together.state(member)
    together.advance(np.array([1, 1, 1, 1, 1]))
    assert sum("params" in leaves for leaves in fetched) == 1


@pytest.mark.parametrize("batched", [False, True])
def test_nothing_is_compiled_again_but_for_fewer_places_of_a_batch(batched: bool) -> None:
    together = population(Layout(batched=batched))
    del traces[:]
    compiled = []
    for running in (
        [1, 1, 1, 1, 1],
        [1, 0, 1, 1, 1],
        [1, 0, 1, 0, 1],
        [0, 0, 1, 1, 0],
        [1, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ):
        together.advance(np.array(running))
        compiled.append(len(traces))
    # Eight places are there from the start: 5 and 4 members lie in 8 and 4, 3 in 4, 2 in 2, 3 in 4 again, one in 1.
    assert compiled == ([0, 1, 1, 2, 2, 3] if batched else [0] * 6)


@pytest.mark.parametrize("batched", [False, True])
def test_a_lifted_program_reads_the_fold_of_each_member(batched: bool) -> None:
    states = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *map(state_of, range(3)))
    folds, updates = jnp.array([1, 0, 1]), jnp.array([2, 1, 0])
    of_folds, _ = lift(chunk, batched, several_streams=True)(states, jnp.stack(STREAMS), folds, updates)
    of_one, metrics = lift(chunk, batched)(states, jnp.asarray(STREAMS[1]), folds, updates)
    for member in range(3):
        read, all_of_one = (jax.tree.map(lambda leaf, m=member: leaf[m], tree) for tree in (of_folds, of_one))
        assert_trees_equal(
            read, jax.tree.map(jnp.asarray, after(state_of(member), [2, 1, 0][member], [1, 0, 1][member]))
        )
        assert_trees_equal(all_of_one, jax.tree.map(jnp.asarray, after(state_of(member), [2, 1, 0][member], 1)))
    assert metrics.loss.shape == (3, LONGEST)


def test_one_state_alone_is_advanced_by_the_program_itself() -> None:
    start = jax.tree.map(jnp.asarray, state_of(1))
    alone = Alone(chunk, Layout(), STREAMS[1], jax.eval_shape(lambda: start), lambda: start)
    assert alone.advance(np.array([3]))[0].loss.tolist() == [1, 2, 3]
    assert alone.advance(np.array([8]))[0].loss.tolist() == [4, 5, 6, 7, 8]
    expected = after(state_of(1), 8, 1)
    assert_trees_equal(alone.state(0), expected)
    assert alone.glance(0).params == () and int(alone.glance(0).update) == LIMIT


@given(st.lists(st.booleans(), min_size=1, max_size=12).filter(any), st.integers(1, 4), st.booleans())
def test_each_that_runs_has_one_place_and_the_devices_as_many_each(
    running: list[bool], devices: int, batched: bool
) -> None:
    slots = slots_for(np.array(running), Layout(devices, batched=batched))
    numbers = np.flatnonzero(running).tolist()
    assert sorted(number for number in slots if number >= 0) == numbers
    of_device = np.array(slots).reshape(devices, -1)
    taken = (of_device >= 0).sum(axis=1)
    assert taken.max() - taken.min() <= 1
    places = of_device.shape[1]
    if batched:
        needed = -(-len(numbers) // devices)
        assert places & (places - 1) == 0 and needed <= places < 2 * needed
    else:
        assert places == -(-len(running) // devices)  # as many whoever runs, so that nothing is compiled again
