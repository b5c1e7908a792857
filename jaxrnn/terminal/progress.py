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
LEAST_BAR = 10  # columns, where all is on one line


class Status(NamedTuple):
    """Where a training run stands.

    Attributes:
      update: updates done.
      updates: updates in all.
      numbers: loss, speed and what else the task tells, in one line, two spaces between them.
      seconds_left: estimate.
    """

    update: int
    updates: int
    numbers: str
    seconds_left: float

    def parts(self) -> list[str]:
        """What is shown: updates first, time last, each with nothing in it that a terminal would obey."""
        numbers = printable(self.numbers, keep="").split("  ")
        return [f"update {self.update:,}/{self.updates:,}", *numbers, f"{duration(self.seconds_left)} left"]


class Progress:
    """Shows a run's progress. A closed or vanished terminal is not an error: the run goes on, logging to its files."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False):
        self._stream = stream if stream is not None else sys.stdout
        self._quiet = quiet or self._stream is None  # Python's stdout is None where it was closed from the start
        self._bar: Any = None  # a rich.live.Live, once there is something to show
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
            self._write("  ".join(status.parts()) + "\n")

    def close(self) -> None:
        """Takes the bar down."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show_bar(self, status: Status) -> None:
        from rich.console import Console
        from rich.live import Live

        if self._bar is None:
            self._bar = Live(console=Console(file=self._stream), auto_refresh=False, vertical_overflow="visible")
            self._bar.start()
        try:
            self._bar.update(_drawn(status, self._bar.console.width), refresh=True)
        except (OSError, ValueError):
            self._bar, self._terminal, self._quiet = None, False, True

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True


class Silent(Progress):
    """Shows nothing, no warnings either: another process of the same job does."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def warning(self, text: str) -> None:
        pass


def _drawn(status: Status, width: int) -> Any:
    """The status as rich draws it, no line of it wider than the terminal: what does not fit goes on another line.

    update 2,281/3,940 ━━━━━━━───── epoch 12  loss 1.116 nats 1.611 bits/char  36,134 chars/s  1:34 left

    update 2,281/3,940 ━━━━━━━───── 1:34 left
    epoch 12  loss 1.116 nats 1.611 bits/char
    36,134 chars/s
    """
    from rich.text import Text

    done, *numbers, left = status.parts()
    lines = ["  ".join([*numbers, left])]
    if len(done) + LEAST_BAR + len(lines[0]) + 2 > width:
        lines = [left, numbers[0]]
        for number in numbers[1:]:
            if len(lines[-1]) + 2 + len(number) <= width:
                lines[-1] += f"  {number}"
            else:
                lines.append(number)
    columns = max(width - len(done) - len(lines[0]) - 2, 0)
    full = columns * status.update // max(status.updates, 1)
    bar = ("━" * full, "bar.complete"), ("─" * (columns - full), "bar.back")
    return Text.assemble(f"{done} ", *bar, " " + "\n".join(lines), no_wrap=True)


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
