"""What a person sees while a grid runs: lines, or on a terminal a live table of what is done and what runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

from jaxrnn.terminal import duration

Row = dict[str, Any]


class EpochReport(NamedTuple):
    """What there is to tell after an epoch.

    Attributes:
      epoch: epochs done.
      rows: the losses of each member that did it, as in metrics.jsonl.
      seconds: that it took.
      running: members that go on.
    """

    epoch: int
    rows: list[Row]
    seconds: float
    running: int


SHOWN = 20  # rows at most of what has ended, and as many of what runs


class GridProgress:
    """Counts members done, running and left, and tells how long it will take.

    The time left is guessed from the work that is left, parameters x epochs x members, at the pace of the latest epoch.

    Args:
      left: the members of the command that are not finished.
      done: how many others were finished before.
      epochs: how many a member trains at most.
      stream: where to write.
    """

    def __init__(self, left: list[Row], done: int, epochs: Callable[[Row], int], stream: TextIO):
        self.left, self.epochs, self.stream = left, epochs, stream
        self.states = {"done": done, "running": 0, "left": len(left)}
        self.seconds_of_work = math.nan
        self.live: Any = None
        self.ended: list[tuple[str, ...]] = []
        self.running: list[tuple[str, ...]] = []

    def __enter__(self) -> GridProgress:
        if self.stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self.live = Live(console=Console(file=self.stream), auto_refresh=False)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def begin(self, name: str, group: list[Row]) -> None:
        """A population starts."""
        self.states["running"] = len(group)
        self.left = [row for row in self.left if row not in group]
        self.states["left"] = len(self.left)
        self.running = [(*_names(row), "starts", "", "", "") for row in group]
        self._say(f"{name}: {len(group)} members of {group[0]['parameters']:,} parameters; {self._counts()}")

    def epoch(self, name: str, group: list[Row], report: EpochReport) -> None:
        """A population has done an epoch."""
        valid = [float(row["valid/loss_nats"]) for row in report.rows]
        best = f"best validation {min(valid):.4f} nats" if valid else "none left"
        work = group[0]["parameters"] * max(len(report.rows), 1)
        self.seconds_of_work = report.seconds / work
        ran = [group[row["member"]] for row in report.rows]
        going = [row for row in ran if self.epochs(row) > report.epoch]
        left = sum(row["parameters"] * (self.epochs(row) - report.epoch) for row in going)
        left *= min(report.running / max(len(going), 1), 1)  # the rule of stopping may have ended some
        left += sum(row["parameters"] * self.epochs(row) for row in self.left)
        self.running = [
            (*_names(row), f"{report.epoch} of {self.epochs(row)}", "", f"{loss:.4f}", "")
            for row, loss in zip(ran, valid, strict=True)
        ]
        self._say(
            f"{name}: epoch {report.epoch}, {len(report.rows)} members, {best}, {report.seconds:.1f} s an epoch, "
            f"about {duration(left * self.seconds_of_work)} left"
        )

    def finished(self, group: list[Row], results: list[Row]) -> None:
        """A population is done and recorded, a row of the results each."""
        self.states["done"] += len(group)
        self.states["running"] = 0
        self.running = []
        for result in results:
            losses = (f"{result['valid_loss_nats']:.4f}", f"{result['test_loss_nats']:.4f}")
            self.ended.append((*_names(result), result["status"], str(result["best_epoch"]), *losses))
            self._say("  ".join(self.ended[-1]))
        self._say(self._counts())

    def _counts(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in self.states.items())

    def _say(self, line: str) -> None:
        if self.live is None:
            self.stream.write(f"{time.strftime('%H:%M:%S')} {line}\n")
            self.stream.flush()
            return
        from rich.table import Table

        names = ("cell", "layers", "rate", "dropout", "seed", "state", "best epoch", "valid", "test")
        table = Table(*names, title=self._counts(), caption=line)
        for row in self.ended[-SHOWN:]:
            table.add_row(*row)
        table.add_section()
        for row in self.running[:SHOWN]:
            table.add_row(*row, style="bold")
        self.live.update(table, refresh=True)


def _names(row: Row) -> tuple[str, ...]:
    layers = f"{row['layers']} x {row['hidden']}"
    dropout = f"{row['dropout_rate']:g} {row['dropout_sites']}".strip()
    return row["cell"], layers, f"{row['learning_rate']:.4g}", dropout, str(row["seed"])
