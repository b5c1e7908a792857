"""One process at a time trains in a run directory."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.storage.files_inside import writing
from jaxrnn.storage.small_files import read_json, remove_temporary_files, write_atomically
from jaxrnn.terminal.printable import printable


class RunLock:
    """One process owns the directory. The lock is the operating system's: it ends with its owner, however that ends.

    Raises:
      ConfigurationError: on entering, if another process trains here; its process number and host are named.
    """

    def __init__(self, directory: Path):
        from filelock import FileLock

        self._owner = directory / "owner.json"
        self._directory = directory
        self._lock = FileLock(str(directory / "lock"))

    def __enter__(self) -> RunLock:
        from filelock import Timeout

        with writing(self._directory, "choose another --run", "locked"):
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise ConfigurationError(
                    f"another process trains in {printable(str(self._directory))} ({self._describe_owner()}); wait for "
                    "it, stop it, or choose another --run"
                ) from None
        import platform
        import time

        owner = {"pid": os.getpid(), "host": platform.node(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        try:
            remove_temporary_files(self._directory)
            write_atomically(self._owner, json.dumps(owner) + "\n")
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the directory may be gone, or read-only by now
            self._owner.unlink()
        self._lock.release()

    def _describe_owner(self) -> str:
        try:
            owner = read_json(self._owner)
            return printable(f"process {owner['pid']} on {owner['host']}, since {owner['started']}")
        except (OSError, CheckpointError, KeyError, TypeError):
            return "its owner is not known"
