"""Members on the host: who runs where, and the form that a checkpoint holds."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np

from jaxrnn.devices.hosts import on_this_host
from jaxrnn.random_streams import run_key_from_data
from jaxrnn.training.population_devices import PopulationSettings, place_on

# A `Member` of a population of texts, or of generated sequences: `train`, `running`, and what else changes.
AnyMember = TypeVar("AnyMember", bound=Any)


def slots_for(running: np.ndarray, settings: PopulationSettings) -> list[int]:
    """Which member lies in which place of the devices; -1 where none does.

    All that run are spread evenly, since a call takes as long as the device with the most. One after another the number
    of places stays, so that nothing is compiled again, and an empty place costs nothing; batched it is the power of two
    that holds what still runs.

    Example:
      >>> import numpy as np
      >>> slots_for(np.array([True, False, True, True]), PopulationSettings(None, member_devices=2))
      [0, 3, 2, -1]
    """
    numbers = np.flatnonzero(running).tolist()
    devices = settings.member_devices
    places = -(-len(running) // devices)
    if settings.batched:
        places = 1 << (-(-len(numbers) // devices) - 1).bit_length()
    return [
        numbers[place * devices + device] if place * devices + device < len(numbers) else -1
        for device in range(devices)
        for place in range(places)
    ]


def place_members(settings: PopulationSettings, specs: Any, full: AnyMember, slots: list[int]) -> AnyMember:
    """The members of these places, put on the devices; in the place of a -1 lies one that does not run."""
    chosen = jax.tree.map(lambda leaf: leaf[np.maximum(slots, 0)], full)
    running = chosen.running & (np.array(slots) >= 0)
    placed = place_on(settings, specs, chosen._replace(running=running))
    key = run_key_from_data(placed.train.seed)
    return placed._replace(train=placed.train._replace(seed=key))


def fetch_members(members: AnyMember, slots: list[int], full: AnyMember) -> AnyMember:
    """All members on the host, those of the devices in the place of their older selves."""
    real = [place for place, number in enumerate(slots) if number >= 0]
    numbers = [slots[place] for place in real]

    def put(leaf: np.ndarray, new: np.ndarray) -> np.ndarray:
        leaf = leaf.copy()
        leaf[numbers] = new[real]
        return leaf

    return jax.tree.map(put, full, on_host(members))


def worse_half_stopped(full: AnyMember) -> AnyMember:
    """Successive halving (Jamieson and Talwalkar, 2016), asked after an epoch.

    After epochs 2, 4, 8, ... the half of the running members with the higher lowest validation loss stops; of an odd
    number the one in the middle goes on.
    """
    running = np.flatnonzero(full.running)
    epoch = int(full.train.epoch[running].max(initial=0))
    if len(running) < 2 or epoch < 2 or epoch & (epoch - 1):
        return full
    order = running[np.argsort(full.train.early_stopping.best[running], kind="stable")]
    goes_on = full.running.copy()
    goes_on[order[(len(order) + 1) // 2 :]] = False
    return full._replace(running=goes_on)


def on_host(members: AnyMember) -> AnyMember:
    """The members as NumPy arrays of their own, keys as their integers."""
    state = members.train._replace(seed=jax.random.key_data(members.train.seed))
    return on_this_host(members._replace(train=state))


def as_saved(full: AnyMember) -> dict[str, Any]:
    """The members as one flat tree, which a checkpoint holds."""
    return full.train._asdict() | {f"member_{name}": leaf for name, leaf in full._asdict().items() if name != "train"}


def from_saved(saved: dict[str, Any], like: AnyMember) -> AnyMember:
    """The inverse of `as_saved`; `like` gives the form."""
    saved = jax.tree.map(np.array, saved)
    train = like.train._replace(**{name: saved[name] for name in like.train._fields})
    others = {name: saved[f"member_{name}"] for name in like._fields if name != "train"}
    return like._replace(train=train, **others)
