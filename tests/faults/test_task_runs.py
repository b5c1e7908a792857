"""Runs of generated sequences: interrupted and resumed to the last bit, refused, plotted, never asked to write."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxrnn.cli import app
from jaxrnn.config import TrainConfig
from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.checkpoint import checkpoint_updates
from jaxrnn.storage.run_directory import default_run_path
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.trained.run import open_run
from jaxrnn.training.loop import Loop

from .support import Answer, assert_refused, command, expected_rows, leaves_of

OPTIONS: dict[str, object] = {
    "task": "palindromes",
    "sequence_length": 4,
    "hidden": 8,
    "batch_size": 4,
    "optimizer": "adam",
    "learning_rate": 0.02,
    "init_scale": 0.3,
    "dropout_output": 0.1,
    "updates": 120,
    "validation_every": 40,
    "log_every": 10,
    "checkpoint_every": 60,
    "seed": 3,
    "devices": 1,
}


def options(run: Path, **changed: object) -> list[str]:
    given = OPTIONS | changed | {"run": run}
    return [part for name, value in given.items() for part in ("--" + name.replace("_", "-"), str(value))]


def rows_of(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "sequences_per_second"} for line in lines]


def assert_same_run(actual: Path, expected: Path) -> None:
    """The whole saved state, bit for bit, and the rows."""
    states = [leaves_of(run)[1] for run in (actual, expected)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[1].items():
        assert states[0][name].tobytes() == value.tobytes(), name
    assert rows_of(actual) == rows_of(expected)


def interrupted_run(run: Path, at: int, **changed: object) -> None:
    before = Loop._save

    def save(self: Any, final: bool = False) -> None:
        before(self, final)
        if self.updates[0] == at:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_save", save)
        assert exit_code_of(app, ["train", *options(run, **changed)]) == 75
    assert checkpoint_updates(run / "checkpoints")[-1] == at


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    assert exit_code_of(app, ["train", *options(run)]) == 0
    return run


@pytest.mark.parametrize("devices", [1, 2])
def test_interrupted_and_resumed_equals_never_stopped(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], devices: int
) -> None:
    expected = finished
    if devices == 2:
        expected = tmp_path / "whole"
        assert command(capsys, "train", *options(expected, devices=2)).code == 0
    run = tmp_path / "run"
    interrupted_run(run, 60, devices=devices)  # between two validations
    answer = command(capsys, "resume", run)
    assert answer.code == 0 and "resumed at update 60" in answer.out, answer
    assert_same_run(run, expected)
    assert [row["update"] for row in rows_of(run)] == expected_rows(120, 10)


def test_the_rows_say_what_was_measured(finished: Path) -> None:
    rows = rows_of(finished)
    names = {"loss_nats", "mean_loss_nats", "smooth_loss_nats", "accuracy", "recent_accuracy"}
    assert set(rows[0]) == {
        "update",
        *(f"train/{n}" for n in names),
        "valid/loss_nats",
        "valid/update",
        "valid/accuracy",
    }
    assert {row["update"]: row["valid/update"] for row in rows} == {
        update: update if update % 40 == 0 else None for update in expected_rows(120, 10)
    }
    assert rows[0]["valid/accuracy"] is None and 0 < rows[-1]["valid/accuracy"] <= 1
    assert not (finished / "samples.txt").exists() and not (finished / "vocabulary.json").exists()


def test_a_solved_run_stops_and_stays_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    changed: dict[str, object] = {"stop_at_accuracy": 0.05, "checkpoint_every": "100s"}
    answer = command(capsys, "train", *options(run, **changed))
    assert answer.code == 0 and "solved: the mean accuracy" in answer.out, answer
    assert rows_of(run)[-1]["train/recent_accuracy"] >= 0.05
    update = checkpoint_updates(run / "checkpoints")[-1]
    assert 100 <= update < 120 and rows_of(run)[-1]["update"] == update
    shutil.copytree(run, other)
    assert command(capsys, "train", *options(run, **changed)).code == 0
    assert_same_run(run, other)


def test_other_settings_are_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for changed, said in (
        ({"sequence_length": 5}, "--sequence-length"),
        ({"validation_every": 30}, "--validation-every"),
    ):
        answer = command(capsys, "train", *options(finished, **changed))
        assert_refused(answer, 2, "a run with other settings (1 differ)", said)


def test_it_neither_writes_nor_scores_a_text(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Answer] = [
        command(capsys, "sample", finished),
        command(capsys, "evaluate", finished, "python-reference"),
    ]
    for answer in answers:
        assert_refused(answer, 2, "was trained on palindromes, 4 steps, input number, not on a text")
        assert len(answer.err.splitlines()) == 1 and answer.out == ""
    with pytest.raises(ConfigurationError, match="not on a text"):
        _ = open_run(finished).reading
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    record = json.loads((run / "config.json").read_text())
    record["data"]["name"] = "a\x1b[2J\u202e\u009b\nb"
    (run / "config.json").write_text(json.dumps(record))
    assert_refused(command(capsys, "sample", run), 2, "trained on a\\x1b[2J\\u202e\\x9b\\nb,")


def test_its_curves_are_drawn(finished: Path, tmp_path: Path) -> None:
    run = open_run(finished)
    figure = run.plot()
    loss, accuracy = figure.axes
    assert accuracy.get_ylabel() == "accuracy" and loss.get_ylabel() == "loss (nats)"
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in accuracy.lines}
    np.testing.assert_array_equal(drawn["mean of the latest 100"], run.metrics["train/recent_accuracy"])
    assert len(drawn["validation"]) >= 2
    assert run.save_plot(str(tmp_path / "curve.png")).stat().st_size > 10_000
    model = run.model()
    assert model.answers == 1 and "vanilla 8 x 1" in repr(run)


def test_a_run_without_a_name_is_named_by_its_task_as_the_help_says(capsys: Any, wide_terminal: None) -> None:
    config = TrainConfig(task="xor", sequence_length=20, cell="lstm", hidden=16)
    assert default_run_path(config) == Path("runs/xor-20-lstm-16")
    assert default_run_path(TrainConfig(text="a/b.txt")) == Path("runs/b-vanilla-100")
    begun = TrainConfig(text="b.txt", layers=2)
    assert default_run_path(begun, Path("runs/a")) == Path("runs/b-vanilla-100x2-from-a")
    told = " ".join(command(capsys, "train", "--help").out.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
    assert "runs/TEXT-CELL-HIDDEN (a task: TASK-LENGTH for TEXT), then xLAYERS above 1 and -from-SOURCE" in told
