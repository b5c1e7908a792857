"""Ctrl-C and SIGTERM as a request: the training loop finishes its update, saves, and leaves."""

from __future__ import annotations

import os
import signal
import sys
import threading

from jaxrnn.errors import EXIT_INTERRUPTED


class StopRequest:
    """Catches SIGINT and SIGTERM while it is entered.

    `reason` is None, "interrupted" (SIGINT) or "stopped" (SIGTERM). A second SIGINT leaves at once; the latest
    checkpoint stays as it is. SIGHUP is ignored, so that a run outlives its terminal. Does nothing outside the main
    thread, where Python delivers no signals.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._request)
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _request(self, number: int, _frame: object) -> None:
        if number == signal.SIGINT and self.reason == "interrupted":
            sys.stderr.write("\njaxrnn: interrupted twice, leaving at once; the latest checkpoint is intact\n")
            sys.stderr.flush()
            os._exit(EXIT_INTERRUPTED)
        self.reason = "interrupted" if number == signal.SIGINT else self.reason or "stopped"
