"""`jaxrnn sweep`: a TOML file is a list of settings, each trained once in one directory; and the shell's completion."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jaxrnn.cli import app
from jaxrnn.config import TrainConfig
from jaxrnn.devices.environment import DETERMINISTIC
from jaxrnn.errors import ConfigurationError, NumericError
from jaxrnn.tasks import sequences
from jaxrnn.tasks.presets import settings_of
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.trained.run import open_run
from jaxrnn.training import sweeps
from jaxrnn.training.member_runs import MemberResult
from jaxrnn.training.sweep_file import read_sweep, sweep_path
from jaxrnn.training.sweeps import Sweep

pytestmark = pytest.mark.usefixtures("wide_terminal")

FIXTURES = Path(__file__).parent.parent / "fixtures"
XOR = """
[base]
task = "xor"
sequence_length = 3
hidden = 3
batch_size = 2
updates = 4
log_every = 2
validation_every = 2
[grid]
learning_rate = [0.1, 0.3]
"""


def written(folder: Path, text: str, name: str = "grid.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_every_combination_is_a_run_with_the_settings_that_options_would_make(tmp_path: Path) -> None:
    text = """
    [base]
    preset = "minute"
    text = "book.txt"
    updates = 100
    forget_bias = 2.0
    [grid]
    cell = ["gru", "lstm"]
    optimizer = ["adam", "sgd"]
    seed = [0, 1, 2]
    """
    base = {"text": "book.txt", "updates": 100}
    wanted = [
        TrainConfig(**settings_of("minute", {}, base | {"cell": cell, "optimizer": rule, "seed": seed} | bias))
        for (cell, bias), rule, seed in itertools.product(
            (("gru", {}), ("lstm", {"forget_bias": 2.0})), ("adam", "sgd"), range(3)
        )
    ]
    assert read_sweep(written(tmp_path, text)) == wanted
    assert wanted[0].epochs is None and wanted[0].hidden == 128  # the preset's epochs are dropped, its size is not


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "many_runs.md"
    configs = read_sweep(written(tmp_path, page.read_text("utf-8").split("```toml\n")[1].split("```")[0]))
    assert len(configs) == 8 and {(config.cell, config.epochs) for config in configs} == {("gru", 5)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "FILE expects a TOML file"),
        ("", "expects a table [grid] with at least one line"),
        ("[grid]", "expects a table [grid] with at least one line"),
        ("seed = 1\n[grid]\nseed = [1]", "expects the tables [base] and [grid] only, got seed"),
        ("grid = 3", "expects the tables [base] and [grid] only, got grid"),
        ("[grid]\nhidden = 3", "[grid], hidden expects a list of values such as [1, 2]; got 3"),
        ("[grid]\nhidden = []", "[grid], hidden expects a list of values such as [1, 2]; got []"),
        ('[grid]\ncell = [["gru"]]', "[grid], cell expects a list of values"),
        ("[grid]\nhiden = [3]", "[grid] has a setting that there is not, hiden; did you mean hidden?"),
        ("[base]\nhiden = 3\n[grid]\nseed = [1]", "[base] has a setting that there is not, hiden"),
        ('[grid]\npreset = ["book"]', "preset; it goes to [base]"),
        ('[grid]\n"a\\u001b[2J" = [1]', "not, a\\x1b[2J;"),
        ("[base]\nhidden = [3]\n[grid]\nseed = [1]", "[base], hidden expects one value, lists go to [grid]; got [3]"),
        ('[base]\npreset = "minutes"\n[grid]\nseed = [1]', "preset expects one of book, minute"),
        ('[grid]\nhidden = [2, "a"]', "at hidden = 'a': --hidden expects a whole number from 1"),
        ("[grid]\nencoding = [5]", "[grid], encoding expects text in quotation marks; got 5"),
        ("[base]\ntext = 5\n[grid]\nseed = [1]", "[base], text expects text in quotation marks; got 5"),
        ("[grid]\nlearning_rate = [nan]", "--learning-rate expects a finite number"),
        ("[grid]\nseed = [" + "1, " * 200 + "]\nhidden = [" + "1, " * 200 + "]", "makes 40,000 runs, at most 10,000"),
    ],
)
def test_a_fault_of_the_file_is_one_line_and_makes_nothing(tmp_path: Path, capsys: Any, text: str, said: str) -> None:
    path = written(tmp_path, text)
    assert exit_code_of(app, ["sweep", str(path), "--run", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert said in err and "grid.toml" in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == ["grid.toml"]


def test_a_text_that_is_missing_is_refused_before_anything_is_made(tmp_path: Path, capsys: Any) -> None:
    path = written(tmp_path, f'[base]\ntext = "{tmp_path}/none.txt"\n[grid]\nseed = [1, 2]')
    assert exit_code_of(app, ["sweep", str(path), "--run", str(tmp_path / "out")]) == 3
    assert "none.txt" in capsys.readouterr().err and os.listdir(tmp_path) == ["grid.toml"]
    assert exit_code_of(app, ["sweep", str(tmp_path / "no.toml")]) == 2
    assert "FILE: there is no file" in capsys.readouterr().err


def test_a_cell_of_ones_own_is_named_beside_the_file(tmp_path: Path, capsys: Any) -> None:
    path = written(tmp_path, '[base]\ncell = "no_module:Cell"\n[grid]\nseed = [1, 2]')
    assert exit_code_of(app, ["sweep", str(path)]) == 2
    assert "give --cell no_module:Cell" in capsys.readouterr().err
    assert exit_code_of(app, ["sweep", str(path), "--cell", "no_module:Cell"]) == 2
    assert "cannot be imported: ModuleNotFoundError" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [True, False])
def test_a_deterministic_sweep_tells_xla_before_it_starts(tmp_path: Path, monkeypatch: Any, asked: bool) -> None:
    """A GPU would refuse it else: only programs call `use_deterministic_ops` themselves."""
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(Sweep, "train", lambda self, *of, **more: None)
    text = XOR.replace("[grid]", "[grid]\ndeterministic = [false, true]" if asked else "[grid]")
    assert exit_code_of(app, ["sweep", str(written(tmp_path, text)), "--run", str(tmp_path / "all")]) == 0
    assert (DETERMINISTIC in os.environ["XLA_FLAGS"]) == asked


def test_where_a_sweep_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep_path(Path("up/my grid.toml"), None) == Path("runs/my-grid")
    assert sweep_path(Path("..toml"), None) == Path("runs/sweep")
    Path("file").touch()
    for name, content in (("run", "config.json"), ("other", "letter.txt"), ("begun", "lock"), ("sweep", "sweep.json")):
        Path(name).mkdir()
        Path(name, content).touch()
    for name, said in (("run", "a run but no sweep"), ("other", "letter.txt but no sweep"), ("file", "not a dir")):
        with pytest.raises(ConfigurationError, match=said):
            sweep_path(Path("grid.toml"), Path(name))
    assert [sweep_path(Path("a"), Path(name)).name for name in ("begun", "sweep")] == ["begun", "sweep"]


def test_a_run_by_itself_that_diverges_ends_itself_and_not_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Two cells are two programs of one member each; the one is trained though the other has diverged."""

    def train(configs: Sequence[TrainConfig], paths: Sequence[Path], *_: Any, **__: Any) -> list[MemberResult]:
        if configs[0].cell == "gru":
            paths[0].mkdir(parents=True)
            (paths[0] / "metrics.jsonl").write_text('{"update": 3}\n')
            raise NumericError("the loss was not finite")
        return [MemberResult("finished", 4, 0, 2, 0, 1.5, 0.25 + configs[0].seed, 0.5, None, 0)]

    monkeypatch.setattr(sweeps, "train_members", train)
    configs = [TrainConfig(task="xor", sequence_length=3, cell=cell, updates=4) for cell in ("gru", "lstm", "vanilla")]
    for _ in range(2):
        assert Sweep(tmp_path).train(configs) is None
    warned = capsys.readouterr().err
    assert "the loss was not finite" in warned and warned.count("\n") == 1
    rows = Sweep(tmp_path).rows_of(configs)
    assert [(row["end"], row["updates"]) for row in rows] == [("diverged", 3), ("finished", 4), ("finished", 4)]
    lines = Sweep(tmp_path).table(configs).splitlines()
    assert [line.split()[0] for line in lines] == ["cell", "lstm", "vanilla", "gru"]


def test_the_table_has_the_best_first_and_what_has_no_number_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = {0: 2.0, 1: math.inf, 2: 0.5, 3: 1.0}
    ends = {3: "diverged"}

    def train(configs: Sequence[TrainConfig], *_: Any, **__: Any) -> list[MemberResult]:
        told = [(ends.get(config.seed, "finished"), valid[config.seed]) for config in configs]
        return [MemberResult(end, 4, 0, 2, 0, 1.5, loss, 0.5, None, 0) for end, loss in told]

    monkeypatch.setattr(sweeps, "train_members", train)
    configs = [TrainConfig(seed=seed, updates=4) for seed in range(4)]
    Sweep(tmp_path).train(configs)
    lines = Sweep(tmp_path).table(configs).splitlines()
    assert [line.split()[0] for line in lines] == ["seed", "2", "0", "1", "3"]


def test_runs_that_end_within_their_first_epoch_have_the_losses_of_their_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(configs: Sequence[TrainConfig], paths: Sequence[Path], *_: Any, **__: Any) -> list[MemberResult]:
        for path, valid in zip(paths, (2.5, 1.5), strict=True):
            shutil.copytree(FIXTURES / "text_float64", path)
            rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
            rows[-1] |= {"train/mean_loss_nats": 3.5, "valid/loss_nats": valid}
            (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return [MemberResult("finished", 4, 0, 4, 0, math.inf, math.inf, math.nan, None, 0) for _ in paths]

    monkeypatch.setattr(sweeps, "train_members", train)
    configs = [TrainConfig(seed=seed, updates=4) for seed in range(2)]
    Sweep(tmp_path).train(configs)
    assert [(row["train_loss"], row["valid_loss"]) for row in Sweep(tmp_path).rows_of(configs)] == [
        (3.5, 2.5),
        (3.5, 1.5),
    ]
    lines = Sweep(tmp_path).table(configs).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["1", "1.5000"], ["0", "2.5000"]]


def test_the_command_goes_on_where_it_stopped_and_tells_a_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    calls: list[Sequence[TrainConfig]] = []

    def train(configs: Sequence[TrainConfig], *_: Any, **options: Any) -> list[MemberResult] | None:
        calls.append(configs)
        if len(calls) == 1:
            options["stop"].reason = "interrupted"
            return None
        return [MemberResult("finished", 4, 0, 2, 0, 1.5, c.learning_rate, 0.5, None, 0) for c in configs]

    monkeypatch.setattr(sweeps, "train_members", train)
    monkeypatch.chdir(tmp_path)
    command = ["sweep", str(written(tmp_path, XOR)), "--devices", "2"]
    assert exit_code_of(app, command) == 130
    out = capsys.readouterr().out
    assert "2 runs in runs/grid" in out and "2 runs as one program: learning_rate 0.1; learning_rate 0.3" in out
    assert out.endswith("interrupted: saved; the same command goes on\n") and "validation" not in out
    assert exit_code_of(app, command) == 0 == exit_code_of(app, command)
    assert len(calls) == 2 and calls[0] == calls[1] == read_sweep(tmp_path / "grid.toml")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[-3:-1]] == [["0.1", "0.1000", "finished"], ["0.3", "0.3000", "finished"]]
    assert exit_code_of(app, [*command[:-1], "x"]) == 2
    assert exit_code_of(app, [*command[:-1], "1"]) == 2  # another number of devices would be another sweep


@pytest.mark.slow
def test_a_file_is_trained_and_found_done_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sequences, "TEST_SEQUENCES", 8)
    monkeypatch.setattr(sequences, "VALIDATION_SEQUENCES", 8)
    monkeypatch.chdir(tmp_path)
    command = ["sweep", str(written(tmp_path, XOR)), "--devices", "2"]
    assert exit_code_of(app, command) == 0
    first = capsys.readouterr().out
    assert "2 runs in runs/grid" in first and "learning_rate 0.1; learning_rate 0.3" in first and "update 4/4" in first
    assert exit_code_of(app, command) == 0
    second = capsys.readouterr().out
    assert "update" not in second.splitlines()[0] and "compiled" not in second
    heading, *rows = second.splitlines()[1:-1]
    assert heading.split() == ["learning_rate", *"validation, nats test, nats end updates run".split()]
    losses = {}
    for row in rows:
        rate, loss, _, end, updates, path = row.split()
        losses[path] = float(loss)
        run: Any = open_run(Path("runs/grid") / path)
        assert (run.config.learning_rate, end, updates) == (float(rate), "finished", "4")
        assert losses[path] == pytest.approx(float(run.state.early_stopping.best), abs=1e-4)
    assert len(losses) == 2 and list(losses.values()) == sorted(losses.values())
    assert first.splitlines()[-4:] == second.splitlines()[-4:]
    assert exit_code_of(app, ["runs"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("finished") == 2 and all(f"grid/{path}" in listed for path in losses)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_values_and_files(tmp_path: Path, capsys: Any) -> None:
    assert exit_code_of(app, ["completion", "bash"]) == 0
    script = written(tmp_path, capsys.readouterr().out, "completion.bash")
    written(tmp_path, "", "book.txt")

    def completed(*words: str) -> list[str]:
        ask = (
            'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
            "eval \"$(complete -p jaxrnn | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\"; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        command = ["bash", "-c", ask, "bash", str(script), "jaxrnn", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return [word.strip() for word in done.stdout.splitlines()]

    assert completed("ev") == ["evaluate"] and {"train", "runs", "sweep"} <= set(completed(""))
    assert completed("train", "--learning-r") == ["--learning-rate"]
    assert set(completed("train", "--cell", "gr")) == {"gru", "gru-flax", "gru-reset-before"}
    assert completed("train", "--bytes", "bo") == ["book.txt"] == completed("train", "bo")
    assert completed("resume", "--upd") == ["--updates"] and "compare" in completed("runs", "")
    assert completed("completion", "z") == ["zsh"] and completed("train", "--preset", "mi") == ["minute"]


def test_other_shells_have_a_script_or_are_refused(capsys: Any) -> None:
    for shell, sign in (("zsh", "#compdef jaxrnn"), ("fish", "complete -c jaxrnn")):
        assert exit_code_of(app, ["completion", shell]) == 0
        assert sign in capsys.readouterr().out
    assert exit_code_of(app, ["completion", "tcsh"]) == 2
    assert "SHELL expects one of bash, zsh, fish; got 'tcsh'" in capsys.readouterr().err
