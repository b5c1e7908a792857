"""Which settings fit into one population, and that others are refused by the name of what differs."""

import dataclasses

import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.errors import ConfigurationError
from jaxrnn.training.population import initial_states
from jaxrnn.training.population_structure import group_by_structure, refuse_other_structures

CONFIG = TrainConfig(cell="gru", hidden=2, bptt_length=3, batch_size=2, layers=2, clip_backward=1.0, dropout_output=0.2)


def changed(**values):
    return dataclasses.replace(CONFIG, **values)


FREE = [
    {"seed": 3},
    {"learning_rate": 0.5},
    {"dropout_output": 0.4},
    {"clip_value": 0.1},
    {"clip_backward": 0.1},
]
FIXED = [
    ({"hidden": 3}, "--hidden 3, member 0 has 2"),
    ({"dropout_output": 0.0}, "--dropout-output 0.0, member 0 has 0.2"),
    ({"dropout_between": 0.1}, "--dropout-between 0.1, member 0 has 0.0"),
    ({"dropout_mask": "sequence"}, "--dropout-mask sequence, member 0 has step"),
    ({"clip_value": 0.0}, "--clip-value 0.0, member 0 has 5.0"),
    ({"clip_global_norm": 1.0}, "--clip-global-norm 1.0, member 0 has 0.0"),
    ({"clip_norm": "l1"}, "--clip-norm l1, member 0 has l2"),
    ({"clip_backward": 0.0}, "--clip-backward 0.0, member 0 has 1.0"),
    ({"decay_rate": 0.5}, "--decay-rate 0.5, member 0 has 1.0"),
    ({"epochs": 7}, "--epochs 7, member 0 has None"),
]


@pytest.mark.parametrize("values", FREE)
def test_free_values_fit(values):
    configs = [CONFIG, changed(**values)]
    assert group_by_structure(configs) == [configs]
    refuse_other_structures(configs)


@pytest.mark.parametrize(("values", "said"), FIXED)
def test_all_else_is_refused_by_name(values, said):
    configs = [CONFIG, changed(seed=1), changed(**values)]
    assert group_by_structure(configs) == [configs[:2], configs[2:]]
    with pytest.raises(ConfigurationError, match=f"^a population expects settings equal but .*; member 2 has {said}; "):
        refuse_other_structures(configs)


def test_groups_keep_the_order_in_which_they_came():
    ours, wider = [CONFIG, changed(seed=3), changed(learning_rate=0.5)], [changed(hidden=3), changed(hidden=3, seed=1)]
    assert group_by_structure([ours[0], wider[0], ours[1], wider[1], ours[2]]) == [ours, wider]


@pytest.mark.parametrize("configs", [[changed(dropout_output=0.0), CONFIG], []])
def test_a_population_is_not_begun_with_settings_that_do_not_fit(configs):
    """The program is the first member's: one without dropout would switch it off for all."""
    with pytest.raises(ConfigurationError, match="^a population expects"):
        initial_states(configs, vocabulary_size=4)
