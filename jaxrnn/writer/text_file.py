"""The file that a text is saved in: never over one that somebody else wrote."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from jaxrnn.storage.small_files import write_atomically
from jaxrnn.terminal.printable import printable


class TextFile:
    """A path, and what was last written there. As a string it is the path, safe to show."""

    def __init__(self, path: Path):
        self.path = path
        self._own: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return printable(str(self.path), keep="")

    @property
    def is_written(self) -> bool:
        """Whether `write` was here."""
        return self._own is not None

    @property
    def is_free(self) -> bool:
        """Whether there is no file of that name, or what `write` left, unchanged."""
        return not os.path.lexists(self.path) or _mark(self.path) == self._own

    def write(self, text: str) -> None:
        """Writes the file whole or not at all; see `write_atomically`."""
        write_atomically(self.path, text)
        self._own = _mark(self.path)


def free_name(path: Path) -> Path:
    """This path if there is no such file, else one with a number that there is not."""
    names = (path if n == 1 else path.with_stem(f"{path.stem}-{n}") for n in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def _mark(path: Path) -> tuple[int, ...] | None:
    """What tells a file from another one of its name, or from itself after a change."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
