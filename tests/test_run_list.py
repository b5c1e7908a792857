"""`jaxrnn runs`: every run below a directory is a row, however it stands and whoever made it; two runs side by side."""

from __future__ import annotations

import json
import math
import os
import platform
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxrnn.cli import app
from jaxrnn.config import TrainConfig
from jaxrnn.inspect.plots import learning_curves
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.storage.run_list import Listed, StoredRun, _stops_early, list_runs, read_run, table_of_runs
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.training.early_stopping import initial_early_stopping, observe, should_stop

pytestmark = pytest.mark.usefixtures("wide_terminal")

VERSIONS = {"versions": {"jax": "0.10.2"}}


def make(path: Path, rows: Any = ((4, 2.0, None), (8, 1.5, None)), data: Any = None, **settings: Any) -> Path:
    """A run of a text with an epoch of 4 updates, of which (update, training loss, validation loss) were logged."""
    (path / "checkpoints").mkdir(parents=True)
    sequences = {"name": "xor-3", "sha256": "ab"}
    text = {"name": "book.txt", "sha256": "cd", "characters": 9, "windows_per_epoch": 4, "path": None, "distinct": 3}
    reading = {"reading": TrainConfig(encoding="utf-8").reading_options().to_json(), "document_end": None}  # type: ignore[union-attr]
    known = sequences if settings.get("task", "text") != "text" else text | reading
    config = TrainConfig(**settings).to_json()
    record = {"config": config, "data": known | (data or {}), "environment": VERSIONS, "parameters": 7}
    RunDirectory(path).write_config(record)
    lines = [
        {"update": update, "train/loss_nats": loss, "train/mean_loss_nats": loss, "valid/loss_nats": valid}
        | ({} if valid is None else {"valid/update": update})
        for update, loss, valid in rows
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def owned(path: Path, pid: int, host: str, started: float) -> Path:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started))
    (path / "owner.json").write_text(json.dumps({"pid": pid, "host": host, "started": when}))
    return path


def checkpoint(path: Path, update: int, ends: Any) -> Path:
    directory = path / "checkpoints" / f"update_{update:010d}"
    directory.mkdir()
    (directory / "_CHECKPOINT_METADATA").write_text(json.dumps({"custom_metadata": {"last_row": [ends, None]}}))
    return path


def only(path: Path) -> Listed:
    (listed,) = list_runs(path)
    return listed


def test_each_state_is_told_by_the_files(tmp_path: Path) -> None:
    here, validated = platform.node(), [(4, 2.0, 1.0), (8, 2.0, 1.2), (12, 2.0, 1.1)]
    runs = {
        "finished": make(tmp_path / "a", updates=8),
        "finished by epochs": make(tmp_path / "b", epochs=2),
        "stopped": make(tmp_path / "c", epochs=3),
        "stopped, the default": make(tmp_path / "d"),
        "stopped early": make(
            tmp_path / "e", validated, epochs=9, early_stopping="patience", patience=2, validation_fraction=0.1
        ),
        "running": owned(make(tmp_path / "f"), os.getpid(), here, time.time()),
        "killed": owned(make(tmp_path / "g"), 2**22 + 1, here, time.time()),
        "killed, its number is another's": owned(make(tmp_path / "h"), os.getpid(), here, 1000.0),
        "elsewhere": owned(make(tmp_path / "i"), os.getpid(), here + "2", time.time()),
        "finished, as only the checkpoint tells": checkpoint(make(tmp_path / "j"), 8, {"update": 8}),
        "stopped, beyond the log": checkpoint(make(tmp_path / "k"), 9, None),
        "stopped, nothing logged": make(tmp_path / "l", []),
        "diverged": make(tmp_path / "sweep" / "members" / "m", updates=8),
    }
    (tmp_path / "sweep" / "results.jsonl").write_text('{"member": "m", "end": "diverged"}\n{"member": "n"}\n')
    solved = make(tmp_path / "n", [], task="xor", sequence_length=3, stop_at_accuracy=0.9, updates=9)
    row = {"update": 3, "train/loss_nats": 0.1, "train/mean_loss_nats": 0.1, "train/recent_accuracy": 0.95}
    (solved / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    found = {run.run: run for run in list_runs(tmp_path)}
    for state, path in (*runs.items(), ("solved", solved)):
        assert found[path.relative_to(tmp_path).as_posix()].state == state.split(",")[0].split(" by")[0], state
    assert (found["k"].update, found["l"].update, found["l"].updates) == (9, 0, 500_000)
    assert found["b"].updates == 8 and found["n"].data == "xor-3"


def test_the_loss_is_the_lowest_validation_or_the_latest_training_loss(tmp_path: Path) -> None:
    rows = [(4, 3.0, 2.5), (8, 2.0, 1.25), (12, 1.0, math.nan), (16, 0.5, 1.5)]
    validated, plain = make(tmp_path / "v", rows, validation_fraction=0.1), make(tmp_path / "p")
    assert (only(validated).loss, only(validated).loss_of, only(validated).unit) == (1.25, "validation", "nats")
    assert (only(plain).loss, only(plain).loss_of) == (1.5, "training")
    told = table_of_runs(list_runs(tmp_path))
    assert "1.2500 nats valid" in told and "1.5000 nats train" in told


@pytest.mark.parametrize("rule", ["patience", "relative-decrease"])
def test_stopped_early_is_what_the_rule_of_training_says(rule: str) -> None:
    draw, config, answers = random.Random(5), TrainConfig(validation_fraction=0.1, early_stopping=rule, patience=3), []
    for number in range(12):
        state, losses = initial_early_stopping(), list[float]()
        for _ in range(13):
            losses.append(draw.choice([math.nan, math.inf]) if draw.random() < 0.2 else 1 - draw.random() * number / 99)
            state = observe(state, losses[-1])
            answers.append(_stops_early(config, losses))
            assert answers[-1] == bool(should_stop(state, rule, 3)), losses
    assert {True, False} == set(answers)


def test_the_newest_comes_first_and_a_damaged_run_is_a_row_that_says_so(tmp_path: Path, capsys: Any) -> None:
    names = ["whole", "json", "lost", "rows", "later", "linked", "piped", "parts", "numbers"]
    for age, name in enumerate(names):
        make(tmp_path / name)
        for changed in ("config.json", "metrics.jsonl", "checkpoints"):
            os.utime(tmp_path / name / changed, (10**9 - age, 10**9 - age))

    def spoil(name: str, file: str, text: str) -> None:
        (tmp_path / name / file).write_text(text)
        os.utime(tmp_path / name / file, (10**9 - names.index(name),) * 2)

    record = json.loads((tmp_path / "whole" / "config.json").read_text())
    spoil("json", "config.json", "{")
    (tmp_path / "lost" / "config.json").unlink()
    spoil("rows", "metrics.jsonl", '{"update": "\\u001b[2J"}\n')
    spoil("later", "config.json", json.dumps(record | {"config": record["config"] | {"of_tomorrow": 1}}))
    (tmp_path / "linked" / "metrics.jsonl").unlink()
    (tmp_path / "linked" / "metrics.jsonl").symlink_to("/etc/passwd")
    (tmp_path / "piped" / "metrics.jsonl").unlink()
    os.mkfifo(tmp_path / "piped" / "metrics.jsonl")
    spoil("parts", "config.json", json.dumps(record | {"parts": 3}))
    spoil("numbers", "metrics.jsonl", '{"update": 1' + "0" * 400 + "}\n")
    (tmp_path / "round").symlink_to(tmp_path)
    listed = [run for run in list_runs(tmp_path) if run.run not in ("linked", "piped")]  # whose link and pipe are new
    assert [run.run for run in listed] == [name for name in names if name not in ("linked", "piped")]
    assert exit_code_of(app, ["runs", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and shown.out.count("broken") == 8 and "\x1b" not in shown.out
    reasons = ["json: ", "lost: config.json is missing", "rows: line 1 of", "of_tomorrow", "is a link", "name no model"]
    assert all(reason in shown.out for reason in reasons)


def test_names_that_a_terminal_would_obey_are_escaped(tmp_path: Path, capsys: Any) -> None:
    first = make(tmp_path / "a\x1b[2J[bold]b", data={"name": "\u202ebook$x^2$"})
    second = make(tmp_path / "_[/red]", hidden=3)
    picture = tmp_path / "both.png"
    for arguments in (["runs", str(tmp_path)], ["runs", "compare", str(first), str(second), "--output", str(picture)]):
        assert exit_code_of(app, arguments) == 0
        out = capsys.readouterr().out
        assert "a\\x1b[2J[bold]b" in out and "_[/red]" in out
        assert all(character.isprintable() or character == "\n" for character in out)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_list_for_programs(tmp_path: Path, capsys: Any) -> None:
    make(tmp_path / "group" / "inner", [(4, math.inf, None)], cell="gru", layers=2, updates=4)
    assert exit_code_of(app, ["runs", str(tmp_path / "group"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert abs(time.time() - time.mktime(time.strptime(row.pop("changed"), "%Y-%m-%dT%H:%M:%S+00:00"))) < 86_400
    numbers = {"update": 4, "updates": 4, "loss": "inf", "loss_of": "training", "unit": "nats", "fault": None}
    assert row == {"run": "inner", "state": "finished", "data": "book.txt", "model": "gru 100x2"} | numbers
    (tmp_path / "none").mkdir()
    assert exit_code_of(app, ["runs", str(tmp_path / "none"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert exit_code_of(app, ["runs", str(tmp_path / "nowhere")]) == 2
    assert "is not a directory" in capsys.readouterr().err


def test_a_terminal_of_80_columns_is_enough(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "tinyshakespeare-lstm-layer-norm-100", data={"name": "tinyshakespeare"}, cell="lstm-layer-norm")
    monkeypatch.setenv("COLUMNS", "80")
    exit_code_of(app, ["runs", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2 and max(map(len, lines)) <= 80
    monkeypatch.delenv("COLUMNS")
    exit_code_of(app, ["runs", str(tmp_path)])
    assert len(capsys.readouterr().out.splitlines()) == 2  # a line a run, for programs that read it


def test_a_comparison_names_what_differs_and_what_came_of_it(tmp_path: Path, capsys: Any) -> None:
    first = make(tmp_path / "a", [(4, 3.0, 2.5), (8, 2.0, 1.25)], validation_fraction=0.1, epochs=2)
    second = make(tmp_path / "deep" / "b", [(4, 1.0, None)], hidden=7, seed=3, data={"sha256": "ef"})
    (first / "test.json").write_text('{"loss_nats": 1.75}')
    assert exit_code_of(app, ["runs", "compare", str(first), str(second)]) == 0
    settings, results = capsys.readouterr().out.split("\n\n")
    told = {line.split("  ")[0]: line.split("  ")[1:] for line in (settings + "\n" + results).splitlines()}
    cells = {name: [cell.strip() for cell in of if cell.strip()] for name, of in told.items()}
    assert cells["setting"] == cells["result"] == ["a", "deep/b"]
    assert cells["hidden"] == ["100", "7"] and cells["seed"] == ["0", "3"] and cells["epochs"] == ["2", "not given"]
    assert cells["data, SHA-256"] == ["cd", "ef"] and "cell" not in cells
    assert cells["training loss, latest row"] == ["2.0000 nats", "1.0000 nats"]
    assert cells["lowest validation loss"] == ["1.2500 nats"] and cells["its update"] == ["8"]
    assert cells["test loss"] == ["1.7500 nats"] and cells["updates"] == ["8/8", "4/500,000"]
    assert exit_code_of(app, ["runs", "compare", str(first), str(first)]) == 0
    assert capsys.readouterr().out.startswith("the settings are the same\n")


def test_a_picture_that_cannot_be_is_one_line(tmp_path: Path, capsys: Any) -> None:
    first, empty = make(tmp_path / "a"), make(tmp_path / "b", [])
    squared = make(tmp_path / "c", [])
    (squared / "metrics.jsonl").write_text('{"update": 1, "train/squared_error": 1.0}\n')
    for other, name, said in (
        (first, "x.gif", "ends in .pdf"),
        (empty, "x.png", "no row in metrics.jsonl"),
        (squared, "x.png", "losses of one kind"),
        (tmp_path, "x.png", "holds no run"),
    ):
        assert exit_code_of(app, ["runs", "compare", str(first), str(other), "--output", str(tmp_path / name)]) == 2
        shown = capsys.readouterr()
        assert said in shown.err and shown.err.count("\n") == 1 and shown.out == ""
    assert not list(tmp_path.glob("x.*"))


def test_curves_differ_in_colour_line_and_mark_and_name_their_runs() -> None:
    columns = {"update": np.array([1, 2]), "train/mean_loss_nats": np.array([3.0, 2.0])}
    validated = columns | {"valid/loss_nats": np.array([math.nan, 2.5]), "valid/update": np.array([math.nan, 2])}
    axes = learning_curves({"_one": validated, "two": validated}, "loss_nats", True, "title").axes[0]
    lines = axes.get_lines()
    assert [line.get_label() for line in lines] == [f"{kind}, {n}" for n in ("_one", "two") for kind in KINDS]
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(looks) == 2 and len({look[0] for look in looks}) == len({look[1] for look in looks}) == 2
    assert lines[1].get_marker() != lines[3].get_marker() and lines[1].get_xydata().tolist() == [[2, 2.5]]  # type: ignore[union-attr]
    assert axes.get_ylabel() == "loss (nats per character)" and axes.get_xlabel() == "update"
    legend = axes.get_legend()
    assert legend is not None and len(legend.get_texts()) == 4


KINDS = ("training", "validation")


def test_listing_and_comparing_load_no_jax(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a"), make(tmp_path / "b", seed=1)
    code = (
        "import sys; from jaxrnn.cli import app; from jaxrnn.terminal.command import exit_code_of\n"
        "codes = [exit_code_of(app, a.split(';')) for a in sys.argv[1:]]\n"
        "sys.exit(7 if 'jax' in sys.modules or any(codes) else 8)"
    )
    arguments = [f"runs;{tmp_path}", f"runs;compare;{first};{second}", "completion;bash"]
    assert subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True).returncode == 8


def test_a_cell_of_the_users_own_is_named_and_not_imported(tmp_path: Path, capsys: Any) -> None:
    first, second = make(tmp_path / "a", hidden=5), make(tmp_path / "b", hidden=5)
    record = json.loads((first / "config.json").read_text())
    record["config"] |= {"cell": "no_such_module:Cell", "forget_bias": 2.0}
    (first / "config.json").write_text(json.dumps(record))
    assert {run.model: run.state for run in list_runs(tmp_path)} == {
        "no_such_module:Cell 5": "stopped",
        "vanilla 5": "stopped",
    }
    assert exit_code_of(app, ["runs", "compare", str(first), str(second)]) == 0
    assert "no_such_module:Cell 5" in capsys.readouterr().out


def test_a_run_alone_is_a_list_of_itself(tmp_path: Path) -> None:
    assert only(make(tmp_path / "mine")).run == "mine" and read_run(tmp_path / "mine").rows[-1]["update"] == 8


def test_a_run_that_cannot_be_read_at_all_keeps_no_other_from_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        make(tmp_path / name)

    def refuses(path: Path) -> StoredRun:
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return read_run(path)

    monkeypatch.setattr("jaxrnn.storage.run_list.read_run", refuses)
    told = {run.run: (run.state, run.fault) for run in list_runs(tmp_path)}
    assert told == {"a": ("broken", "it cannot be read: PermissionError"), "b": ("stopped", None)}
