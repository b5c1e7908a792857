"""Recipes by name: each can be trained; a file lies over them, single settings over both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jaxrnn.cli import app
from jaxrnn.config import TrainConfig
from jaxrnn.errors import ConfigurationError
from jaxrnn.tasks.presets import PRESETS, read_settings, settings_of
from jaxrnn.tasks.small_text import fit_to_text
from jaxrnn.terminal.command import exit_code_of

FIELDS = TrainConfig.__dataclass_fields__


@pytest.mark.parametrize("name", PRESETS)
def test_each_recipe_is_one_that_can_be_trained(name: str) -> None:
    config = TrainConfig(**settings_of(name, {}, {}))
    assert (config == TrainConfig()) == (name == "book")


def test_a_setting_lies_over_the_file_and_the_file_over_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('hidden = 64\nlearning_rate = 1\ncell = "lstm"\n', encoding="utf-8")
    config = TrainConfig(**settings_of("minute", read_settings(file, FIELDS), {"hidden": 32}))
    assert (config.hidden, config.learning_rate, config.cell, config.batch_size) == (32, 1, "lstm", 32)
    stored = tmp_path / "config.json"
    stored.write_text(json.dumps({"format": 1, "config": config.to_json(), "data": {}}), encoding="utf-8")
    assert TrainConfig(**settings_of("book", read_settings(stored, FIELDS), {})) == config


ADDING = {"task": "adding", "sequence_length": 9}
DROPPED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # recipe, what is given, what is in the place of what it contradicts
    ("minute", {"updates": 7}, {"updates": 7, "epochs": None}),
    ("minute", {"init": "orthogonal"}, {"init_scale": TrainConfig().init_scale}),
    ("minute", ADDING, {"decay_after_epochs": None, "decay_rate": 1.0, "epochs": None, "hidden": 128}),
    ("minute", ADDING | {"decay_every_updates": 9}, {"decay_every_updates": 9, "decay_rate": 0.9}),
    ("torch-rnn", ADDING, {"validation_fraction": 0.0, "test_fraction": 0.0, "layers": 2}),
    ("char-rnn", {"cell": "gru"}, {"cell": "gru", "layers": 2}),
]


@pytest.mark.parametrize(("preset", "given", "expected"), DROPPED)
def test_what_a_setting_contradicts_is_dropped(preset: str, given: dict, expected: dict) -> None:
    config = TrainConfig(**settings_of(preset, {}, given))
    assert {name: getattr(config, name) for name in expected} == expected


def test_what_only_a_text_has_is_dropped_from_a_file_for_a_task_but_refused_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('text = "book.txt"\nepochs = 5\nhidden = 7\n', encoding="utf-8")
    config = TrainConfig(**settings_of(None, read_settings(file, FIELDS), ADDING))
    assert (config.task, config.epochs, config.hidden) == ("adding", None, 7)
    with pytest.raises(ConfigurationError, match="--epochs has no effect with --task adding"):
        TrainConfig(**settings_of("minute", {}, ADDING | {"epochs": 5}))


def test_constants_of_another_rule_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('optimizer = "rmsprop"\nrmsprop_decay = 0.9\nmomentum = 0.5\n', encoding="utf-8")
    assert TrainConfig(**settings_of("book", read_settings(file, FIELDS), {"optimizer": "sgd"})).momentum == 0.5
    assert TrainConfig(**settings_of("book", read_settings(file, FIELDS), {"optimizer": "adam"})).rmsprop_decay == 0.95


@pytest.mark.parametrize(
    ("content", "said"),
    [("hidden 5", "TOML"), ("[model]\nhidden = 5", "flat"), ("hiden = 5", "hiden"), (None, "no file")],
)
def test_a_file_that_is_no_table_of_settings_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=said):
        settings_of("book", read_settings(file, FIELDS), {})


def test_a_pipe_of_settings_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.toml")
    with pytest.raises(ConfigurationError, match="no regular file"):
        read_settings(tmp_path / "mine.toml", FIELDS)


def test_the_command_trains_what_its_options_say_and_else_its_recipe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[TrainConfig] = []

    class Trained:
        stopped = None

    monkeypatch.setattr("jaxrnn.training.run_devices.prepare_devices", lambda config, run, hosts: None)

    def train(config: TrainConfig, run: Any, corpus: Any, init_from: Any) -> type[Trained]:
        seen.append(config)
        return Trained

    monkeypatch.setattr("jaxrnn.training.start.train", train)
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("ab " * 2000, encoding="utf-8")
    minute = PRESETS["minute"].settings
    for arguments, expected in [
        (["book.txt"], {"text": "book.txt", **minute}),
        (["book.txt", "--hidden", "5"], {"text": "book.txt", **minute, "hidden": 5}),
        (["book.txt", "--preset", "book"], {"text": "book.txt"}),
        (["book.txt", "book.txt"], {"text": ("book.txt", "book.txt"), **minute}),
        (["--task", "adding", "--sequence-length", "9"], {"task": "adding", "sequence_length": 9}),
        (["book.txt", "--optimizer", "sgd"], {"text": "book.txt", **minute, "optimizer": "sgd", "learning_rate": 0.1}),
    ]:
        assert exit_code_of(app, ["train", *arguments]) == 0
        assert seen[-1] == TrainConfig(**expected), arguments


def test_a_small_text_lowers_what_nobody_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:  # what cannot be trained is refused by then
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxrnn.training.trainer.Trainer.begin", stop)
    text = tmp_path / "small.txt"
    text.write_text("abcd " * 60, encoding="utf-8")  # 300 characters: 285 to train on and 15 to validate
    lowered, note = fit_to_text(TrainConfig(**PRESETS["minute"].settings).to_json(), 300, ())
    assert (lowered["batch_size"], lowered["bptt_length"]) == (4, 14)
    assert "--batch-size 4, not 32" in note and "--bptt-length 14, not 64" in note
    assert exit_code_of(app, ["train", str(text), "--run", str(tmp_path / "run"), "--hidden", "3"]) == 130
    assert "--batch-size 4, not 32" in capsys.readouterr().out
    assert exit_code_of(app, ["train", str(text), "--batch-size", "32", "--bptt-length", "64"]) == 2
    assert "in each of 32 streams" in capsys.readouterr().err


def test_names_of_other_programs_get_ours(capsys: pytest.CaptureFixture) -> None:
    for option, said in (("--lr", "--learning-rate"), ("--dropout", "--dropout-between"), ("--cell", "lstm?")):
        assert exit_code_of(app, ["train", option, "LSTM" if option == "--cell" else "0.1"]) == 2
        err = capsys.readouterr().err
        assert said in err and "did you mean" in err and err.count("\n") == 1
    for arguments, said in {
        "train x --units 5": "did you mean --hidden?",
        "train x --output y": "did you mean --run?",  # what `sample` has
        "train x --precision bfloat16": "did you mean bf16?",
        "train x --epoch=5": "there is no --epoch; did you mean --epochs?",
        "sample x --temp 0.5": "did you mean --temperature?",
        "sample x --top 5": "did you mean --top-k or --top-p?",
        "trian x": "there is no command trian; did you mean train? see jaxrnn --help",
    }.items():
        assert exit_code_of(app, arguments.split()) == 2
        assert said in capsys.readouterr().err, arguments
    for arguments in ("train x --gpu", "sample x --lr 1"):
        assert exit_code_of(app, arguments.split()) == 2
        assert "did you mean" not in capsys.readouterr().err
    for value in ("bfloat16", "float16"):  # near to a name, and something else
        assert exit_code_of(app, ["train", "--dtype", value]) == 2
        remedy = f"float32, float64; got '{value}'; products in bfloat16: --precision bf16\n"
        assert capsys.readouterr().err.endswith(remedy)
    assert exit_code_of(app, ["presets"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in [*PRESETS, "the defaults of `TrainConfig`"])
