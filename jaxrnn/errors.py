"""Named errors: one a cause, each with the exit code that a supervisor reads.

A message says in one line what was expected, what came, and what to do; `details` may add 19 more.
The command line prints them without a traceback and leaves with `exit_code`; in a notebook they are plain exceptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MAX_DETAIL_LINES = 19

EXIT_DONE = 0
EXIT_CONFIGURATION = 2
EXIT_DATA = 3
EXIT_CHECKPOINT = 4
EXIT_NUMERIC = 5
EXIT_STORAGE = 6
EXIT_STOPPED = 75
EXIT_INTERRUPTED = 130


class JaxrnnError(ValueError):
    """A fault that the user can mend.

    Args:
      message: one line: what was expected, what came, what to do.
      details: further lines, such as a table of differences. Only the first 19 are kept, the last of them then
        says how many were left out.

    Attributes:
      rows: where a `fit` in memory ended with it, what was measured until then, as `FitResult.rows`; else empty.
    """

    exit_code = EXIT_CONFIGURATION
    rows: Sequence[list[dict[str, Any]]] = ()

    def __init__(self, message: str, details: Sequence[str] = ()):
        super().__init__(message)
        details = tuple(details)
        if len(details) > MAX_DETAIL_LINES:
            left_out = len(details) - MAX_DETAIL_LINES + 1
            details = (*details[: MAX_DETAIL_LINES - 1], f"... and {left_out} more")
        self.details = details
        for line in details:  # which a traceback shows below the message
            self.add_note("  " + line)


class ConfigurationError(JaxrnnError):
    """An option, or a combination of options, that cannot be used."""

    exit_code = EXIT_CONFIGURATION


class DataError(JaxrnnError):
    """A text that cannot be read, or is too short for what was asked."""

    exit_code = EXIT_DATA


class UnknownSymbolError(DataError):
    """A text with a character that the vocabulary lacks."""


class CheckpointError(JaxrnnError):
    """A checkpoint or run directory that is damaged or belongs to another run."""

    exit_code = EXIT_CHECKPOINT


class NumericError(JaxrnnError):
    """Training left the finite numbers."""

    exit_code = EXIT_NUMERIC


class StorageError(JaxrnnError):
    """The run directory cannot be written."""

    exit_code = EXIT_STORAGE
