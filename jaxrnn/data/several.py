"""A text out of several files, of a directory, or of standard input."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxrnn.data.reading import open_regular
from jaxrnn.errors import DataError
from jaxrnn.terminal.printable import printable

STDIN = ("-", "/dev/stdin")
ENDING = ".txt"


class JoinedFiles(io.RawIOBase):
    """Files read one after the other as if they were one, each open only while it is read.

    Args:
      paths: of regular files.
      mark: bytes that are left out at the start of each file but the first, such as a byte order mark.

    Raises:
      DataError: if one is no regular file or cannot be read.
    """

    def __init__(self, paths: Sequence[str | Path], mark: bytes = b""):
        self.paths, self.mark = list(paths), mark
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """To 0, forward by reading what lies before, or to the end; gives where it is, marks of files included."""
        if whence == os.SEEK_END:
            self._number, self._at = len(self.paths), 0
            return sum(map(_size, self.paths))
        self._number, self._at = 0, 0  # the file that is read, and where in it
        return len(self.read(offset)) if offset else 0

    def read(self, size: int = -1) -> bytes:
        """As many bytes as asked for, or all that are left."""
        blocks: list[bytes] = []
        while self._number < len(self.paths) and size:
            with open_regular(self.paths[self._number]) as file:
                file.seek(self._left_out(self._number, file) + self._at)
                blocks.append(file.read(size))
            self._at += len(blocks[-1])
            size = size - len(blocks[-1]) if size > 0 else size
            if size:
                self._number, self._at = self._number + 1, 0
        return b"".join(blocks)

    def place(self, offset: int, line: int) -> tuple[str, int, int]:
        """The file in which a byte and a line of the whole lie, and where in that file."""
        for number, path in enumerate(self.paths):
            with open_regular(path) as file:
                start = self._left_out(number, file)
                file.seek(start)
                content = file.read()
            if offset < len(content):
                break
            offset, line = offset - len(content), line - content.count(b"\n")
        return str(path), offset + start, line

    def _left_out(self, number: int, file: io.BufferedReader) -> int:
        """How many bytes at a file's start are no text."""
        return len(self.mark) if number and self.mark and file.read(len(self.mark)) == self.mark else 0


def _size(path: str | Path) -> int:
    with open_regular(path) as file:
        return os.fstat(file.fileno()).st_size


def files_in(directory: str | Path) -> list[Path]:
    """The text files below a directory, in the order of their paths: those whose name ends in .txt, hidden ones not.

    Raises:
      DataError: if there is none.
    """
    root = Path(directory)
    found = [
        path
        for path in sorted(root.rglob(f"*{ENDING}"), key=lambda path: path.relative_to(root).parts)
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    if not found:
        shown = printable(str(root), keep="")
        raise DataError(f"expected a directory with files that end in {ENDING}, got none in {shown}; name the files")
    return found


def read_stdin() -> io.BytesIO:
    """All of standard input.

    Raises:
      DataError: if it is closed, or a terminal, on which a person would have to type the text.
    """
    stream = sys.stdin
    with contextlib.suppress(ValueError):
        if stream is not None and not stream.isatty():
            return io.BytesIO(stream.buffer.read())
    raise DataError(
        "expected a text on standard input, got a terminal or nothing; give a file, or: jaxrnn ... - < FILE"
    )
