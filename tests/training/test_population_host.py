"""Members on the host: who runs where, who comes back, and whom halving stops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxrnn.training.population import initial_members, member_specs
from jaxrnn.training.population_devices import PopulationSettings
from jaxrnn.training.population_host import (
    as_saved,
    fetch_members,
    from_saved,
    on_host,
    place_members,
    slots_for,
    worse_half_stopped,
)

from jaxrnn.config import TrainConfig
from jaxrnn.training.early_stopping import EarlyStopping
from jaxrnn.training.job import step_settings
from tests.trees import assert_trees_equal

CONFIG = TrainConfig(cell="gru", hidden=2, bptt_length=3, batch_size=2, optimizer="rmsprop", epochs=3)
STEP = step_settings(CONFIG, None)


@pytest.fixture(scope="module")
def members():
    """Five members that differ in all that may differ."""
    full = on_host(initial_members([CONFIG] * 5, [0] * 5, [3] * 5, 4))

    def differ(leaf):
        return leaf + np.arange(5).reshape(5, *[1] * (leaf.ndim - 1)).astype(leaf.dtype)

    return jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else differ(leaf), full)


@given(st.lists(st.booleans(), min_size=1, max_size=12).filter(any), st.integers(1, 4), st.booleans())
def test_each_that_runs_has_one_place_and_the_devices_as_many_each(running, devices, batched):
    slots = slots_for(np.array(running), PopulationSettings(STEP, devices, batched))
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


@pytest.mark.parametrize("slots", [[0, 1, 2, 3, 4], [3, -1, 1, 4], [2]])
def test_what_is_placed_comes_back_to_its_own_member(slots, members):
    settings = PopulationSettings(STEP)
    placed = place_members(settings, member_specs(), members, slots)
    assert np.array(placed.running).tolist() == [number >= 0 for number in slots]
    assert_trees_equal(fetch_members(placed, slots, members), members)
    later = placed._replace(best_epoch=placed.best_epoch + 100)
    back = fetch_members(later, slots, members)
    moved = [member + 100 * (member in slots) for member in range(5)]
    assert back.best_epoch.tolist() == moved
    assert_trees_equal(back._replace(best_epoch=members.best_epoch), members)


def test_what_is_saved_is_read_back(members):
    assert_trees_equal(from_saved(as_saved(members), members), members)


@pytest.mark.parametrize(
    ("epoch", "losses", "runs", "goes_on"),
    [
        (1, [3.0, 1.0, 2.0, 4.0, 5.0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
        (2, [3.0, 1.0, 2.0, 4.0, 5.0], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]),
        (3, [3.0, 1.0, 2.0, 4.0, 5.0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
        (4, [3.0, 1.0, 2.0, 4.0, 5.0], [1, 0, 1, 0, 1], [1, 0, 1, 0, 0]),
        (6, [3.0, 1.0, 2.0, 4.0, 5.0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
        (8, [np.inf, 1.0, np.nan, 1.0, 0.5], [1, 1, 1, 1, 0], [0, 1, 0, 1, 0]),
        (16, [3.0, 1.0, 2.0, 4.0, 5.0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]),
        (16, [3.0, 1.0, 2.0, 4.0, 5.0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
    ],
)
def test_halving_stops_the_worse_half_after_powers_of_two(epoch, losses, runs, goes_on, members):
    best = EarlyStopping(*members.train.early_stopping)._replace(best=jnp.array(losses))
    train = members.train._replace(early_stopping=best, epoch=np.where(runs, epoch, 1))
    full = members._replace(train=train, running=np.array(runs, bool))
    halved = worse_half_stopped(full)
    assert halved.running.tolist() == [bool(one) for one in goes_on]
    assert_trees_equal(halved._replace(running=full.running), full)
