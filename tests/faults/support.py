"""What tests of faults share: tiny runs, the command line in this process and in others, the five-part comparison."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.cli import app
from jaxrnn.config import TrainConfig
from jaxrnn.devices.numerics import numerics
from jaxrnn.storage.checkpoint import Reader, load_latest
from jaxrnn.storage.checkpoint_leaves import to_leaves
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.storage.vocabulary_file import load_vocabulary
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.training.formats import readers
from jaxrnn.training.job import state_template
from jaxrnn.training.task import objective_of

MAIN = "from jaxrnn.cli import main; main()"
WORDS = ["the", "cat", "sat", "on", "mat", "dog", "ran", "far", "away", "home", "and", "then", "slept."]


def tiny_text(words: int = 120, seed: int = 1) -> str:
    """A few hundred characters, 18 distinct: an epoch of some hundred updates."""
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(words)) + "\n"


def tiny_options(run: Path, **changed: object) -> list[str]:
    """Options of a small run in which each part of the state matters: Adam, a decaying rate, validation, samples."""
    options: dict[str, object] = {
        "hidden": 8,
        "bptt_length": 5,
        "batch_size": 2,
        "optimizer": "adam",
        "learning_rate": 0.02,
        "decay_rate": 0.9,
        "decay_after_epochs": 1,
        "validation_fraction": 0.1,
        "preset": "book",
        "updates": 120,
        "sample_every": 20,
        "sample_length": 40,
        "log_every": 10,
        "checkpoint_every": 60,  # a save takes longer than all its updates
        "seed": 3,
        "run": run,
    }
    options |= changed
    return [part for name, value in options.items() for part in ("--" + name.replace("_", "-"), str(value))]


class Answer(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    err: str


def command(capsys: Any, *arguments: object) -> Answer:
    """A command in this process."""
    capsys.readouterr()
    code = exit_code_of(app, [str(a) for a in arguments])
    out, err = capsys.readouterr()
    return Answer(code, out, err)


def start(arguments: list[str], *, code: str = MAIN, **options: Any) -> subprocess.Popen:
    """A command in another process, its output piped."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        **options,
    )


def finish(process: subprocess.Popen, timeout: float = 60) -> Answer:
    """Waits for it."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return Answer(process.returncode, out, err)


def call(*arguments: object, code: str = MAIN, timeout: float = 90, **options: Any) -> Answer:
    """A command in another process, to its end."""
    return finish(start([str(a) for a in arguments], code=code, **options), timeout)


def assert_refused(answer: Answer, code: int, *said: str) -> None:
    """What a user sees of an error: the exit code, one line with what is wrong, at most 19 of detail, no traceback."""
    lines = answer.err.splitlines()
    assert answer.code == code, answer
    assert lines, answer
    errors = [line for line in lines if line.startswith("jaxrnn: error: ")]
    assert len(errors) == 1, answer.err
    details = lines[lines.index(errors[0]) + 1 :]
    assert len(lines) <= 20 and all(line.startswith("  ") for line in details), answer.err
    assert all(line.startswith("jaxrnn: ") for line in lines[: lines.index(errors[0])]), answer.err
    assert "Traceback" not in answer.err
    assert all(c.isprintable() or c == "\n" for c in answer.err), answer.err
    for part in said:
        assert part in answer.err, f"{part!r} is not in {answer.err!r}"


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """Every file below a directory with its size and digest, to see whether anything was touched."""
    files: dict[str, tuple[int, str]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink() or not path.is_file():
            files[name + "/"] = (0, "")
        else:
            files[name] = (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    return files


def config_of(run: Path) -> TrainConfig:
    """The settings of a run."""
    return TrainConfig.from_json(RunDirectory(run).read_config()["config"])


def readers_of(run: Path) -> dict[int, Reader]:
    """What a run's checkpoints are read with."""
    config, vocabulary = config_of(run), RunDirectory(run).vocabulary_path
    symbols = len(load_vocabulary(vocabulary)) if config.task == "text" else 0
    return readers(state_template(config, objective_of(config, symbols)))


def leaves_of(run: Path) -> tuple[int, dict[str, Any]]:
    """The update of the newest checkpoint, which must be good, and every leaf in it."""
    with numerics(config_of(run).dtype):
        checkpoint, warnings = load_latest(run / "checkpoints", readers_of(run))
        assert checkpoint is not None and not warnings, warnings
        return checkpoint.metadata["update"], to_leaves(checkpoint.state)


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without the column of the clock; fails on a torn or damaged one."""
    text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    return [{k: v for k, v in json.loads(line).items() if k != "chars_per_second"} for line in text.splitlines()]


def five_parts(run: Path) -> dict[str, Any]:
    """Parameters, optimizer state and the whole carried state; best parameters; log; samples: what must be equal."""
    update, values = leaves_of(run)
    leaves = {
        name: hashlib.sha256(f"{value.dtype} {value.shape}".encode() + value.tobytes()).hexdigest()
        for name, value in values.items()
    }
    return {
        "update": update,
        "state": {name: digest for name, digest in leaves.items() if not name.startswith("best_")},
        "best": {name: digest for name, digest in leaves.items() if name.startswith("best_")},
        "rows": rows_of(run),
        "samples": (run / "samples.txt").read_bytes(),
    }


def assert_same_run(actual: Path, expected: Path) -> None:
    """The five-part comparison of two runs, and the count of rows."""
    one, other = five_parts(actual), five_parts(expected)
    for part in other:
        assert one[part] == other[part], part
    updates = [row["update"] for row in one["rows"]]
    assert len(set(updates)) == len(updates)


def expected_rows(updates: int, log_every: int) -> list[int]:
    """The updates that have a row: the first, each multiple, the last."""
    return sorted({1, *range(log_every, updates + 1, log_every), updates})
