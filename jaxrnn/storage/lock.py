"""One process at a time trains in a run directory."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.storage.files_inside import writing
from jaxrnn.storage.small_files import read_json, remove_temporary_files, write_atomically
from jaxrnn.terminal.printable import printable


@contextlib.contextmanager
def run_lock(directory: Path) -> Iterator[None]:
    """One process owns the directory. The lock is the operating system's: it ends with its owner, however that ends.

    Raises:
      ConfigurationError: on entering, if another process trains here; its process number and host are named.
    """
    from filelock import FileLock, Timeout

    path = directory / "owner.json"
    with contextlib.ExitStack() as stack:
        with writing(directory, "make it writable, or train in another --run", "locked"):
            try:
                stack.enter_context(FileLock(directory / "lock", timeout=0))
            except Timeout:
                raise ConfigurationError(
                    f"another process trains in {printable(str(directory))} ({_describe_owner(path)}); wait for it, "
                    "stop it, or train in another --run"
                ) from None
        owner = {"pid": os.getpid(), "host": platform.node(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        remove_temporary_files(directory)
        if not path.is_file():  # a pipe of that name is not waited for
            with contextlib.suppress(OSError):
                path.unlink()
        write_atomically(path, json.dumps(owner) + "\n")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the directory may be gone, or read-only by now
                path.unlink()


def _describe_owner(path: Path) -> str:
    try:
        owner = read_json(path)
        return printable(f"process {owner['pid']} on {owner['host']}, since {owner['started']}")
    except (OSError, CheckpointError, KeyError, TypeError):
        return "its owner is not known"
