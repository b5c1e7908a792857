"""Which settings fit into one population, and that others are refused by the name of what differs."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.errors import ConfigurationError
from jaxrnn.training.job import make_job, settings_of
from jaxrnn.training.values import (
    OF_THE_HOST,
    TRACED,
    group_by_structure,
    refuse_other_structures,
    traced_values,
)

CONFIG = TrainConfig(
    task="xor",
    sequence_length=3,
    cell="gru",
    hidden=2,
    batch_size=2,
    layers=2,
    clip_backward=1.0,
    dropout_output=0.2,
    decay_rate=0.9,
    decay_every_updates=3,
    validation_every=5,
)


def changed(**values: Any) -> TrainConfig:
    return dataclasses.replace(CONFIG, **values)


FREE: list[dict[str, Any]] = [
    {"seed": 3},
    {"learning_rate": 0.5},
    {"dropout_output": 0.4},
    {"clip_value": 0.1},
    {"clip_backward": 0.1},
    {"decay_rate": 0.5},
    {"decay_every_updates": 7},
    {"warmup_updates": 7},
    {"updates": 7},
    {"early_stopping": "patience", "patience": 2},
]
FIXED: list[tuple[dict[str, Any], str]] = [
    ({"hidden": 3}, "--hidden 3, member 0 has 2"),
    ({"dropout_output": 0.0}, "--dropout-output 0.0, member 0 has 0.2"),
    ({"dropout_between": 0.1}, "--dropout-between 0.1, member 0 has 0.0"),
    ({"dropout_mask": "sequence"}, "--dropout-mask sequence, member 0 has step"),
    ({"clip_value": 0.0}, "--clip-value 0.0, member 0 has 5.0"),
    ({"clip_global_norm": 1.0}, "--clip-global-norm 1.0, member 0 has 0.0"),
    ({"clip_norm": "l1"}, "--clip-norm l1, member 0 has l2"),
    ({"clip_backward": 0.0}, "--clip-backward 0.0, member 0 has 1.0"),
    ({"validation_every": 4}, "--validation-every 4, member 0 has 5"),
    ({"log_every": 7}, "--log-every 7, member 0 has 100"),
]


@pytest.mark.parametrize("values", FREE)
def test_free_values_fit(values: dict[str, Any]) -> None:
    configs = [CONFIG, changed(**values)]
    assert group_by_structure(configs) == [configs]
    refuse_other_structures(configs)


@pytest.mark.parametrize("values", FREE)
def test_a_program_does_not_depend_on_what_is_free(values: dict[str, Any]) -> None:
    """What is fixed when the step is compiled is the same."""
    settings = [settings_of(make_job(config)) for config in (CONFIG, changed(**values))]
    assert settings[0] == settings[1] and hash(settings[0]) == hash(settings[1])


@pytest.mark.parametrize("values", FREE)
def test_what_is_free_is_one_value_of_the_program_or_none(values: dict[str, Any]) -> None:
    """The seed is in the state as a key, and the host's are looked at between calls of the program."""
    before, after = (
        jax.tree_util.tree_leaves_with_path(traced_values(config)) for config in (CONFIG, changed(**values))
    )
    moved = {str(path[-1]) for (path, one), (_, other) in zip(before, after, strict=True) if one != other}
    name = next(iter(values))
    assert name in TRACED + OF_THE_HOST
    assert moved == ({f".{name.removeprefix('dropout_')}"} if name in TRACED and name != "seed" else set())


@pytest.mark.parametrize(("values", "said"), FIXED)
def test_all_else_is_refused_by_name(values: dict[str, Any], said: str) -> None:
    configs = [CONFIG, changed(seed=1), changed(**values)]
    assert group_by_structure(configs) == [configs[:2], configs[2:]]
    with pytest.raises(ConfigurationError, match=f"^a population expects settings equal but .*; member 2 has {said}; "):
        refuse_other_structures(configs)


def test_groups_keep_the_order_in_which_they_came() -> None:
    ours, wider = [CONFIG, changed(seed=3), changed(learning_rate=0.5)], [changed(hidden=3), changed(hidden=3, seed=1)]
    assert group_by_structure([ours[0], wider[0], ours[1], wider[1], ours[2]]) == [ours, wider]


def test_no_settings_are_no_population() -> None:
    with pytest.raises(ConfigurationError, match="^a population expects"):
        refuse_other_structures([])
