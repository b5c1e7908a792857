"""What a person sees of a long job: one live bar on a terminal, plain lines elsewhere.

Whatever is shown is escaped here, at the end of its way, so that no caller can forget it: names and texts come from
files that somebody else may have written.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any, NamedTuple, TextIO

from jaxrnn.terminal.printable import printable

SECONDS_BETWEEN_LINES = 10.0


class Status(NamedTuple):
    """Where a training run stands.

    Attributes:
      update: updates done.
      updates: updates in all.
      numbers: loss, speed and what else the task tells, in one line.
      seconds_left: estimate.
    """

    update: int
    updates: int
    numbers: str
    seconds_left: float

    def describe(self) -> str:
        """The numbers in one line."""
        return f"{self.numbers}  {duration(self.seconds_left)} left"


class Progress:
    """Shows a run's progress. A closed or vanished terminal is not an error: the run goes on, logging to its files."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False):
        self._stream = stream if stream is not None else sys.stdout
        self._quiet = quiet or self._stream is None  # Python's stdout is None where it was closed from the start
        self._bar: Any = None  # a rich.progress.Progress, once there is something to show
        self._task: Any = None
        self._last_line = -math.inf
        self._terminal = not self._quiet and self._stream.isatty()

    def message(self, text: str) -> None:
        """Prints a line, or several; what a terminal would obey is escaped."""
        if self._quiet:
            return
        text = printable(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._write(text + "\n")

    def warning(self, text: str) -> None:
        """Prints one line to stderr, with the program's name; what a terminal would obey is escaped."""
        try:
            sys.stderr.write(f"jaxrnn: warning: {printable(text, keep='')}\n")
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):  # it is None where it was closed from the start
            pass  # a closed stderr must not end the run

    def show(self, status: Status, force: bool = False) -> None:
        """Updates the bar, or prints a line if the last is some seconds old."""
        if self._quiet:
            return
        if self._terminal:
            self._show_bar(status)
            return
        now = time.monotonic()
        if force or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            numbers = printable(status.describe(), keep="")
            self._write(f"update {status.update:,}/{status.updates:,}  {numbers}\n")

    def close(self) -> None:
        """Takes the bar down."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show_bar(self, status: Status) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        if self._bar is None:
            self._bar = RichProgress(
                TextColumn("update"),
                MofNCompleteColumn(),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[numbers]}"),
                console=Console(file=self._stream),
                auto_refresh=False,
            )
            self._bar.start()
            self._task = self._bar.add_task("train", total=status.updates, numbers="")
        try:
            numbers = printable(status.describe(), keep="")
            self._bar.update(self._task, completed=status.update, numbers=numbers, refresh=True)
        except (OSError, ValueError):
            self._bar, self._terminal, self._quiet = None, False, True

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss.

    Example:
      >>> duration(3725)
      '1:02:05'
    """
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
