"""Losses of every member for TensorBoard, beside metrics.jsonl and always equal to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxrnn.errors import ConfigurationError
from jaxrnn.storage import read_metrics

COLUMNS = ("train/loss_nats", "valid/loss_nats")


def require_tensorboard() -> Any:
    """The writer of event files.

    Raises:
      ConfigurationError: if tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ConfigurationError(
            "--tensorboard needs tensorboardX, which is not installed; pip install 'jaxrnn[tensorboard]'"
        ) from error
    return SummaryWriter


class MemberLogs:
    """Event files of a population, a directory a member.

    A population that goes on after a kill trains some epochs again. So its event files are written anew from
    metrics.jsonl, which was cut back: no epoch is there twice, and none is missing.

    Args:
      writer: makes the writer of a directory.
      directory: of the population's event files.
      population: the directory with metrics.jsonl.
      labels: the name of each member.
    """

    def __init__(self, writer: Any, directory: Path, population: Path, labels: list[str]):
        self.writer, self.population = writer, population
        self.directories = [directory / label for label in labels]
        self.writers: list[Any] = []

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Adds the rows of an epoch, which are in metrics.jsonl by now; the first time all that is there."""
        if not self.writers:
            for directory in self.directories:
                for old in directory.glob("events.*"):
                    old.unlink()
            self.writers = [self.writer(str(directory)) for directory in self.directories]
            rows = read_metrics(self.population / "metrics.jsonl")
        for row in rows:
            for column in COLUMNS:
                self.writers[row["member"]].add_scalar(column, float(row[column]), row["epoch"])
        for writer in self.writers:
            writer.flush()

    def close(self) -> None:
        """Ends the writers' threads."""
        for writer in self.writers:
            writer.close()
