"""The files of one run while it trains: its record, its logs, its checkpoints. Only one process of all writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jaxrnn.devices.hosts import is_writer, reading_alone
from jaxrnn.storage import checkpoint as checkpoints
from jaxrnn.storage.logs import AppendLog, sample_entry
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.storage.small_files import write_atomically
from jaxrnn.storage.vocabulary_file import save_vocabulary
from jaxrnn.tasks.protocol import Score
from jaxrnn.training.formats import MAY_BE_NAN, format_of
from jaxrnn.training.job import TrainJob
from jaxrnn.training.record import identity_of, record_of, restore
from jaxrnn.training.rows import LastRow, Row, Rows
from jaxrnn.training.state import TrainState

NORMS = "norms.jsonl"


class RunFiles:
    """What `loop` writes of one run.

    Args:
      job: what is trained.
      directory: the run directory, prepared and locked where this process writes.
      devices: how many share the work.

    Attributes:
      path: where they are.
      saved_update: that of the latest checkpoint; -1 for none.
      begun_before: whether the directory held a run.
      rows: what metrics.jsonl is told of.
    """

    def __init__(self, job: TrainJob, directory: RunDirectory, devices: int):
        self.job, self.directory, self.devices, self.path = job, directory, devices, directory.path
        self.saved_update, self.begun_before = -1, False
        self.rows = Rows(job)
        self._logs: dict[str, AppendLog] = {}
        self._last = LastRow()
        self._before_last: dict[str, Any] = {}

    def begin(self, template: TrainState, newest: int | None = None) -> tuple[TrainState | None, list[str]]:
        """Opens the logs where the latest checkpoint left them.

        Args:
          template: shapes and dtypes of the state.
          newest: no checkpoint of a later update is gone on with.

        Returns:
          The state to go on from, or None for a fresh one, and warnings.

        Raises:
          CheckpointError, ConfigurationError: see `restore`.
        """
        record, saved, warnings = record_of(self.job, self.devices), None, list[str]()
        self.begun_before = self.directory.exists()
        if self.begun_before:
            with reading_alone():
                record, saved, warnings = restore(self.directory, self.job, record, template, newest)
        else:
            self.directory.make_checkpoints()
            if self.job.task.vocabulary is not None:
                save_vocabulary(self.job.task.vocabulary, self.directory.vocabulary_path)
        self.directory.write_config(record)
        paths = [self.directory.metrics_path, *([self.directory.samples_path] if self.job.task.writes else [])]
        positions = saved.metadata["files"] if saved else {}
        paths += [self.directory.path / NORMS] if self.job.config.log_norms or NORMS in positions else []
        for path in paths:
            self._logs[path.name] = AppendLog(path, positions.get(path.name))
        if saved is None:
            return None, warnings
        self.saved_update = saved.metadata["update"]
        if self.job.task.fed:
            self.job.task.go_to(self.saved_update, saved.metadata.get("task"))
        self.rows = Rows(self.job, self.saved_update, *saved.metadata.get("mean_loss", ()))
        last = LastRow(*saved.metadata.get("last_row", ()))
        self.log_rows([last.goes_on if self.saved_update < self.job.updates else last.ends])
        return saved.state, warnings

    def log(self, score: Score | None = None, is_finished: bool = False) -> None:
        """Adds the rows since the call before to metrics.jsonl.

        Args:
          score: of a validation after the latest update.
          is_finished: whether that was the last one. Its row lies behind the position that is saved: a run that goes on
            has another there.
        """
        rows, self._last = self.rows.take(score, is_finished)
        self.log_rows(rows)
        if is_finished and self._logs:
            self._before_last = {n: log.position() for n, log in self._logs.items() if n.endswith(".jsonl")}
            self.log_rows([self._last.ends])

    def log_rows(self, rows: Sequence[Row | None]) -> None:
        """Adds these rows to metrics.jsonl, and their norms to norms.jsonl; None is no row."""
        for name, log in self._logs.items():
            if name == NORMS:
                of = [{"update": row["update"]} | row["norms"] for row in rows if row and "norms" in row]
            else:
                of = [{n: value for n, value in row.items() if n != "norms"} for row in rows if row]
            if name.endswith(".jsonl"):
                log.append("".join(json.dumps(row, allow_nan=False) + "\n" for row in of))

    def add_sample(self, update: int, temperature: float, text: str) -> None:
        """Adds a sample to samples.txt."""
        if self._logs:
            self._logs["samples.txt"].append(sample_entry(update, temperature, text))

    def save(self, state: TrainState, keep: int | None = None) -> None:
        """Saves a checkpoint, with where the logs stand.

        Args:
          state: what is saved.
          keep: the update of an older checkpoint that stays, beside the one before this.

        Raises:
          StorageError: if it could not be written; older checkpoints are untouched.
        """
        update = int(state.update)
        if not is_writer():
            checkpoints.take_part_in_save(self.directory.checkpoints, state, update, MAY_BE_NAN)
            self.saved_update = update
            return
        files = {}
        for name, log in self._logs.items():
            log.sync()
            files[name] = self._before_last.get(name, log.position())
        extra = {"files": files, "mean_loss": self.rows.since_row, "last_row": self._last, **identity_of(self.job)}
        if self.job.task.fed:
            extra["task"] = self.job.task.position(update)
        format = format_of(state)
        checkpoints.save_checkpoint(self.directory.checkpoints, state, update, extra, format, MAY_BE_NAN, keep)
        self.saved_update = update

    def saved_updates(self) -> list[int]:
        """Those whose checkpoints are there, oldest first."""
        return checkpoints.checkpoint_updates(self.directory.checkpoints)

    def write_test(self, update: int, checkpoint: str, score: Score) -> None:
        """Writes test.json, with what the run made of data that nothing else has looked at.

        Raises:
          StorageError: if it could not be written.
        """
        if is_writer():
            content = {"update": update, "checkpoint": checkpoint, "loss_nats": score.loss, "accuracy": score.accuracy}
            content |= score.more
            write_atomically(self.directory.test_path, json.dumps(content) + "\n")

    def close(self) -> None:
        for log in self._logs.values():
            log.close()
