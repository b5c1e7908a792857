"""The directory of a palindromes command: populations one after another, what is finished recorded at once.

DIR/devices.json            how many devices; a restart uses as many
    results.jsonl, .csv     a row a finished member
    curves/MEMBER.npz       its loss and its accuracy at every update
    populations/NAME        checkpoints of the populations
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from jaxrnn.training.population_structure import group_by_structure
from jaxrnn.training.sequence_population_run import SequencePopulationRun, SequenceReport, SequenceResult

from experiments.result_rows import add_rows, read_rows
from jaxrnn.config import TrainConfig
from jaxrnn.storage.lock import RunLock
from jaxrnn.storage.small_files import write_atomically
from jaxrnn.terminal.progress import duration
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.training.job import make_job

SETTINGS = (
    "cell", "sequence_length", "input", "pooling", "hidden", "batch_size", "optimizer", "learning_rate", "init",
    "init_scale", "init_biases", "forget_bias", "clip_global_norm", "stop_at_accuracy", "updates", "seed",
)  # fmt: skip
OUTCOME = (
    "parameters", "status", "updates_done", "recent_accuracy", "valid_accuracy", "valid_loss_nats", "skipped",
    "seconds",
)  # fmt: skip
COLUMNS = ("member", *SETTINGS, *OUTCOME)


class Curve(NamedTuple):
    """Loss in nats and accuracy of each update of a member, (updates,) each."""

    loss: np.ndarray
    accuracy: np.ndarray


def identity(config: TrainConfig) -> str:
    """What tells a member from another: a digest of all its settings."""
    return hashlib.sha256(json.dumps(config.to_json(), sort_keys=True).encode()).hexdigest()[:16]


def group_name(group: list[TrainConfig]) -> str:
    """The directory of a population. Other members make another name, so that none goes on with what is not its own."""
    digest = hashlib.sha256("".join(identity(config) for config in group).encode()).hexdigest()[:8]
    return f"{label(group[0]).replace(' ', '-')}-{digest}"


def label(config: TrainConfig) -> str:
    """A population in a few words."""
    return f"{config.cell} T {config.sequence_length} {config.optimizer}"


class PalindromeRuns:
    """Trains members and keeps what came out.

    Args:
      directory: made if missing; what is finished there is not trained again.
      devices: JAX devices in use.
      stream: where the progress is written.
    """

    def __init__(self, directory: Path, devices: int, stream: TextIO):
        self.directory, self.devices, self.stream = directory, devices, stream
        self.seconds_of_work = 0.0

    def train(self, configs: list[TrainConfig]) -> str | None:
        """Trains what is not done yet. Returns why it was stopped, or None if all is done."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with StopRequest() as stop, RunLock(self.directory):
            write_atomically(self.directory / "devices.json", json.dumps({"devices": self.devices}) + "\n")
            done = {row["member"] for row in self.rows()}
            groups = group_by_structure(config for config in configs if identity(config) not in done)
            for number, group in enumerate(groups):
                if not self._train_group(group, groups[number + 1 :], stop):
                    return stop.reason
        return None

    def rows(self) -> list[dict[str, Any]]:
        """The rows of every finished member."""
        return read_rows(self.directory)

    def rows_of(self, configs: list[TrainConfig]) -> list[dict[str, Any]]:
        """The rows of these members, in their order, as far as they are finished."""
        known = {row["member"]: row for row in self.rows()}
        return [known[identity(config)] for config in configs if identity(config) in known]

    def curve(self, row: dict[str, Any]) -> Curve:
        """Loss and accuracy of a finished member at every update."""
        with np.load(self.directory / "curves" / f"{row['member']}.npz", allow_pickle=False) as file:
            return Curve(file["loss"], file["accuracy"])

    def _train_group(self, group: list[TrainConfig], after: list[list[TrainConfig]], stop: StopRequest) -> bool:
        directory = self.directory / "populations" / group_name(group)
        directory.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()

        def report(status: SequenceReport) -> None:
            places = -(-status.running // self.devices)
            if status.seconds_left and places:
                of_update = status.seconds_left / (status.updates - status.update)
                self.seconds_of_work = of_update / places / _work_of_update(group[0])
            left = status.seconds_left + sum(map(self._work, after)) * self.seconds_of_work
            self._say(
                f"{label(group[0])}: update {status.update:,}/{status.updates:,}, {status.running} of {status.members} "
                f"run, accuracy {status.accuracy:.3f}, {duration(status.seconds_left)} left, {duration(left)} in all"
            )

        run = SequencePopulationRun(
            directory, group, devices=self.devices, report=report, should_stop=lambda: stop.reason is not None
        )
        results = run.run()
        if results is None:
            return False
        seconds = (time.monotonic() - started) / len(group)
        for config, result in zip(group, results, strict=True):
            self._keep_curve(config, Curve(*(curve[result.number, : result.updates] for curve in run.curves)))
        rows = [finished_row(config, result, seconds) for config, result in zip(group, results, strict=True)]
        add_rows(self.directory, rows, COLUMNS)
        accuracies = " ".join(f"{result.valid_accuracy:.3f}" for result in results)
        self._say(f"{label(group[0])}: accuracy on fresh sequences {accuracies}; {_ends(results)}")
        return True

    def _work(self, group: list[TrainConfig]) -> float:
        return _work_of_update(group[0]) * (group[0].updates or 0) * -(-len(group) // self.devices)

    def _keep_curve(self, config: TrainConfig, curve: Curve) -> None:
        path = self.directory / "curves" / f"{identity(config)}.npz"
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with temporary.open("wb") as file:
            np.savez_compressed(file, **curve._asdict())
        os.replace(temporary, path)

    def _say(self, line: str) -> None:
        self.stream.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        self.stream.flush()


def finished_row(config: TrainConfig, result: SequenceResult, seconds: float) -> dict[str, Any]:
    """A row of the results. Seconds are those of the population since the latest start, shared evenly."""
    return {
        "member": identity(config),
        **{name: getattr(config, name) for name in SETTINGS},
        "parameters": _parameters(config),
        "status": result.status,
        "updates_done": result.updates,
        "recent_accuracy": result.recent_accuracy,
        "valid_accuracy": result.valid_accuracy,
        "valid_loss_nats": result.valid_loss,
        "skipped": result.skipped,
        "seconds": round(seconds, 1),
    }


def _work_of_update(config: TrainConfig) -> float:
    return config.steps * float(_parameters(config))


@functools.cache
def _parameters(config: TrainConfig) -> int:
    return make_job(config, devices=1).parameters


def _ends(results: list[SequenceResult]) -> str:
    ends = [result.status for result in results]
    return ", ".join(f"{ends.count(end)} {end}" for end in dict.fromkeys(ends))
