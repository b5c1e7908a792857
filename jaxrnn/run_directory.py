"""The run directory: config.json, vocabulary.json, metrics.jsonl, samples.txt, checkpoints, and one owner at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from jaxrnn.config import CHANGEABLE, TrainConfig, flag
from jaxrnn.errors import CheckpointError, ConfigurationError, StorageError
from jaxrnn.printable import printable

FORMAT = 1
MAX_JSON_BYTES = 1 << 20
# What a start that was killed at once may leave behind, in a directory that holds no run yet.
_OWN_FILES = frozenset({"lock", "owner.json", "vocabulary.json"})
_TEMPORARY = re.compile(r"\.write-test-\d+|\.(?:config|owner)\.json\.\d+|\.vocabulary\.json\.\w{1,16}")
_SAMPLE_HEADING = re.compile(r"=== update (\d+), temperature (\S+), (\d+) characters ===\n")


class AppendLog:
    """A file that is only appended to, with its length and digest known, so that a restart can cut it back.

    What cannot be written, since the disk is full, is kept and tried again with what comes next; `sync` raises the
    error. So a row is never torn or lost while the process lives.

    Args:
      path: the file; made if missing.
      position: where to cut it: what `position()` gave when the state was saved, or None for its beginning.

    Raises:
      CheckpointError: if the file no longer begins with what was there when the state was saved.
    """

    def __init__(self, path: Path, position: dict[str, Any] | None):
        self.path = path
        self._digest = hashlib.sha256()
        self._bytes = 0
        path.touch()
        if position is not None:
            with path.open("rb") as file:
                kept = file.read(position["bytes"])
            self._digest.update(kept)
            self._bytes = len(kept)
            if self.position() != position:
                raise CheckpointError(
                    f"{printable(path.name)} was changed since the checkpoint was saved; restore it from a copy, or "
                    "move the run directory away and train anew"
                )
        os.truncate(path, self._bytes)
        self._file = path.open("ab", buffering=0)
        self._waiting = b""

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
        try:
            self._write()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(
                f"{printable(str(self.path))} cannot be written: {error.strerror}; free some space"
            ) from error

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
        """The length in bytes and the SHA-256 of the content."""
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        self._file.close()


class RunDirectory:
    """Names and files of one run directory."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.vocabulary_path = self.path / "vocabulary.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.samples_path = self.path / "samples.txt"
        self.checkpoints = self.path / "checkpoints"
        self.plots = self.path / "plots"

    def exists(self) -> bool:
        """Whether a run was begun here."""
        try:
            return self.config_path.is_file()
        except OSError:  # such as a name that is too long
            return False

    def prepare(self) -> None:
        """Makes the directory, or refuses one that holds something else.

        Raises:
          ConfigurationError: if the path cannot be a run directory.
          StorageError: if it cannot be made or written.
        """
        check_path(self.path)
        try:
            if self.path.exists() and not self.path.is_dir():
                raise ConfigurationError(f"--run {printable(str(self.path))} is not a directory; choose another name")
            if self.path.is_dir() and not self.exists():
                names = {name for name in os.listdir(self.path) if not _TEMPORARY.fullmatch(name)}
                others = sorted(names - _OWN_FILES if "lock" in names else names)
                if others:
                    raise ConfigurationError(
                        f"--run {printable(str(self.path))} holds {printable(others[0])} but no run; choose a new or "
                        "empty directory, so that nothing of yours is overwritten"
                    )
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".write-test-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise StorageError(
                f"the run directory {printable(str(self.path))} cannot be written: {error.strerror}; choose "
                "another --run"
            ) from error

    def lock(self) -> RunLock:
        """The right to write here, for one process at a time."""
        return RunLock(self.path)

    def read_config(self) -> dict[str, Any]:
        """The content of config.json.

        Raises:
          ConfigurationError: if there is no run here.
          CheckpointError: if the file is damaged or of a newer version.
        """
        if not self.exists():
            raise ConfigurationError(
                f"{printable(str(self.path))} holds no run: config.json is missing; give the directory that "
                "`jaxrnn train --run` named"
            )
        content = read_json(self.config_path)
        parts = content if isinstance(content, dict) else {}
        if not all(isinstance(parts.get(name), dict) for name in ("config", "data", "environment")):
            raise CheckpointError(
                f"{printable(str(self.config_path))} is not a run's configuration; restore it from a copy"
            )
        if content.get("format") != FORMAT:
            found = printable(repr(content.get("format")), keep="")[:40]
            raise CheckpointError(
                f"{printable(str(self.config_path))} has format {found}, "
                f"this version reads {FORMAT}; use the jaxrnn that wrote it"
            )
        return content

    def write_config(self, content: dict[str, Any]) -> None:
        """Writes config.json whole or not at all."""
        write_atomically(self.config_path, json.dumps({"format": FORMAT, **content}, indent=2) + "\n")

    def refuse_other_settings(self, config: TrainConfig) -> None:
        """Compares a configuration with the one this run was begun with.

        Raises:
          ConfigurationError: if a setting differs that may not change, with a table of all that do.
        """
        stored = TrainConfig.from_json(self.read_config()["config"])
        different = stored.differences(config, ignore=CHANGEABLE)
        if different:
            rows = [
                f"{flag(name):<24} this run: {printable(str(old)):<20} now: {printable(str(new))}"
                for name, old, new in different
            ]
            raise ConfigurationError(
                f"{printable(str(self.path))} holds a run with other settings ({len(different)} differ); use another "
                f"--run, or these settings. May change: {', '.join(sorted(flag(n) for n in CHANGEABLE))}",
                rows,
            )


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

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigurationError(
                f"another process trains in {printable(str(self._directory))} ({self._describe_owner()}); wait for it, "
                "stop it, or choose another --run"
            ) from None
        except OSError as error:
            raise StorageError(
                f"{printable(str(self._directory))} cannot be locked: {error.strerror}; choose another --run"
            ) from error
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


def check_path(path: Path) -> None:
    """Refuses names that a shell or a file system would take for something else.

    Raises:
      ConfigurationError: for control characters, over-long names, names that begin with a dash, and empty names.
    """
    for part in path.parts:
        if not part.isprintable() or len(part.encode("utf-8", "surrogatepass")) > 255 or part.startswith("-"):
            raise ConfigurationError(
                f"--run expects printable names of at most 255 bytes that do not begin with a dash; got "
                f"{printable(part, keep='')[:60]!r}"
            )
    if not path.name:
        raise ConfigurationError(f"--run expects a directory name; got {printable(str(path))!r}")


def default_run_path(config: TrainConfig) -> Path:
    """Where a run goes without --run: runs/TEXT-CELL-HIDDEN."""
    text = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(config.text).stem).strip("-.") or "text"
    layers = f"x{config.layers}" if config.layers > 1 else ""
    return Path("runs") / f"{text[:100]}-{config.cell}-{config.hidden}{layers}"


def write_atomically(path: Path, text: str) -> None:
    """Writes a small file whole or not at all, and on disk when this returns.

    Raises:
      StorageError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StorageError(
            f"{printable(str(path))} cannot be written: {error.strerror}; free some space or choose another --run"
        ) from error


def remove_temporary_files(directory: Path) -> None:
    """Removes what a killed process left half-written. Only for the owner of the lock."""
    for entry in list(os.scandir(directory)):
        if _TEMPORARY.fullmatch(entry.name):
            os.unlink(entry.path)


def sync_directory(path: Path) -> None:
    """Puts the names in a directory on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """Reads a small JSON file.

    Raises:
      CheckpointError: if it is larger than 1 MB or not JSON.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{printable(str(path))} is larger than {MAX_JSON_BYTES} bytes, not a run's file")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(
            f"{printable(str(path))} cannot be read: {type(error).__name__}; restore it from a copy"
        ) from error


def json_number(value: float) -> float | str:
    """A float as JSON may hold it: what is not finite becomes "inf", "-inf" or "nan"."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def sample_entry(update: int, temperature: float, text: str) -> str:
    """One sample as samples.txt holds it. The heading tells its length, so that no text can be taken for a heading."""
    return f"=== update {update}, temperature {temperature:g}, {len(text)} characters ===\n{text}\n\n"


def read_samples(path: Path) -> list[tuple[int, float, str]]:
    """(update, temperature, text) of each sample of samples.txt; a torn last one is passed over."""
    with open(path, encoding="utf-8", errors="surrogatepass", newline="") as file:
        content = file.read()
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
      CheckpointError: if another line is damaged.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CheckpointError(
                f"line {number} of {printable(str(path))} is not JSON; restore it from a copy"
            ) from error
        rows.append({k: float(v) if v in ("inf", "-inf", "nan") else v for k, v in row.items()})
    return rows
