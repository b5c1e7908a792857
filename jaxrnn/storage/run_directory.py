"""The run directory: its files, its configuration, and what may stand in it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

from jaxrnn.checks import flag
from jaxrnn.config import CHANGEABLE, TrainConfig
from jaxrnn.data.several import STDIN
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.storage.files_inside import open_new, refuse_linked_directory, writing
from jaxrnn.storage.lock import run_lock
from jaxrnn.storage.record_checks import fault_in_record
from jaxrnn.storage.small_files import TEMPORARY, read_json, refuse_what_is_no_file, write_atomically
from jaxrnn.tasks.users_cells import is_known_own
from jaxrnn.terminal.printable import printable

FORMAT = 1
_OWN_FILES = frozenset({"lock", "owner.json", "vocabulary.json", "checkpoints"})
_FILES = _OWN_FILES | {"config.json", "metrics.jsonl", "norms.jsonl", "samples.txt", "test.json"}
_FOLDERS = frozenset({"checkpoints", "members"})


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
        self.test_path = self.path / "test.json"

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return os.path.lexists(self.config_path)

    def has_lost_checkpoints(self) -> bool:
        """Whether rows were logged and the directory of checkpoints, which is there before them, is not."""
        logged = self.metrics_path.is_file() and self.metrics_path.stat().st_size > 0
        return logged and not os.path.lexists(self.checkpoints)

    def prepare(self) -> None:
        """Makes the directory, or refuses one that holds something else.

        Raises:
          ConfigurationError: if the path cannot be a run directory.
          StorageError: if it cannot be made or written.
        """
        with writing(self.path, "make it writable, or train in another --run"):
            names = {name for name in names_in(self.path) if not TEMPORARY.fullmatch(name)}
            others = sorted(names - _OWN_FILES if "lock" in names else names)
            if others and not self.exists():
                raise holds_something_else(self.path, others[0], "run")
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".write-test-{os.getpid()}"
            os.close(open_new(probe))
            probe.unlink()

    def make_checkpoints(self) -> None:
        """Makes the directory of checkpoints, empty.

        Raises:
          CheckpointError: if it is a link.
          StorageError: if it cannot be made.
        """
        refuse_linked_directory(self.checkpoints)
        with writing(self.checkpoints, "make it writable, or train in another --run", "made"):
            self.checkpoints.mkdir(exist_ok=True)

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """The right to write here, for one process at a time."""
        return run_lock(self.path)

    def read_config(self) -> dict[str, Any]:
        """The content of config.json.

        Raises:
          ConfigurationError: if there is no run here.
          CheckpointError: if the file is damaged or of a newer version.
        """
        if not self.exists():
            shown, members = printable(str(self.path)), sorted(self.path.glob("members/*/config.json"))
            one = printable(str(members[0].parent)) if members else "that `jaxrnn train --run` named"
            found = f"holds {len(members)} members" if members else "holds no run: config.json is missing"
            raise ConfigurationError(f"{shown} {found}; give the directory {'of one, ' if members else ''}{one}")
        content, shown = read_json(self.config_path), printable(str(self.config_path))
        parts = content if isinstance(content, dict) else {}
        if not all(isinstance(parts.get(name), dict) for name in ("config", "data", "environment")):
            raise CheckpointError(f"{shown} is not a run's configuration; restore it from a copy")
        if content.get("format") != FORMAT:
            found = f"{printable(repr(content.get('format')), keep='')[:40]}, this version reads {FORMAT}"
            raise CheckpointError(f"{shown} has format {found}; use the jaxrnn that wrote it")
        if fault := fault_in_record(content):
            raise CheckpointError(f"{shown}: {fault}; restore it from a copy")
        return content

    def write_config(self, content: dict[str, Any]) -> None:
        """Writes config.json whole or not at all."""
        write_atomically(self.config_path, json.dumps({"format": FORMAT, **content}, indent=2) + "\n")

    def write_plot(self, name: str, picture: bytes) -> Path:
        """Writes a picture into plots/, whole or not at all, and gives its path.

        Raises:
          CheckpointError: if plots/ is a link.
          StorageError: if it cannot be written.
        """
        refuse_linked_directory(self.plots)
        with writing(self.plots, "give another --output", "made"):
            self.plots.mkdir(exist_ok=True)
        write_atomically(self.plots / name, picture)
        return self.plots / name

    def refuse_other_settings(self, config: TrainConfig) -> None:
        """Compares a configuration with the one this run was begun with.

        Raises:
          ConfigurationError: if a setting differs that may not change, with a table of all that do.
        """
        stored = stored_config(self.read_config()["config"], self.config_path)
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


def stored_config(values: dict[str, Any], path: Path) -> TrainConfig:
    """The settings that a file holds.

    Args:
      values: as `TrainConfig.to_json` gave them.
      path: the file, to name it.

    Raises:
      CheckpointError: if a value cannot be.
      ConfigurationError: if this version lacks a setting, or the cell is a program's own that is not known.
    """
    is_known_own(values.get("cell"))
    try:
        return TrainConfig.from_json(values)
    except ConfigurationError as error:
        if set(values) - {field.name for field in dataclasses.fields(TrainConfig)}:  # another version wrote it
            raise
        raise CheckpointError(
            f"{printable(str(path), keep='')}: {error}; restore it from a copy", error.details
        ) from error


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


def names_in(path: Path) -> list[str]:
    """What a directory holds that a run or a sweep is to be in; nothing if it is not there yet.

    Raises:
      ConfigurationError: as `check_path`, or if it is no directory.
    """
    check_path(path)
    if os.path.lexists(path) and not path.is_dir():
        raise ConfigurationError(f"--run {printable(str(path))} is not a directory; choose another name")
    return os.listdir(path) if path.is_dir() else []


def holds_something_else(path: Path, found: str, wanted: str) -> ConfigurationError:
    """The error for a directory that holds something else than a run or a sweep."""
    return ConfigurationError(
        f"--run {printable(str(path))} holds {printable(found)} but no {wanted}; choose a new or empty directory, so "
        "that nothing of yours is overwritten"
    )


def check_output(path: Path) -> None:
    """Refuses a file to write that would take the place of one that a run needs, or of something else than a file.

    Raises:
      ConfigurationError: if it belongs to a run.
      StorageError: if it is no file, see `refuse_what_is_no_file`.
    """
    folder = path.parent.resolve()  # a link is replaced, not followed
    inside = [above.parent for above in (folder, *folder.parents) if above.name in _FOLDERS]
    if path.name in _FILES:
        inside.append(folder)
    if any(RunDirectory(run).exists() for run in inside):
        raise ConfigurationError(
            f"{printable(str(path), keep='')} belongs to the run in that directory, which would be lost; give another "
            "path"
        )
    refuse_what_is_no_file(path)


def default_run_path(config: TrainConfig, source: Path | None = None) -> Path:
    """Where a run goes without --run: runs/TEXT-CELL-HIDDEN (a task: TASK-LENGTH for TEXT), then xLAYERS above 1 and
    -from-SOURCE.
    """
    first = config.text if isinstance(config.text, str) else config.text[0]
    data = Path(first).resolve().stem if config.task == "text" else f"{config.task}-{config.sequence_length}"
    data = "stdin" if first in STDIN else data
    of = source.resolve().name.removesuffix(".safetensors") if source else ""
    text, begun = (re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:100] for name in (data, of))
    layers = f"x{config.layers}" if config.layers > 1 else ""
    cell = config.cell.rpartition(":")[2]
    begun = begun and f"-from-{begun}"
    return Path("runs") / f"{text or 'text'}-{cell}-{config.hidden}{layers}{begun}"
