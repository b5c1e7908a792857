"""What stands for the files of a run that has none: its rows and samples are kept in memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxrnn.tasks.protocol import Score
from jaxrnn.training.job import TrainJob
from jaxrnn.training.rows import Rows
from jaxrnn.training.state import TrainState


class MemoryFiles:
    """In the place of `RunFiles`. Nothing is saved, so nothing can be gone on with.

    Args:
      job: what is trained.

    Attributes:
      rows: as in `RunFiles`.
      written: what metrics.jsonl would hold.
      samples: update, temperature and text of each.
    """

    begun_before = False
    path: Path | None = None

    def __init__(self, job: TrainJob) -> None:
        self.saved_update = -1
        self.rows = Rows(job)
        self.written: list[dict[str, Any]] = []
        self.samples: list[tuple[int, float, str]] = []

    def begin(self, template: TrainState, newest: int | None = None) -> tuple[None, list[str]]:
        return None, []

    def log(self, score: Score | None = None, is_finished: bool = False) -> None:
        rows, last = self.rows.take(score, is_finished)
        self.written += [*rows, *([last.ends] if last.ends else [])]

    def add_sample(self, update: int, temperature: float, text: str) -> None:
        self.samples.append((update, temperature, text))

    def save(self, state: TrainState, keep: int | None = None) -> None:
        self.saved_update = int(state.update)

    def saved_updates(self) -> list[int]:
        return []

    def write_test(self, update: int, checkpoint: str, score: Score) -> None:
        pass

    def close(self) -> None:
        pass


def rows_in_memory(files: Iterable[Any]) -> list[list[dict[str, Any]]]:
    """The rows of those of a loop's files that are kept in memory."""
    return [of.written for of in files if isinstance(of, MemoryFiles)]
