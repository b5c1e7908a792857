"""Small files, read with a limit and written whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from jaxrnn.errors import CheckpointError, StorageError
from jaxrnn.storage.files_inside import open_new, read_inside, writing
from jaxrnn.terminal.printable import printable

MAX_JSON_BYTES = 1 << 20
TEMPORARY = re.compile(
    r"\.write-test-\d+|\.vocabulary\.json\.\w{1,16}"
    r"|\.(?:(?:config|owner|test|sweep|grid|members|seconds)\.json|(?:results|metrics)\.jsonl|results\.csv|table\.md)\.\d+"
)


def write_atomically(path: Path, content: str | bytes | Iterable[Any]) -> None:
    """Writes a file whole or not at all, and on disk when this returns: text as UTF-8, bytes, or parts of either.

    A link of that name is replaced by the file, never followed. What a killed process left of the same file goes.

    Raises:
      StorageError: if it cannot be written, or something else than a file has that name.
    """
    refuse_what_is_no_file(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path, "free some space or give another path"):
        try:
            for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
                if left.suffix[1:].isdecimal() and int(left.suffix[1:]) not in psutil.pids():
                    left.unlink(missing_ok=True)
            with os.fdopen(open_new(temporary), "wb") as file:
                parts: Iterable[Any] = [content] if isinstance(content, str | bytes) else content
                for part in parts:
                    file.write(part.encode("utf-8") if isinstance(part, str) else part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync(path.parent)
        except BaseException:  # also one that is raised where the parts are made
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def refuse_what_is_no_file(path: Path) -> None:
    """Refuses a path at which a file would replace something else: a directory, a device, a pipe; or a link to one.

    Raises:
      StorageError: with what is there, or with the directory that is missing.
    """
    shown = printable(str(path), keep="")
    try:
        mode = os.stat(path).st_mode
    except OSError:  # nothing, or a link that leads nowhere
        if os.path.lexists(path.parent):
            return
        folder = printable(str(path.parent), keep="")
        raise StorageError(f"{shown} cannot be written: there is no directory {folder}; make it first") from None
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise StorageError(f"{shown} is {what}, not a file; give the path of a file")


def remove_temporary_files(directory: Path) -> None:
    """Removes what a killed process left half-written. Only for the owner of the lock."""
    for entry in list(os.scandir(directory)):
        if TEMPORARY.fullmatch(entry.name):
            os.unlink(entry.path)


def sync(path: str | Path) -> None:
    """Puts a file, or the names in a directory, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Puts a directory and all that is below it on disk."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            sync(os.path.join(folder, name))
        sync(folder)


def read_json(path: Path, most: int = MAX_JSON_BYTES) -> Any:
    """Reads a small JSON file.

    Raises:
      CheckpointError: if it is a link or no file, larger than 1 MB, or not JSON.
    """
    try:
        return json.loads(read_inside(path, most).decode("utf-8"))
    except CheckpointError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # a ValueError: not UTF-8, not JSON, a number of 5000 digits
        raise CheckpointError(
            f"{printable(str(path))} cannot be read: {type(error).__name__}; restore it from a copy"
        ) from error
