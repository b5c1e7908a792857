"""The command line as a whole: it answers soon, refuses what it does not know, and escapes what it prints."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from jaxrnn.cli import app
from jaxrnn.errors import MAX_DETAIL_LINES, ConfigurationError
from jaxrnn.terminal.command import exit_code_of

SCRIPT = Path(sys.executable).with_name("jaxrnn")
MAIN = [sys.executable, "-c", "from jaxrnn.cli import main; main()"]
COMMANDS = ("train", "resume", "sample", "evaluate", "inspect", "plot", "export", "corpus")


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _processor_seconds(command: list[str]) -> float:
    """Of the processor, so that what else runs on the machine counts little."""
    before = os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_help_takes_less_than_a_second() -> None:
    for arguments in (["--help"], ["train", "--help"]):
        assert min(_processor_seconds([*MAIN, *arguments]) for _ in range(3)) < 1


def test_import_costs_little_more_than_its_dependencies() -> None:
    theirs = [sys.executable, "-c", "import jax, flax.nnx, optax, orbax.checkpoint"]
    ours = [sys.executable, "-c", "import jaxrnn"]
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(3)]
    assert statistics.median(a for a, _ in pairs) < 1.5 * statistics.median(b for _, b in pairs)


@pytest.mark.slow
def test_importing_everything_public_costs_little_more_than_its_dependencies() -> None:
    theirs = [sys.executable, "-c", "import jax, flax.nnx, optax, orbax.checkpoint"]
    ours = [sys.executable, "-c", "import jaxrnn; [getattr(jaxrnn, name) for name in jaxrnn.__all__]"]
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(3)]
    assert statistics.median(a for a, _ in pairs) < 1.5 * statistics.median(b for _, b in pairs)


def test_help_and_a_mistyped_option_import_no_jax() -> None:
    code = (
        "import sys; from jaxrnn.cli import app; from jaxrnn.terminal.command import exit_code_of\n"
        "exit_code_of(app, sys.argv[1:])\n"
        "sys.exit(7 if 'jax' in sys.modules else 8)"
    )
    for arguments in (["--help"], ["train", "--help"], ["train", "--hiden", "3"], ["train", "--hidden", "0"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True)
        assert done.returncode == 8, arguments


@pytest.mark.skipif(not SCRIPT.exists(), reason="the console script is not installed beside this Python")
def test_the_console_script_is_the_same() -> None:
    done = subprocess.run([SCRIPT, "resume", "--hidden", "3"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("jaxrnn: error: ") and done.stdout == ""


@pytest.mark.parametrize(("columns", "widest"), [("1", 40), ("0", 80), ("99999999999", 80), ("60", 60)])
def test_a_width_that_none_has_does_not_spoil_the_help(columns: str, widest: int) -> None:
    command = [sys.executable, "-m", "jaxrnn", "resume", "--help"]
    environment = os.environ | {"COLUMNS": columns, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=60)
    assert done.returncode == 0 and "Usage: jaxrnn resume" in done.stdout and "Go on with a run" in done.stdout
    assert max(map(len, done.stdout.splitlines())) == widest


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(capsys: Any, command: str) -> None:
    assert exit_code_of(app, [command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert command in shown and "--empty-" not in shown


def test_the_defaults_of_resume_are_the_runs_own(capsys: Any) -> None:
    assert exit_code_of(app, ["resume", "--help"]) == 0
    shown = " ".join(re.sub("[│\\s]+", " ", capsys.readouterr().out).split())
    assert "in place of updates [default: as in the run]" in shown and "book:" not in shown


def test_version(capsys: Any) -> None:
    import jaxrnn

    assert exit_code_of(app, ["--version"]) == 0
    assert capsys.readouterr().out.strip() == jaxrnn.__version__


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], ["trian", "train"]),
        (["train", "--hiden", "3"], ["--hiden", "--hidden"]),
        (["train", "--bptt-lenght", "3"], ["--bptt-lenght", "--bptt-length"]),
        (["resume", ".", "--update", "3"], ["--update", "--updates"]),
        (["sample", ".", "--temprature", "1"], ["--temprature", "--temperature"]),
        (["train", "--seed", "1", "--seed", "2"], ["--seed", "twice"]),
        (["train", "--seed=1", "--hidden", "4", "--seed=1"], ["--seed", "twice"]),
        (["train", "--hidden"], ["--hidden"]),
        (["train", "--hidden", "--seed", "3"], ["--hidden"]),
        (["resume"], ["directory"]),
        (["sample"], ["directory"]),
        (["evaluate", "."], ["text"]),
        (["resume", "a", "b"], ["'b'"]),
        (["train", "--bytes=perhaps"], ["--bytes"]),
        (["train", "--lr", "3"], ["did you mean --learning-rate? see jaxrnn train"]),
        (["resume", ".", "--max-epochs", "3"], ["did you mean --epochs? see jaxrnn resume"]),
        (["evaluate", ".", "x", "--lr", "3"], ["there is no --lr; see jaxrnn evaluate --help"]),
        (["train", "--\x1b[2J", "3"], ["\\x1b[2J"]),
        (["\u202ecommand"], ["\\u202ecommand"]),
    ],
)
def test_what_the_parser_refuses_is_one_line(capsys: Any, arguments: list[str], said: list[str]) -> None:
    assert exit_code_of(app, arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("jaxrnn: error: ") and err.count("\n") == 1
    assert err[:-1].isprintable()
    for part in said:
        assert part.lower() in err.lower(), err


@pytest.mark.parametrize("arguments", [["corpus"], ["plot"], ["evaluate"]])
def test_commands_on_what_is_not_there(capsys: Any, tmp_path: Path, arguments: list[str]) -> None:
    missing = str(tmp_path / "missing.txt")
    assert exit_code_of(app, [*arguments, missing, *(["x"] if arguments == ["evaluate"] else [])]) in (2, 3)
    err = capsys.readouterr().err
    assert missing in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_the_facts_of_a_text_are_printed_escaped(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "na\x1bme.txt"
    path.write_text("one two\x1b[2J two\n\u202e\u009b é")
    assert exit_code_of(app, ["corpus", str(path)]) == 0
    out = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in out) and "20" in out


@pytest.mark.parametrize("count", [0, 1, MAX_DETAIL_LINES, MAX_DETAIL_LINES + 1, 500])
def test_details_are_at_most_nineteen_lines(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int
) -> None:
    def fails(*_: Any) -> None:
        raise ConfigurationError("wrong", [f"row {i}" for i in range(count)])

    monkeypatch.setattr("jaxrnn.trained.run.open_run", fails)
    assert exit_code_of(app, ["plot", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + min(count, MAX_DETAIL_LINES)
    assert count <= MAX_DETAIL_LINES or lines[-1] == f"  ... and {count - MAX_DETAIL_LINES + 1} more"
    with pytest.raises(ConfigurationError) as caught:
        fails()
    assert "".join(traceback.format_exception(caught.value)).splitlines()[-len(lines) + 1 :] == lines[1:] or count == 0


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("odd \x1b[2J thing"), 1, "unexpected RuntimeError: odd \\x1b[2J thing; please report it"),
        (MemoryError(), 2, "out of memory; free some, or train with a smaller --hidden"),
        (
            PermissionError(13, "Permission denied", "/some\x07where"),
            6,
            "cannot use /some\\x07where: Permission denied",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_any_other_fault_is_one_line_too(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, code: int, said: str
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr("jaxrnn.trained.run.open_run", fails)
    assert exit_code_of(app, ["plot", str(tmp_path)]) == code
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err and len(err.splitlines()) <= 20
    monkeypatch.setenv("JAXRNN_TRACEBACK", "1")
    assert exit_code_of(app, ["plot", str(tmp_path)]) == code
    assert "Traceback" in capsys.readouterr().err


def test_a_variable_that_jax_cannot_read_is_named(capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from jax._src import config

    def fails(*_: Any) -> None:  # as JAX does where it is loaded
        config.bool_env("JAX_ENABLE_X64", False)

    monkeypatch.setenv("JAX_LOG_COMPILES", "1")
    monkeypatch.setenv("JAX_ENABLE_X64", "maybe")
    monkeypatch.setattr("jaxrnn.trained.run.open_run", fails)
    assert exit_code_of(app, ["plot", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("jaxrnn: error: JAX cannot read JAX_ENABLE_X64=maybe: ") and err.count("\n") == 1


def test_an_interrupt_before_the_command_line_is_there_is_quiet() -> None:
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'cyclopts': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from jaxrnn.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_full_disk_behind_stdout_is_said(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "flush", full)
        assert exit_code_of(app, ["presets"]) == 6
    assert "error: stdout cannot be written: No space left on device; free" in capsys.readouterr().err
