"""What tests of populations share: tiny members of a text, and the comparison of a member with the run alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrnn.config import TrainConfig
from jaxrnn.storage.checkpoint import checkpoint_updates
from jaxrnn.storage.logs import read_metrics
from jaxrnn.terminal.progress import Progress
from jaxrnn.trained.run import open_run
from jaxrnn.training.member_runs import MemberResult, train_members
from tests.trees import assert_trees_equal

CLOCK = {"chars_per_second", "sequences_per_second"}
QUIET = Progress(quiet=True)
WINDOWS = 15  # an epoch of the text of `text_members`


def text_of(directory: Path) -> Path:
    """400 characters in words, so that there is something to learn."""
    words = np.random.default_rng(3).choice(["war ", "and ", "peace. ", "well, ", "prince "], 160)
    path = directory / "text.txt"
    path.write_text("".join(words)[:400])
    return path


def text_members(text: Path, **changed: Any) -> list[TrainConfig]:
    """Five members that differ in all that may differ, of two folds; 15 updates an epoch."""
    options: dict[str, Any] = {
        "text": str(text),
        "cell": "lstm",
        "hidden": 5,
        "init": "uniform",
        "init_scale": 0.3,
        "bptt_length": 5,
        "batch_size": 4,
        "optimizer": "rmsprop",
        "learning_rate": 0.01,
        "loss_reduction": "mean",
        "epochs": 3,
        "dropout_output": 0.2,
        "clip_value": 0.5,
        "decay_rate": 0.9,
        "decay_after_epochs": 1,
        "validation_fraction": 0.1,
        "test_fraction": 0.1,
        "folds": 2,
        "accuracy": True,
        "sample_every": 20,
        "sample_length": 20,
        "log_every": 7,
        "checkpoint_every": "10",
        "devices": "1",
    }
    config = TrainConfig(**(options | changed))
    return [
        dataclasses.replace(config, seed=1, decay_rate=1.0),  # alone its program has no schedule
        dataclasses.replace(config, seed=2, learning_rate=0.03, clip_value=0.1, warmup_updates=5),
        dataclasses.replace(config, seed=1, dropout_output=0.5, fold=1, decay_rate=0.5),
        dataclasses.replace(config, seed=4, learning_rate=0.3),
        dataclasses.replace(config, seed=5, learning_rate=0.001),
    ]


def places(root: Path, members: int) -> list[Path]:
    """Directories of the members of a population."""
    return [root / "members" / f"m{number}" for number in range(members)]


def trained(
    configs: Sequence[TrainConfig], root: Path, devices: int | None = 1, **options: Any
) -> list[MemberResult] | None:
    """Trains members below a directory."""
    options = {"progress": QUIET} | options
    return train_members(configs, places(root, len(configs)), root / "rounds.json", devices=devices, **options)


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl but for the wall clock."""
    rows = read_metrics(run / "metrics.jsonl")
    return [{name: repr(value) for name, value in row.items() if name not in CLOCK} for row in rows]


def assert_same_run(member: Path, alone: Path) -> None:
    """The whole saved state to the bit, the rows, the samples, the numbers on the test data."""
    assert_trees_equal(open_run(member).state, open_run(alone).state)
    assert checkpoint_updates(member / "checkpoints")[-1] == checkpoint_updates(alone / "checkpoints")[-1]
    assert rows_of(member) == rows_of(alone) != []
    for name in ("samples.txt", "test.json", "vocabulary.json"):
        assert (member / name).exists() == (alone / name).exists(), name
        assert not (alone / name).exists() or (member / name).read_bytes() == (alone / name).read_bytes(), name


def damage(run: Path) -> int:
    """Flips the bits of the largest file of the newest checkpoint; gives its update."""
    update = checkpoint_updates(run / "checkpoints")[-1]
    files = [path for path in (run / "checkpoints" / f"update_{update:010d}").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[:-40] + bytes(byte ^ 255 for byte in content[-40:]))
    return update
