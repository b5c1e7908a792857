"""Which updates of a run have a row in metrics.jsonl, and the mean loss of the updates between two."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from jaxrnn.storage.logs import json_number
from jaxrnn.tasks.protocol import Score
from jaxrnn.training.chunk import ChunkMetrics
from jaxrnn.training.job import TrainJob
from jaxrnn.training.report import metric_row, score_columns

Row = dict[str, Any]


class LastRow(NamedTuple):
    """The row of the last update of a run that is finished.

    Attributes:
      ends: what it is if the run ends there, with a validation of its own.
      goes_on: what a run that is trained for longer has in its place; None for no row.
    """

    ends: Row | None = None
    goes_on: Row | None = None


class Rows:
    """The rows of a run: at the first update, every `log_every`, at each validation, at the end.

    The mean loss of a row is that of the updates since the row before, summed in double precision in their order, so
    that it depends on no chunk and no restart. An update whose loss is not finite is not in it, as it is not in the
    training.

    Args:
      job: what is trained.
      update: updates done.
      loss_sum, losses: of the updates since the last row, `since_row`.

    Attributes:
      shown_loss: the mean before the latest row of the chunk added last, or since the last row where that has none.
    """

    def __init__(self, job: TrainJob, update: int = 0, loss_sum: float = 0.0, losses: int = 0):
        self.job, self.update, self.since_row = job, update, (loss_sum, losses)
        self.shown_loss = math.nan
        self._rows: list[Row] = []
        self._last_stays = self._is_validated = False

    def add(self, measured: ChunkMetrics, end: str | None, is_validated: bool, seconds_an_update: float) -> None:
        """Takes what the updates of a chunk measured.

        Args:
          measured: of each.
          end: how the run has ended after them, None if it goes on.
          is_validated: whether a validation is due.
          seconds_an_update: lately.
        """
        of_the_run = measured._replace(norms=None)._asdict()
        columns = {name: values for name, values in of_the_run.items() if values is not None}
        last = self.update + len(measured.loss)
        self._rows, self._is_validated = [], is_validated
        for i, loss in enumerate(measured.loss.tolist()):
            self.update += 1
            total, losses = self.since_row
            self.since_row = total, losses = (total + loss, losses + 1) if math.isfinite(loss) else (total, losses)
            is_last = self.update == last
            self._last_stays = self.update == 1 or self.update % self.job.config.log_every == 0
            self._last_stays |= is_last and (is_validated or end not in (None, "finished"))
            has_row = self._last_stays or (is_last and end is not None)
            if has_row or (is_last and not self._rows):
                self.shown_loss = total / losses if losses else math.nan
            if has_row:
                values = {name: column[i] for name, column in columns.items()}
                row = metric_row(self.job, self.update, values, self.shown_loss, seconds_an_update)
                norms = {name: json_number(column[i]) for name, column in (measured.norms or {}).items()}
                self._rows.append(row | ({"norms": norms} if norms else {}))
            if self._last_stays:
                self.since_row = (0.0, 0)

    def take(self, score: Score | None, is_finished: bool) -> tuple[list[Row], LastRow]:
        """The rows that were added, and apart from them that of the last update if the run is finished.

        The norms of the layers, where they are measured, are in a row under "norms", by name.
        """
        *rows, last = self._rows or [{}]
        scored = last | (score_columns(self.job, self.update, score) if score else {})
        if not is_finished:
            return [*rows, *([scored] if scored else [])], LastRow()
        goes_on = scored if self._is_validated else last
        return rows, LastRow(scored, goes_on if self._last_stays else None)
