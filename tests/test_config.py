"""Settings: every default is allowed, every field is checked, and what differs is told."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.config import CELL_NAMES, CHANGEABLE, ENGINE_NAMES, OPTIMIZER_NAMES, TrainConfig, parse_interval
from jaxrnn.errors import ConfigurationError

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
COUNTS = [name for name, field in FIELDS.items() if field.type in ("int", "int | None")]
NUMBERS = [name for name, field in FIELDS.items() if field.type == "float"]
NAMES = ["cell", "optimizer", "loss_reduction", "dtype", "engine", "newlines", "byte_order_mark"]


def test_the_fields_are_known_to_this_test() -> None:
    assert len(COUNTS) >= 11 and len(NUMBERS) >= 6
    assert set(COUNTS) | set(NUMBERS) | set(NAMES) | {"text", "checkpoint_every", "encoding", "bytes"} == set(FIELDS)
    assert set(FIELDS) > CHANGEABLE
    assert all(field.metadata["help"] for field in FIELDS.values())


def test_defaults_survive_json() -> None:
    config = TrainConfig()
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@given(
    name=st.sampled_from(COUNTS),
    value=st.one_of(
        st.integers(max_value=-1),
        st.integers(min_value=2**31),
        st.booleans(),
        st.floats(),
        st.text(max_size=9),
        st.binary(max_size=3),
        st.lists(st.integers(), max_size=2),
    ),
)
def test_what_is_no_count_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')} expects a whole number") as caught:
        TrainConfig(**{name: value})
    assert str(caught.value).isprintable()


@given(
    name=st.sampled_from(NUMBERS),
    value=st.one_of(
        st.floats(max_value=-1e-300), st.sampled_from([math.nan, math.inf, -math.inf, None, True, "0.1", 1j, [1.0]])
    ),
)
def test_what_is_no_number_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')} expects") as caught:
        TrainConfig(**{name: value})
    assert str(caught.value).isprintable()


@given(name=st.sampled_from(NAMES), value=st.one_of(st.text(max_size=300), st.integers(), st.booleans(), st.floats()))
def test_other_names_are_refused_with_the_list(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')} expects one of ") as caught:
        TrainConfig(**{name: value})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("names", [CELL_NAMES, OPTIMIZER_NAMES, ENGINE_NAMES])
def test_a_misspelt_name_gets_the_nearest(names: tuple[str, ...]) -> None:
    kind = {CELL_NAMES: "cell", OPTIMIZER_NAMES: "optimizer", ENGINE_NAMES: "engine"}[names]
    for name in names:
        if len(name) > 4:
            with pytest.raises(ConfigurationError, match=f"did you mean {name}"):
                TrainConfig(**{kind: name[:-1]})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", None, 3])
def test_a_text_must_be_named(text: Any) -> None:
    with pytest.raises(ConfigurationError):
        TrainConfig(text=text)


@given(st.integers(1, 10**9 - 1))
def test_intervals_in_updates_and_seconds(number: int) -> None:
    assert parse_interval(str(number)) == (number, None)
    assert parse_interval(f"{number}s") == (None, float(number))
    assert parse_interval(f"{number}.25s") == (None, number + 0.25)


@given(st.text(max_size=12).filter(lambda t: not t.rstrip("s").replace(".", "").isdecimal()))
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="^--checkpoint-every expects") as caught:
        parse_interval(text)
    assert str(caught.value).isprintable()


def test_differences_name_the_setting_and_both_values() -> None:
    one, other = TrainConfig(hidden=8, updates=3), TrainConfig(hidden=9, updates=4)
    assert one.differences(other) == [("hidden", 8, 9), ("updates", 3, 4)]
    assert one.differences(other, ignore=CHANGEABLE) == [("hidden", 8, 9)]


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="b\\\\x1b.*the jaxrnn that wrote it"):
        TrainConfig.from_json(TrainConfig().to_json() | {"b\x1b": 1})
