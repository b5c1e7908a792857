"""The directory of a palindromes command: a sweep, and the curve of each member.

DIR/devices.json            how many devices; a restart uses as many
    results.jsonl, .csv     a row a finished member
    members/ID/             the run directory of a member, with loss and accuracy at every update in metrics.jsonl
    curves/ID.npz           the same of members that an older version trained
    populations/NAME        checkpoints that an older version left half done
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from experiments.old_populations import import_old_population, settings_of_then
from jaxrnn import TrainConfig, open_run
from jaxrnn.terminal import duration
from jaxrnn.training import (
    Group,
    Loop,
    MemberResult,
    Report,
    Sweep,
    group_by_structure,
    make_job,
    member_id,
    recent_accuracy,
)

SETTINGS = (
    "cell", "sequence_length", "input", "pooling", "hidden", "batch_size", "optimizer", "learning_rate", "init",
    "init_scale", "init_biases", "forget_bias", "update_bias", "clip_global_norm", "stop_at_accuracy", "updates",
    "seed",
)  # fmt: skip
OUTCOME = (
    "parameters", "status", "updates_done", "recent_accuracy", "valid_accuracy", "valid_loss_nats", "skipped",
    "seconds",
)  # fmt: skip
COLUMNS = ("member", *SETTINGS, *OUTCOME)
Row = dict[str, Any]


class Curve(NamedTuple):
    """Loss in nats and accuracy of each update of a member, (updates,) each."""

    loss: np.ndarray
    accuracy: np.ndarray


def label(config: TrainConfig) -> str:
    """A population in a few words."""
    return f"{config.cell} T {config.sequence_length} {config.optimizer}"


def old_identity(config: TrainConfig) -> str:
    """What an older version called a member: a digest of all the settings of then."""
    settings = settings_of_then(dataclasses.replace(config, log_every=TrainConfig.log_every))
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def old_name(group: list[TrainConfig]) -> str:
    """The directory in which an older version kept the checkpoints of these members."""
    digest = hashlib.sha256("".join(old_identity(config) for config in group).encode()).hexdigest()[:8]
    return f"{label(group[0]).replace(' ', '-')}-{digest}"


class PalindromeRuns:
    """Trains members and keeps what came out.

    Args:
      directory: made if missing; what is finished there is not trained again.
      devices: JAX devices in use.
      stream: where the progress is written.
    """

    def __init__(self, directory: Path, devices: int, stream: TextIO):
        self.directory, self.devices, self.stream = directory, devices, stream
        self.sweep = Sweep(directory, COLUMNS, {"devices": devices}, "devices.json", finished_row)
        self.seconds_of_work = 0.0

    def train(self, configs: list[TrainConfig]) -> str | None:
        """Trains what is not done yet. Returns why it was stopped, or None if all is done."""
        done = {row["member"] for row in self.rows()}
        configs = [dataclasses.replace(config, log_every=1) for config in configs]
        left = [config for config in configs if not {member_id(config), old_identity(config)} & done]
        waiting = group_by_structure(left)

        def begin(group: Group) -> None:
            waiting.remove(group.configs)

        return self.sweep.train(
            left,
            [_settings(config) for config in left],
            devices=self.devices,
            begin=begin,
            report=lambda group, loop, told: self._report(group, loop, told, waiting),
            end=self._end,
            prepare=self._go_on_with_older,
        )

    def rows(self) -> list[Row]:
        """The rows of every finished member."""
        return self.sweep.rows()

    def rows_of(self, configs: list[TrainConfig]) -> list[Row]:
        """The rows of these members, in their order, as far as they are finished."""
        known = {row["member"]: row for row in self.rows()}
        found = (known.get(member_id(config), known.get(old_identity(config))) for config in configs)
        return [row for row in found if row is not None]

    def curve(self, row: Row) -> Curve:
        """Loss and accuracy of a finished member at every update."""
        old = self.directory / "curves" / f"{row['member']}.npz"
        if old.is_file():
            with np.load(old, allow_pickle=False) as file:
                return Curve(file["loss"], file["accuracy"])
        columns = open_run(self.sweep.path_of(row["member"])).metrics
        return Curve(columns["train/loss_nats"], columns["train/accuracy"])

    def _go_on_with_older(self, group: Group, members: Path) -> None:
        old = self.directory / "populations" / old_name(group.configs)
        if (old / "checkpoints").is_dir():
            then = (dataclasses.replace(config, log_every=TrainConfig.log_every) for config in group.configs)
            jobs = [make_job(config) for config in then]
            import_old_population(old, jobs, [members / name for name in group.ids])

    def _report(self, group: Group, loop: Loop, told: Report, waiting: list[list[TrainConfig]]) -> None:
        running = sum(end is None for end in loop.ends)
        left = told.seconds_an_update * (int(loop.totals.max()) - told.update) * bool(running)
        if places := -(-running // self.devices):
            self.seconds_of_work = told.seconds_an_update / places / _work_of_update(group.configs[0])
        in_all = left + sum(map(self._work, waiting)) * self.seconds_of_work
        accuracy = float(np.mean([recent_accuracy(glance) for glance in loop.glances()]))
        self._say(
            f"{label(group.configs[0])}: update {told.update:,}/{int(loop.totals.max()):,}, {running} of "
            f"{len(loop.ends)} run, accuracy {accuracy:.3f}, {duration(left)} left, {duration(in_all)} in all"
        )

    def _end(self, group: Group, results: list[MemberResult]) -> None:
        accuracies = " ".join(f"{result.test.accuracy:.3f}" for result in results if result.test)
        ends = [result.end for result in results]
        counts = ", ".join(f"{ends.count(end)} {end}" for end in dict.fromkeys(ends))
        self._say(f"{label(group.configs[0])}: accuracy on fresh sequences {accuracies}; {counts}")

    def _work(self, group: list[TrainConfig]) -> float:
        return _work_of_update(group[0]) * (group[0].updates or 0) * -(-len(group) // self.devices)

    def _say(self, line: str) -> None:
        self.stream.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        self.stream.flush()


def _settings(config: TrainConfig) -> Row:
    return {name: getattr(config, name) for name in SETTINGS} | {"parameters": _parameters(config)}


def finished_row(row: Row, result: MemberResult, seconds: float) -> Row:
    """A row of the results. Seconds are those of the population, shared evenly."""
    return row | {
        "status": result.end,
        "updates_done": result.updates,
        "recent_accuracy": result.recent_accuracy,
        "valid_accuracy": result.test.accuracy if result.test else float("nan"),
        "valid_loss_nats": result.test.loss if result.test else float("nan"),
        "skipped": result.skipped,
        "seconds": round(seconds, 1),
    }


def _work_of_update(config: TrainConfig) -> float:
    return config.steps * float(_parameters(config))


@functools.cache
def _parameters(config: TrainConfig) -> int:
    return make_job(config).parameters
