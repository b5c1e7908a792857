"""--profile: a trace of the asked updates, and a refusal where none can be made."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxrnn.training import trace
from jaxrnn.training.loop import Loop
from jaxrnn.training.trainer import Trainer
from tests.faults.support import assert_refused, assert_same_run, command, tiny_options, tiny_text


@pytest.mark.slow  # four runs
def test_a_trace_is_written_and_changes_nothing(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "text.txt").write_text(tiny_text(40))

    def train(run: str, updates: int, *options: object) -> Any:
        small = tiny_options(tmp_path / run, updates=updates, sample_every=0, validation_fraction=0)
        return command(capsys, "train", tmp_path / "text.txt", *small, *options)

    assert train("plain", 12).code == 0
    refused = train("traced", 8, "--profile", 8)
    assert_refused(refused, 2, "--profile 8 traces updates 2 to 9, the run ends at 8")
    told = train("traced", 8, "--profile", 3)
    assert told.code == 0 and "trace of updates 2 to 4: open " in told.out and "ui.perfetto.dev" in told.out
    (file,) = (tmp_path / "traced" / "profile").rglob("perfetto_trace.json.gz")
    assert str(file) in told.out
    calls = [event for event in json.loads(gzip.decompress(file.read_bytes()))["traceEvents"] if "name" in event]
    assert sum("train_chunk" in event["name"] for event in calls) > 0
    resumed = command(capsys, "resume", tmp_path / "traced", "--updates", 12)  # the wish of then is not repeated
    assert resumed.code == 0 and "trace of" not in resumed.out
    assert_same_run(tmp_path / "traced", tmp_path / "plain")


def test_more_updates_than_there_are_are_refused_before_anything_is_made(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "text.txt").write_text(tiny_text(40))
    small = tiny_options(tmp_path / "run", updates=8, sample_every=0, validation_fraction=0)
    answer = command(capsys, "train", tmp_path / "text.txt", *small, "--profile", 8)
    assert_refused(answer, 2, "--profile 8 traces updates 2 to 9, the run ends at 8")
    assert answer.out == "" and not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    (tmp_path / "text.txt").write_text(tiny_text(40))
    monkeypatch.setattr(Trainer, "begin", lambda self, states: self.hold(states))  # refused without a program
    monkeypatch.setattr(Trainer, "updates", np.zeros(1, int))
    monkeypatch.setattr(Loop, "_note_ends", lambda self, members: None)
    options = [*tiny_options(tmp_path / "run", updates=8, validation_fraction=0.1), "--profile", 3]

    def full(path: Path) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trace, "open_new", full)
    assert_refused(command(capsys, "train", tmp_path / "text.txt", *options), 6, "No space left", "--profile")
    (tmp_path / "run" / "profile").rmdir()
    (tmp_path / "run" / "profile").symlink_to(tmp_path)
    assert_refused(command(capsys, "train", tmp_path / "text.txt", *options), 4, "profile")
