"""What the run directories below a folder hold. Their small files are read, no array: nothing here loads JAX."""

from __future__ import annotations

import datetime
import math
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from jaxrnn.config import DEFAULT_UPDATES, TrainConfig
from jaxrnn.errors import CheckpointError, ConfigurationError, JaxrnnError
from jaxrnn.storage.logs import json_number, read_metrics
from jaxrnn.storage.run_directory import RunDirectory, stored_config
from jaxrnn.storage.small_files import read_json
from jaxrnn.tasks.contradictions import OWN_TASK
from jaxrnn.tasks.users_cells import is_own
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.table import table

Row = dict[str, Any]
LOSS_NAMES = {"loss_nats": "nats", "squared_error": "squared error", "loss": ""}  # in metrics.jsonl, with their units
DECREASE_EPOCHS, DECREASE_FACTOR = 10, 0.995**10  # of `jaxrnn.training.early_stopping`, which needs JAX
SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}


class StoredRun(NamedTuple):
    """A run as its small files tell of it.

    Attributes:
      path: its directory.
      record: config.json.
      config: its settings.
      model: cell and sizes, or the name of a model of the user's own.
      rows: those of metrics.jsonl.
      loss_name: what the loss is called in them, without "train/mean_".
    """

    path: Path
    record: dict[str, Any]
    config: TrainConfig
    model: str
    rows: list[Row]
    loss_name: str

    @property
    def unit(self) -> str:
        """The unit of the loss."""
        return LOSS_NAMES[self.loss_name]

    @property
    def checkpoint(self) -> Path | None:
        """The newest, unread."""
        return max((self.path / "checkpoints").glob("update_" + "[0-9]" * 10), default=None)

    @property
    def update(self) -> int:
        """Updates done, as far as the log and the names of checkpoints tell."""
        saved = int(self.checkpoint.name.removeprefix("update_")) if self.checkpoint else 0
        return max(saved, int(self.rows[-1]["update"]) if self.rows else 0)

    @property
    def updates(self) -> int | None:
        """Updates in all; None where only the data could tell."""
        windows = self.record["data"].get("windows_per_epoch", 0)
        if self.config.epochs:
            return self.config.epochs * windows or None
        return self.config.updates or (None if self.config.task == OWN_TASK else DEFAULT_UPDATES)

    def of_updates(self) -> str:
        """Updates done of all."""
        return f"{self.update:,}" + (f"/{self.updates:,}" if self.updates else "")

    def validations(self) -> list[Row]:
        """The rows of validations, in their order."""
        return [row for row in self.rows if row.get(f"valid/{self.loss_name}") is not None]

    def lowest(self) -> Row | None:
        """The row of the lowest validation loss; None without validation."""
        name = f"valid/{self.loss_name}"
        return min(self.validations(), key=lambda row: math.inf if math.isnan(row[name]) else row[name], default=None)

    def training_loss(self) -> float:
        """The mean training loss of the latest row."""
        names = [f"train/{kind}_{self.loss_name}" for kind in ("mean", "smooth")]
        return float(next((self.rows[-1][n] for n in names if n in self.rows[-1]), math.nan) if self.rows else math.nan)

    def state(self, end: str | None = None) -> str:
        """How it stands.

        Args:
          end: how it has ended, where the results of a sweep tell.

        Returns:
          "running"; "elsewhere" where its owner is on another host; "finished", "solved", "stopped early" or
          "diverged"; "killed" where its owner is gone and had no time to say so; else "stopped".
        """
        owner = _owner(self.path)
        if owner in ("running", "elsewhere"):
            return owner
        if end is not None:
            return end
        if (self.updates and self.update >= self.updates) or _is_finished(self.checkpoint):
            return "finished"
        accuracy = self.rows[-1].get("train/recent_accuracy") if self.rows else None
        if self.config.stop_at_accuracy and accuracy is not None and accuracy >= self.config.stop_at_accuracy:
            return "solved"
        if _stops_early(self.config, [row[f"valid/{self.loss_name}"] for row in self.validations()]):
            return "stopped early"
        return owner or "stopped"


class Listed(NamedTuple):
    """A line of the list. What is not known is None; see `StoredRun`.

    Attributes:
      loss_of: "validation", then the loss is the lowest, or "training", then the mean of the latest row.
      changed: when a file of it was last written, in seconds since 1970.
      fault: what is wrong with a broken one.
    """

    run: str
    state: str
    changed: float
    data: str | None = None
    model: str | None = None
    update: int | None = None
    updates: int | None = None
    loss: float | None = None
    loss_of: str | None = None
    unit: str | None = None
    fault: str | None = None

    def to_json(self) -> Row:
        """As JSON may hold it: the time as ISO 8601 in UTC, a loss that is not finite as text."""
        changed = datetime.datetime.fromtimestamp(self.changed, datetime.UTC).isoformat(timespec="seconds")
        return self._asdict() | {"changed": changed, "loss": None if self.loss is None else json_number(self.loss)}


def read_run(path: Path) -> StoredRun:
    """Reads the small files of a run.

    Raises:
      ConfigurationError, CheckpointError: if there is no run, or its files are damaged.
    """
    directory = RunDirectory(path)
    record, rows = directory.read_config(), read_metrics(directory.metrics_path)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("update"), int) or not all(map(_is_measured, row.values())):
            where = printable(str(directory.metrics_path))
            raise CheckpointError(f"line {number} of {where} is no row of numbers; restore it from a copy")
    loss_name = next((name for name in LOSS_NAMES if rows and f"train/{name}" in rows[0]), "loss_nats")
    values = record["config"]
    # A cell of the user's own, MODULE:CLASS, is named and never imported: the settings are checked as with an LSTM.
    own = values["cell"] if is_own(values.get("cell")) else None
    config = stored_config(values | {"cell": "lstm"} if own else values, directory.config_path)
    model = f"{own or config.cell} {config.hidden}" + (f"x{config.layers}" if config.layers > 1 else "")
    if "parts" in record:
        try:
            model = str(record["parts"]["model"]["type"])
        except (LookupError, TypeError):
            where = printable(str(directory.config_path))
            raise CheckpointError(f"{where}: parts name no model; restore it from a copy") from None
    return StoredRun(path, record, config, model, rows, loss_name)


def list_runs(directory: Path) -> list[Listed]:
    """Every run at or below a directory, sweeps' members too, the latest change first. Links are not followed.

    Raises:
      ConfigurationError: if there is no such directory.
    """
    if not directory.is_dir():
        raise ConfigurationError(
            f"{printable(str(directory))} is not a directory; give the one that holds your runs, or make a run first: "
            "jaxrnn train"
        )
    ends: dict[Path, dict[Any, str]] = {}
    listed = [_listed(directory, path, fault, ends) for path, fault in _found(directory)]
    return sorted(listed, key=lambda run: (-run.changed, run.run))


def table_of_runs(runs: list[Listed]) -> str:
    """The list for people; what is wrong with broken ones stands below it."""
    now, rows = time.time(), []
    for run in runs:
        update = "" if run.update is None else f"{run.update:,}"
        update += f"/{run.updates:,}" if run.updates and run.updates != run.update else ""
        loss = "" if run.loss is None or math.isnan(run.loss) else f"{number(run.loss)} {run.unit}".rstrip()
        of = "valid" if run.loss_of == "validation" else "train"
        told = [run.run, run.data or "", run.model or "", update, run.state, loss and f"{loss} {of}"]
        rows.append([*told, _ago(now - run.changed)])
    head = ["run", "data", "model", "updates", "state", "loss", "age"]
    faults = [f"{printable(run.run, keep='')}: {run.fault}\n" for run in runs if run.fault]
    return table(head, rows, ["updates", "age"]) + "".join(["\n", *faults] if faults else [])


def number(loss: float) -> str:
    """A loss for people."""
    return f"{loss:.4f}" if abs(loss) < 1e4 else f"{loss:.3g}"


def _found(directory: Path) -> Iterator[tuple[Path, str | None]]:
    # (a run directory, what is wrong with it if that is known already)
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(directory, onerror=unreadable.append):
        path, is_run = Path(folder), "config.json" in {*files, *folders}
        if is_run or "checkpoints" in folders or {"metrics.jsonl", "vocabulary.json"} <= set(files):
            yield path, None if is_run else "config.json is missing; restore it from a copy"
            folders[:] = [name for name in folders if name == "members"]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    for error in unreadable:
        yield Path(error.filename), f"cannot be read: {error.strerror}"


def _listed(root: Path, path: Path, fault: str | None, ends: dict[Path, dict[Any, str]]) -> Listed:
    name = path.relative_to(root).as_posix() if path != root else path.absolute().name
    changed = max(map(_changed, (path / name for name in ("config.json", "metrics.jsonl", "checkpoints"))))
    changed = changed or _changed(path)
    try:
        if fault is not None:
            return Listed(name, "broken", changed, fault=fault)
        if path.parent.name == "members" and path.parent not in ends:
            ends[path.parent] = _ends(path.parent.parent)
        run = read_run(path)
        lowest, end = run.lowest(), ends.get(path.parent, {}).get(path.name)
        loss = run.training_loss() if lowest is None else float(lowest[f"valid/{run.loss_name}"])
        told = (run.record["data"]["name"], run.model, run.update, run.updates, loss)
        return Listed(name, run.state(end), changed, *told, "training" if lowest is None else "validation", run.unit)
    except JaxrnnError as error:
        return Listed(name, "broken", changed, fault=str(error))
    except Exception as error:  # anything may lie there, and the others are to be listed
        return Listed(name, "broken", changed, fault=f"it cannot be read: {type(error).__name__}")


def _ends(sweep: Path) -> dict[Any, str]:
    try:
        rows = read_metrics(sweep / "results.jsonl")
        return {row["member"]: row["end"] for row in rows if isinstance(row.get("end"), str) and "member" in row}
    except (JaxrnnError, OSError, TypeError):
        return {}


def _owner(path: Path) -> str | None:
    # What owner.json tells, which a process writes beside its lock and removes as it leaves. The lock is not tried:
    # a run that begins at that instant would be refused.
    if not os.path.lexists(path / "owner.json"):
        return None
    try:
        owner = read_json(path / "owner.json")
        if owner["host"] != platform.node():
            return "elsewhere"
        started = time.mktime(time.strptime(owner["started"], "%Y-%m-%d %H:%M:%S"))
        is_it = psutil.Process(owner["pid"]).create_time() <= started + 1  # else another process has its number now
        return "running" if is_it else "killed"
    except (JaxrnnError, psutil.Error, ValueError, LookupError, TypeError, OverflowError):
        return "killed"


def _is_finished(checkpoint: Path | None) -> bool:
    # Of data that the settings do not name only the checkpoint tells: it keeps the row that no longer run would have.
    try:
        metadata = read_json(checkpoint / "_CHECKPOINT_METADATA")["custom_metadata"] if checkpoint else {}
        return metadata["last_row"][0] is not None
    except (JaxrnnError, LookupError, TypeError):
        return False


def _stops_early(config: TrainConfig, losses: list[float]) -> bool:
    # `jaxrnn.training.early_stopping.should_stop` over all validations.
    losses = [math.inf if math.isnan(loss) else loss for loss in losses]
    if config.early_stopping == "patience" and losses:
        at = losses.index(min(losses)) if min(losses) < math.inf else -1
        return len(losses) - 1 - at >= config.patience
    if config.early_stopping == "relative-decrease" and len(losses) > DECREASE_EPOCHS:
        newest, oldest = losses[-1], losses[-1 - DECREASE_EPOCHS]
        return not (math.isfinite(newest) and newest <= oldest * DECREASE_FACTOR)
    return False


def _is_measured(value: Any) -> bool:
    return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def _changed(path: Path) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _ago(seconds: float) -> str:
    unit = next((unit for unit, size in SECONDS.items() if seconds >= size), "s")
    return f"{max(int(seconds // SECONDS[unit]), 0)} {unit}"
