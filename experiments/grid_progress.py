"""What a person sees while a grid runs: lines, or a live table on a terminal."""

from __future__ import annotations

import math
import time
from typing import Any, TextIO

from jaxrnn.population_run import EpochReport, MemberResult
from jaxrnn.progress import duration


class GridProgress:
    """Counts members done, running and left, and tells how long it will take.

    The time left is guessed from the work that is left, parameters x epochs x members, at the pace of the latest epoch.

    Args:
      left: the members of the command that are not finished.
      done: how many others were finished before.
      epochs: of each.
      stream: where to write.
    """

    def __init__(self, left: list[dict[str, Any]], done: int, epochs: int, stream: TextIO):
        self.left, self.epochs, self.stream = left, epochs, stream
        self.states = {"done": done, "running": 0, "left": len(left)}
        self.seconds_of_work = math.nan
        self.live: Any = None
        self.table_rows: list[tuple[str, ...]] = []

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

    def begin(self, name: str, group: list[dict[str, Any]]) -> None:
        """A population starts."""
        self.states["running"] = len(group)
        self.left = [row for row in self.left if row not in group]
        self.states["left"] = len(self.left)
        self._say(f"{name}: {len(group)} members of {group[0]['parameters']:,} parameters; {self._counts()}")

    def epoch(self, name: str, group: list[dict[str, Any]], report: EpochReport) -> None:
        """A population has done an epoch."""
        valid = [float(row["valid/loss_nats"]) for row in report.rows]
        best = f"best validation {min(valid):.4f} nats" if valid else "none left"
        work = group[0]["parameters"] * max(len(report.rows), 1)
        self.seconds_of_work = report.seconds / work
        left = report.running * group[0]["parameters"] * max(self.epochs - report.epoch, 0)
        left += sum(row["parameters"] * self.epochs for row in self.left)
        self._say(
            f"{name}: epoch {report.epoch}, {len(report.rows)} members, {best}, {report.seconds:.1f} s an epoch, "
            f"about {duration(left * self.seconds_of_work)} left"
        )

    def finished(self, group: list[dict[str, Any]], results: list[MemberResult]) -> None:
        """A population is done and recorded."""
        self.states["done"] += len(group)
        self.states["running"] = 0
        for result in results:
            row = group[result.number]
            self.table_rows.append(
                (
                    row["cell"],
                    f"{row['layers']} x {row['hidden']}",
                    f"{row['learning_rate']:.4g}",
                    f"{row['dropout_rate']:g}",
                    str(row["seed"]),
                    result.status,
                    str(result.best_epoch),
                    f"{result.valid_loss_nats:.4f}",
                    f"{result.test_loss_nats:.4f}",
                )
            )
            self._say("  ".join(self.table_rows[-1]))
        self._say(self._counts())

    def _counts(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in self.states.items())

    def _say(self, line: str) -> None:
        if self.live is None:
            self.stream.write(f"{time.strftime('%H:%M:%S')} {line}\n")
            self.stream.flush()
            return
        from rich.table import Table

        names = ("cell", "layers", "rate", "dropout", "seed", "how", "epoch", "valid", "test")
        table = Table(*names, title=self._counts(), caption=line)
        for row in self.table_rows[-30:]:
            table.add_row(*row)
        self.live.update(table, refresh=True)
