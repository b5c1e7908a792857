"""The logs of a run, metrics.jsonl and samples.txt: appended to, cut back on a restart, and read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from jaxrnn.errors import CheckpointError
from jaxrnn.storage.files_inside import open_to_append, read_inside, writing
from jaxrnn.terminal.printable import printable

_BLOCK = 1 << 20
_SAMPLE_HEADING = re.compile(r"=== update (\d+), temperature (\S+), (\d+) characters ===\n")


class AppendLog:
    """A file that is only appended to, with its length and digest known, so that a restart can cut it back.

    What cannot be written, since the disk is full, is kept and tried again with what comes next; `sync` raises the
    error. So a row is never torn or lost while the process lives.

    Args:
      path: the file; made if missing.
      position: where to cut it: what `position()` gave when the state was saved, or None for its beginning.

    Raises:
      CheckpointError: if the file no longer begins with what was there when the state was saved, or is a link or no
        file.
      StorageError: if it cannot be opened.
    """

    def __init__(self, path: Path, position: dict[str, Any] | None):
        self.path = path
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._waiting = b""
        self._file = os.fdopen(open_to_append(path), "ab", buffering=0)
        try:
            if position is not None:
                self._take_up(position)
            os.ftruncate(self._file.fileno(), self._bytes)
        except BaseException:
            self._file.close()
            raise

    def _take_up(self, position: dict[str, Any]) -> None:
        wanted = position["bytes"]
        while self._bytes < wanted:
            kept = os.pread(self._file.fileno(), min(_BLOCK, wanted - self._bytes), self._bytes)
            if not kept:
                break
            self._digest.update(kept)
            self._bytes += len(kept)
        if self.position() != position:
            raise CheckpointError(
                f"{printable(self.path.name)} was changed since the checkpoint was saved; restore it from a copy, or "
                "move the run directory away and train anew"
            )

    def append(self, text: str) -> None:
        """Appends text and hands it to the operating system, if it takes it."""
        self._waiting += text.encode("utf-8", "surrogatepass")
        with contextlib.suppress(OSError):
            self._write()

    def sync(self) -> None:
        """Puts the file on disk.

        Raises:
          StorageError: if that cannot be done.
        """
        with writing(self.path, "free some space"):
            self._write()
            os.fsync(self._file.fileno())

    def _write(self) -> None:
        if not self._waiting:
            return
        data = memoryview(self._waiting)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self._bytes)
            raise
        self._digest.update(self._waiting)
        self._bytes += len(self._waiting)
        self._waiting = b""

    def position(self) -> dict[str, Any]:
        """The length in bytes and the SHA-256 of the content, with what waits to be written."""
        digest = self._digest.copy()
        digest.update(self._waiting)
        return {"bytes": self._bytes + len(self._waiting), "sha256": digest.hexdigest()}

    def close(self) -> None:
        self._file.close()


def json_number(value: float) -> float | str:
    """A float as JSON may hold it: what is not finite becomes "inf", "-inf" or "nan"."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def sample_entry(update: int, temperature: float, text: str) -> str:
    """One sample as samples.txt holds it. The heading tells its length, so that no text can be taken for a heading."""
    return f"=== update {update}, temperature {temperature:g}, {len(text)} characters ===\n{text}\n\n"


def read_samples(path: Path) -> list[tuple[int, float, str]]:
    """(update, temperature, text) of each sample of samples.txt; a torn last one is passed over."""
    content = read_inside(path).decode("utf-8", "surrogatepass")
    samples, position = [], 0
    while match := _SAMPLE_HEADING.match(content, position):
        start, length = match.end(), int(match[3])
        if start + length > len(content):
            break
        samples.append((int(match[1]), float(match[2]), content[start : start + length]))
        position = start + length + 2
    return samples


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a torn last line, left by a kill, is passed over.

    Raises:
      CheckpointError: if another line is damaged, or it is a link or no file.
    """
    try:
        lines = read_inside(path).split(b"\n")
    except FileNotFoundError:
        return []
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line.decode("utf-8"))
            rows.append({k: float(v) if v in ("inf", "-inf", "nan") else v for k, v in row.items()})
        except (ValueError, RecursionError, AttributeError) as error:
            raise CheckpointError(
                f"line {number} of {printable(str(path))} is not a JSON object; restore it from a copy"
            ) from error
    return rows
