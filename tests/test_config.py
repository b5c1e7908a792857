"""Settings: every default is allowed, every field is checked, and what differs is told."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.checks import parse_devices, parse_interval
from jaxrnn.config import (
    CELL_NAMES,
    CHANGEABLE,
    CHOICES,
    ENGINE_NAMES,
    OPTIMIZER_NAMES,
    TrainConfig,
)
from jaxrnn.errors import ConfigurationError

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
COUNTS = [name for name, field in FIELDS.items() if field.type in ("int", "int | None")]
NUMBERS = [name for name, field in FIELDS.items() if field.type in ("float", "float | None")]
SWITCHES = [name for name, field in FIELDS.items() if field.type in ("bool", "bool | None")]
NAMES = list(CHOICES)
SHARES = ("dropout_", "adam_", "momentum", "rmsprop_", "validation_", "test_", "weight_")
BELOW_ONE = [name for name in NUMBERS if name.startswith(SHARES)]
OF_ANY_SIGN = ["forget_bias", "update_bias"]
NO_NUMBERS = [math.nan, math.inf, -math.inf, 10**400, True, "0.1", 1j, [1.0]]


def test_the_fields_are_known_to_this_test() -> None:
    assert len(COUNTS) == 23 and len(NUMBERS) == 21 and len(SWITCHES) == 13 and len(BELOW_ONE) == 11
    kinds = [COUNTS, NUMBERS, SWITCHES, NAMES, ["text", "validation_text", "checkpoint_every", "devices", "encoding"]]
    assert sorted(name for kind in kinds for name in kind) == sorted(FIELDS)
    assert set(FIELDS) > CHANGEABLE
    assert all(field.metadata["help"] for field in FIELDS.values())


def test_the_names_are_those_of_the_library() -> None:
    """The settings know them without loading JAX; `tests/cells/test_table.py` has those of one table."""
    from jaxrnn.optim.clipping import CLIP_NORMS
    from jaxrnn.training.early_stopping import EARLY_STOPPING_RULES

    assert CHOICES["early_stopping"] == EARLY_STOPPING_RULES
    assert CHOICES["clip_norm"] == CLIP_NORMS


def test_defaults_survive_json() -> None:
    config = TrainConfig()
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_numbers_of_numpy_are_pythons_own() -> None:
    """They come of loops over arrays, and JSON has none of them."""
    given: dict[str, Any] = {"seed": np.int64(3), "learning_rate": np.float32(0.5), "dtype": np.dtype("float64")}
    config = TrainConfig(**given, epochs=np.uint8(2))  # type: ignore[arg-type]
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config == TrainConfig(seed=3, learning_rate=0.5, dtype="float64", epochs=2)


def test_a_config_stored_before_a_setting_came_has_its_default() -> None:
    stored = TrainConfig(init="uniform", init_scale=0.08).to_json()
    del stored["recurrent_init"], stored["bidirectional"]
    assert TrainConfig.from_json(stored) == TrainConfig(init="uniform", init_scale=0.08, recurrent_init=None)


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
    if name == "seed" and isinstance(value, int) and not isinstance(value, bool) and value >= 2**31:
        value += 2**31  # a seed has all 32 bits
    with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')} expects a whole number") as caught:
        TrainConfig(**{name: value})
    assert str(caught.value).isprintable()


@given(
    name=st.sampled_from(NUMBERS),
    value=st.one_of(st.floats(max_value=-1e-300), st.sampled_from(NO_NUMBERS)),
)
def test_what_is_no_number_is_refused_by_name(name: str, value: Any) -> None:
    if name in OF_ANY_SIGN and isinstance(value, float) and math.isfinite(value):
        value = None
    with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')} expects") as caught:
        TrainConfig(**{name: value})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", BELOW_ONE)
@pytest.mark.parametrize("value", [1, 1.0, 1.5])
def test_a_share_of_one_or_more_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')} expects a number below 1 of at least 0"):
        TrainConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", [0, 1, "yes", 1.0])
def test_what_is_no_switch_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')} expects True or False; got "):
        TrainConfig(**{name: value})


@given(name=st.sampled_from(NAMES), value=st.one_of(st.text(max_size=300), st.integers(), st.booleans(), st.floats()))
def test_other_names_are_refused_with_the_list(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')} expects one of ") as caught:
        TrainConfig(**{name: value})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("names", [CELL_NAMES, OPTIMIZER_NAMES, ENGINE_NAMES, CHOICES["early_stopping"]])
def test_a_misspelt_name_gets_the_nearest(names: tuple[str, ...]) -> None:
    kind = next(kind for kind, allowed in CHOICES.items() if allowed == names)
    for name in names:
        if len(name) > 4:
            with pytest.raises(ConfigurationError, match=f"did you mean {name}"):
                TrainConfig(**{kind: name + "x"})  # type: ignore[arg-type]


LSTM = {"cell": "lstm"}
VALIDATED = {"validation_fraction": 0.1}
CONTRADICTIONS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    # settings, the error's words, what makes them agree
    ({"updates": 3, "epochs": 3}, "give one of them", {"epochs": None}),
    ({"retrain": True}, "--retrain needs a --validation-fraction", VALIDATED),
    (
        VALIDATED | {"retrain": True, "early_stopping": "patience"},
        "--early-stopping has no validation to look at with --retrain",
        {"early_stopping": "none"},
    ),
    (
        {"validation_fraction": 0.5, "test_fraction": 0.5},
        "--validation-fraction and --test-fraction leave nothing to train on: their sum is 1, it must be below 1",
        {"test_fraction": 0.4},
    ),
    ({"forget_bias": 0.0}, "--cell vanilla, which has no forget gate", LSTM),
    ({"cell": "gru", "forget_bias": -2.0}, "--cell gru, which has no forget gate", LSTM),
    ({"cell": "lstm", "update_bias": 2.0}, "--cell lstm, which has no update gate", {"cell": "gru"}),
    ({"dropout_between": 0.5}, "nothing between", {"layers": 2}),
    ({"tie_embedding": True}, "needs an --embedding of --hidden 100 features; got 0", {"embedding": 100}),
    ({"tie_embedding": True, "embedding": 99}, "of --hidden 100 features; got 99", {"hidden": 99}),
    (
        {"tie_embedding": True, "embedding": 100, "skip_connections": True},
        "--tie-embedding does not go with --skip-connections",
        {"skip_connections": False},
    ),
    ({"early_stopping": "patience"}, "--early-stopping patience needs a --validation-fraction", VALIDATED),
    ({"validation_text": "a.txt"} | VALIDATED, "both say what is validated on", {"validation_fraction": 0.0}),
    ({"validation_text": "a.txt", "folds": 2}, "--folds move the parts that are kept out", {"test_fraction": 0.1}),
    ({"validation_text": "a.txt", "best_by": "smoothed"}, "effect with a --validation-text", {"best_by": "fresh"}),
    ({"validation_text": "a.txt", "retrain": True}, "--retrain needs a", VALIDATED | {"validation_text": None}),
    ({"validation_text": "-"}, "a directory or a known text; got '-'", {"validation_text": "a.txt"}),
    ({"early_stopping": "patience"}, "or a --validation-text, to look at", {"validation_text": "a.txt"}),
    ({"early_stopping": "relative-decrease"}, "relative-decrease needs a --validation-fraction", VALIDATED),
    ({"decay_every_updates": 9}, "--decay-every-updates needs a --decay-rate below 1", {"decay_rate": 0.5}),
    ({"optimizer": "sgd", "nesterov": True}, "--nesterov needs a --momentum above 0", {"momentum": 0.9}),
    (
        {"init": "orthogonal", "init_scale": 0.1},
        "effect with --init orthogonal; it belongs to normal",
        {"init": "uniform"},
    ),
    (
        {"init": "he-normal", "recurrent_init": "orthogonal", "init_scale": 0.1},
        "no effect with --init he-normal and --recurrent-init orthogonal; it belongs to normal or uniform",
        {"recurrent_init": "normal"},
    ),
    (
        {"init": "glorot-normal", "init_biases": True},
        "--init-biases needs --init normal or uniform",
        {"init": "normal"},
    ),
    ({"momentum": 0.9}, "no effect with --optimizer adagrad; it belongs to rmsprop, sgd", {"optimizer": "sgd"}),
    ({"momentum": 0.9, "nesterov": True}, "no effect with --optimizer adagrad", {"optimizer": "rmsprop"}),
    ({"optimizer": "sgd", "epsilon": 1e-6}, "it belongs to adagrad, rmsprop, adam", {"optimizer": "adam"}),
    ({"optimizer": "sgd", "epsilon_in_root": False}, "--epsilon-in-root has no effect", {"optimizer": "adagrad"}),
    ({"rmsprop_decay": 0.9}, "it belongs to rmsprop", {"optimizer": "rmsprop"}),
    ({"adam_b1": 0.8}, "it belongs to adam", {"optimizer": "adam"}),
    ({"adam_b2": 0.8}, "it belongs to adam", {"optimizer": "adam"}),
    ({"vocabulary_size": 9}, "--vocabulary-size has no effect without --symbols words or bpe", {"symbols": "bpe"}),
    ({"symbols": "words", "bytes": True}, "--symbols words reads characters, not --bytes", {"bytes": False}),
    ({"symbols": "bpe", "stream_from": "disk"}, "not with --stream-from disk", {"stream_from": "auto"}),
]


@pytest.mark.parametrize(("settings", "words", "agreement"), CONTRADICTIONS)
def test_contradictions_are_told_in_one_line(settings: dict, words: str, agreement: dict) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TrainConfig(**settings)
    assert words in str(caught.value) and str(caught.value).isprintable()
    TrainConfig(**settings | agreement)


@pytest.mark.parametrize("value", [0, 0.0, 1e-31])
def test_an_epsilon_that_could_vanish_is_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match="^--epsilon expects a finite number of at least 1e-30"):
        TrainConfig(epsilon=value)


@pytest.mark.parametrize("name", sorted({*NUMBERS} - {*BELOW_ONE} - {"decay_rate", "stop_at_accuracy"}))
def test_what_is_infinite_in_the_dtype_of_the_run_is_refused(name: str) -> None:
    """It was started with, as infinity, with a warning of NumPy's."""
    cell = {"forget_bias": "lstm", "update_bias": "gru"}.get(name, "vanilla")
    for value in (1e39, 2.0**128 - 2.0**103, *([-1e300] if name in OF_ANY_SIGN else [])):
        with pytest.raises(
            ConfigurationError, match=f"^--{name.replace('_', '-')} expects .* float32 .*--dtype float64"
        ):
            TrainConfig(cell=cell, **{name: value})  # type: ignore[arg-type]
        TrainConfig(cell=cell, dtype="float64", **{name: value})  # type: ignore[arg-type]
    largest = float(np.finfo(np.float32).max)
    TrainConfig(cell=cell, **{name: largest})  # type: ignore[arg-type]


def test_settings_stored_before_an_encoding_of_bytes_was_refused_go_on() -> None:
    stored = TrainConfig(bytes=True).to_json() | {"encoding": "utf-8", "byte_order_mark": "keep"}
    assert TrainConfig.from_json(stored) == TrainConfig(bytes=True)
    with pytest.raises(ConfigurationError, match="--bytes reads every byte as it is"):
        TrainConfig(bytes=True, encoding="utf-8")


def test_every_optimizer_setting_reaches_the_optimizer() -> None:
    from jaxrnn.optim.settings import OptimizerSettings

    assert TrainConfig().optimizer_settings() == OptimizerSettings(scheduled=False)
    rmsprop: dict[str, Any] = dict(epsilon=1e-6, epsilon_in_root=True, rmsprop_decay=0.9, momentum=0.8, nesterov=True)
    shared: dict[str, Any] = dict(clip_norm="linf", accumulate=4)
    config = TrainConfig(optimizer="rmsprop", clip_value=0, clip_global_norm=2, **rmsprop, **shared)
    shared |= dict(clips_value=False, clips_global_norm=True, scheduled=False)
    expected = OptimizerSettings("rmsprop", **rmsprop, **shared)
    assert config.optimizer_settings() == expected
    config = TrainConfig(optimizer="adam", adam_b1=0.8, adam_b2=0.99)
    assert config.optimizer_settings() == OptimizerSettings("adam", adam_b1=0.8, adam_b2=0.99, scheduled=False)
    for changing in ({"decay_rate": 0.5}, {"warmup_updates": 1}):
        assert TrainConfig(**changing).optimizer_settings() == OptimizerSettings()


def test_every_value_reaches_the_optimizer() -> None:
    config = TrainConfig(learning_rate=0.25, clip_value=3, clip_global_norm=2, decay_rate=0.5, warmup_updates=7)
    assert config.hyperparameters() == (0.25, 3.0, 2.0, 0.5, 10, 0, 7)
    by_updates = TrainConfig(decay_rate=0.5, decay_every_updates=9).hyperparameters()
    assert (by_updates.decay_every_updates, by_updates.decay_after_epochs) == (9, 2**31 - 1)
    both = TrainConfig(decay_rate=0.5, decay_every_updates=9, decay_after_epochs=3).hyperparameters()
    assert (both.decay_every_updates, both.decay_after_epochs) == (9, 3)


def test_the_values_have_the_dtype_of_the_run(float64: None) -> None:
    for dtype in ("float32", "float64"):
        values = TrainConfig(dtype=dtype).hyperparameters()
        assert [leaf.dtype.name for leaf in values] == [dtype] * 4 + ["int32"] * 3


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


@given(st.integers(1, 10**6 - 1))
def test_devices_are_auto_or_a_number(number: int) -> None:
    assert parse_devices("auto") is None
    assert parse_devices(str(number)) == number


@pytest.mark.parametrize("text", ["", "0", "-1", "1.0", "all", "4 ", "4\n", "\u0664", "1234567", None, True])
def test_other_devices_are_refused(text: Any) -> None:
    with pytest.raises(ConfigurationError, match="^--devices expects auto or a number of devices; got ") as caught:
        TrainConfig(devices=text)
    assert str(caught.value).isprintable()


def test_differences_name_the_setting_and_both_values() -> None:
    one, other = TrainConfig(hidden=8, updates=3), TrainConfig(hidden=9, updates=4)
    assert one.differences(other) == [("hidden", 8, 9), ("updates", 3, 4)]
    assert one.differences(other, ignore=CHANGEABLE) == [("hidden", 8, 9)]


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="b\\\\x1b.*the jaxrnn that wrote it"):
        TrainConfig.from_json(TrainConfig().to_json() | {"b\x1b": 1})
