"""`--validation-text`: another text decides, is known again, and is refused where it is another one."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.tasks.presets import settings_of
from jaxrnn.tasks.text import Text
from jaxrnn.trained.run import open_run
from jaxrnn.training.member_runs import train_members

from .support import assert_refused, assert_same_run, command, rows_of, tiny_options, tiny_text

OPTIONS = {"validation_fraction": 0, "validation_every": 20, "checkpoint_every": 20, "sample_every": 0}


@pytest.fixture
def texts(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with what is trained on and what is validated on."""
    (tmp_path / "texts").mkdir()
    shutil.copy(text, tmp_path / "texts" / "train.txt")
    (tmp_path / "texts" / "other.txt").write_text(tiny_text(words=30, seed=2))
    monkeypatch.chdir(tmp_path / "texts")
    return tmp_path / "texts"


@pytest.fixture
def run(once: Callable[..., Path], texts: Path, tmp_path: Path, capsys: Any) -> Path:
    """A copy of a run of 40 updates whose texts lie in `texts`."""

    def make(run: Path) -> None:
        options = tiny_options(run, **OPTIONS, updates=40)
        assert command(capsys, "train", "train.txt", "--validation-text", "other.txt", *options).code == 0

    made = Path(shutil.copytree(once("validated", make), tmp_path / "run"))
    record = json.loads((made / "config.json").read_text())
    record["data"]["path"], record["validation"]["path"] = str(texts / "train.txt"), str(texts / "other.txt")
    (made / "config.json").write_text(json.dumps(record))
    return made


def test_the_best_parameters_are_those_that_do_best_on_the_other_text(run: Path) -> None:
    opened, rows = open_run(run), rows_of(run)
    scored = {row["update"]: row["valid/loss_nats"] for row in rows if row["valid/loss_nats"] is not None}
    assert list(scored) == [20, 40] and scored[40] < scored[20]
    alone = opened.evaluate("other.txt", "best")["loss_nats"]  # in one stream
    assert scored[40] == pytest.approx(alone, rel=1e-3)
    assert (opened.record["validation"]["characters"], opened.record["data"]["validation_characters"]) == (133, 0)


def test_it_goes_on_from_another_folder_and_in_the_same_bits(
    run: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    whole = tiny_options(tmp_path / "whole", **OPTIONS, updates=60)
    assert command(capsys, "train", "train.txt", "--validation-text", "other.txt", *whole).code == 0
    monkeypatch.chdir(tmp_path)
    assert command(capsys, "resume", run, "--updates", 60).code == 0
    assert_same_run(run, tmp_path / "whole")


def test_another_text_in_its_place_is_refused(run: Path, texts: Path, capsys: Any) -> None:
    other, resume = texts / "other.txt", ("resume", run, "--updates", 60)
    again = ("train", "train.txt", "--validation-text", "other.txt", *tiny_options(run, **OPTIONS, updates=60))
    content = other.read_text()
    for changed in (content + "a", content[:1], "~" + content):
        other.write_text(changed)
        said = f"other.txt is not the text this run was validated on: {len(changed)} characters, then 133, and"
        assert_refused(command(capsys, *resume), 4, said, "give that back")
        assert_refused(command(capsys, *again), 4, said)
    other.unlink()
    assert_refused(command(capsys, *resume), 3, "--validation-text: expected a text file, got no file")
    other.write_text(content)
    assert_refused(command(capsys, "train", "train.txt", *again[4:]), 2, "other settings", "--validation-text")
    record = json.loads((run / "config.json").read_text())
    for damaged in (5, {"sha256": "0"}, {"path": 5, "sha256": "0", "characters": 9}):
        (run / "config.json").write_text(json.dumps(record | {"validation": damaged}))
        assert_refused(command(capsys, *resume), 4, "validation is ", "restore it from a copy")
    del record["validation"]
    (run / "config.json").write_text(json.dumps(record))
    assert_refused(command(capsys, *resume), 4, "not the text this run was validated on")


BAD: list[tuple[str, str]] = [
    ("the cat~", "--validation-text other.txt: expected only the 20 characters of the vocabulary, got '~'"),
    ("t", "--validation-text other.txt expects at least 2 characters to score, it has 1"),
    ("", "--validation-text: "),
]


@pytest.mark.parametrize(("content", "said"), BAD)
def test_what_cannot_be_scored_is_refused_before_anything_is_made(
    content: str, said: str, texts: Path, tmp_path: Path, capsys: Any
) -> None:
    (texts / "other.txt").write_text(content)
    options = tiny_options(tmp_path / "new", **OPTIONS, updates=40)
    assert_refused(command(capsys, "train", "train.txt", "--validation-text", "other.txt", *options), 3, said)
    assert not (tmp_path / "new").exists()


def test_a_sweep_is_refused_before_its_directory_is_made(texts: Path, capsys: Any) -> None:
    content = '[base]\npreset = "book"\ntext = "train.txt"\nvalidation_text = "none.txt"\n[grid]\nseed = [1, 2]\n'
    Path("sweep.toml").write_text(content)
    assert_refused(command(capsys, "sweep", "sweep.toml", "--run", "sweep"), 3, "--validation-text: ", "none.txt")
    assert not Path("sweep").exists()


def test_one_given_for_a_recipe_takes_the_place_of_its_share() -> None:
    settings = settings_of("minute", {}, {"validation_text": "other.txt"})
    assert TrainConfig(**settings).validates and "validation_fraction" not in settings
    assert "validation_text" not in settings_of(None, settings, {"validation_fraction": 0.1})


def test_members_share_it_and_an_export_names_no_path(run: Path, texts: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(open_run(run).config, text=str(texts / "train.txt"), updates=20, checkpoint_every="99")
    configs = [dataclasses.replace(config, validation_text=str(texts / "other.txt"), seed=seed) for seed in (3, 4)]
    read, before = list[Text](), Text.score

    def score(self: Text, *given: Any) -> Any:
        read.append(self)
        return before(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "score", score)
        results = train_members(configs, [tmp_path / "0", tmp_path / "1"], tmp_path / "rounds.json")
    assert results is not None and len({id(text) for text in read}) == 1
    alone = {row["update"]: row["valid/loss_nats"] for row in rows_of(run)}
    assert results[0].valid_loss == pytest.approx(alone[20], rel=1e-6)
    exported = open_run(run).export(tmp_path / "model.safetensors")
    assert b"other.txt" in exported.read_bytes() and str(texts).encode() not in exported.read_bytes()
