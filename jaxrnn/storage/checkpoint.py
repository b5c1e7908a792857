"""Save and restore the training state with Orbax, so that damage is noticed and never lost from.

A checkpoint is written beside its place under a name that no reader looks at, synced, and renamed. Its metadata holds a
digest of every leaf and of the metadata itself; both are verified on load, since a flipped bit in an array file is
otherwise read as another number. A directory is renamed out of sight before it is deleted.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrnn.errors import CheckpointError, StorageError
from jaxrnn.storage.checkpoint_leaves import from_leaves, has_nan, leaf_digest, leaf_shapes, refuse_nan, to_leaves
from jaxrnn.storage.checkpoint_metadata import metadata_digest, read_metadata
from jaxrnn.storage.files_inside import refuse_linked_directory
from jaxrnn.storage.orbax_quiet import orbax_quiet
from jaxrnn.storage.small_files import sync, sync_tree
from jaxrnn.terminal.printable import first_line, printable

KEEP = 2
_NAME = re.compile(r"update_(\d{10})")
_SAVING, _DELETING = ".saving-", ".deleting-"

Shapes = dict[str, tuple[tuple[int, ...], np.dtype]]


class Reader(NamedTuple):
    """How a checkpoint of one format is read.

    Attributes:
      template: the structure of what it holds, with shapes and dtypes (`jax.eval_shape`). What the files declare beyond
        it is refused before it is read.
      upgrade: makes today's state of it.
      may_be_nan: path names of leaves that may hold a not-a-number.
      others: whether it may hold more leaves, which are left where they are.
    """

    template: Any
    upgrade: Callable[[Any], Any]
    may_be_nan: frozenset[str] = frozenset()
    others: bool = False


class Checkpoint(NamedTuple):
    """A restored state with its metadata (update, digests, lengths of the log files)."""

    state: Any
    metadata: dict[str, Any]


def checkpoint_updates(directory: Path) -> list[int]:
    """Update numbers of the checkpoints in a directory, oldest first; they are not opened.

    Raises:
      CheckpointError: if the directory is a link.
    """
    refuse_linked_directory(directory)
    if not directory.is_dir():
        return []
    found = (_NAME.fullmatch(entry.name) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False))
    return sorted(int(match[1]) for match in found if match)


def save_checkpoint(
    directory: Path,
    state: Any,
    update: int,
    extra: dict[str, Any],
    format: int,
    may_be_nan: frozenset[str] = frozenset(),
    keep: int | None = None,
) -> None:
    """Saves a state and removes all but it and the one before it.

    Newer ones are removed too: if there are any, they were passed over as damaged when this run went on from an older
    one, and would be in its way at the next start.

    Args:
      directory: where checkpoints are kept; made if missing, in a directory that exists.
      state: a `TrainState`, or any pytree of arrays with distinct path names.
      update: the update it belongs to.
      extra: further metadata that JSON can hold.
      format: what a later version knows its structure by.
      may_be_nan: path names of leaves that may hold a not-a-number.
      keep: the update of an older one that stays as well.

    Raises:
      StorageError: if it could not be written, or not be read back, or the directory is a link. Older checkpoints are
        untouched.
      NumericError: if there is a not-a-number in it.
    """
    leaves = to_leaves(state)
    refuse_nan(leaves, update, may_be_nan)
    try:
        refuse_linked_directory(directory)
        if not directory.is_dir():
            directory.mkdir()
            sync(directory.parent)
        metadata = {"format": format, "update": update, "leaves": {k: leaf_digest(v) for k, v in leaves.items()}}
        metadata |= extra
        metadata["digest"] = metadata_digest(metadata)
        target = directory / f"update_{update:010d}"
        saving = directory / f"{_SAVING}{update:010d}"
        remove_leftovers(directory)
        # Where a directory cannot be made Orbax leaves threads behind that wait for minutes: it is tried here first.
        saving.mkdir()
        saving.rmdir()
        from orbax.checkpoint import v1 as ocp

        with orbax_quiet():
            ocp.save(saving.resolve(), leaves, custom_metadata=metadata)
        sync_tree(saving)
        # Not among several processes: Orbax counts its operations, and one that reads alone is then ahead of the
        # others, who wait for each other at the next save for ever.
        if jax.process_count() == 1:
            with orbax_quiet():
                _read(saving, update, {format: {name: (value.shape, value.dtype) for name, value in leaves.items()}})
        if target.exists():
            _delete(target)
        os.rename(saving, target)
        sync(directory)
        others = [number for number in checkpoint_updates(directory) if number != update]
        kept = [number for number in others if number < update][1 - KEEP :]
        for number in others:
            if number not in kept and number != keep:
                _delete(directory / f"update_{number:010d}")
    except (OSError, ValueError, RuntimeError) as error:  # a CheckpointError, a ValueError, comes from reading it back
        # What the system refuses has a number; else Orbax may have waited for a process that is lost.
        if jax.process_count() > 1 and getattr(error, "errno", None) is None:
            from jaxrnn.terminal.command import await_loss

            await_loss()
        raise StorageError(
            f"the checkpoint of update {update} could not be saved in {printable(str(directory))}: "
            f"{first_line(error)}; free some space or make the directory writable"
        ) from error


def take_part_in_save(directory: Path, state: Any, update: int, may_be_nan: frozenset[str] = frozenset()) -> None:
    """What the other processes of a job on several hosts do while one calls `save_checkpoint`: Orbax waits for all.

    Raises:
      NumericError: as there.
    """
    leaves = to_leaves(state)
    refuse_nan(leaves, update, may_be_nan)
    from orbax.checkpoint import v1 as ocp

    with orbax_quiet():
        ocp.save((directory / f"{_SAVING}{update:010d}").resolve(), leaves)


def load_checkpoint(directory: Path, update: int, readers: Mapping[int, Reader]) -> Checkpoint:
    """Restores and verifies one checkpoint.

    Args:
      directory: where checkpoints are kept.
      update: which one.
      readers: for each format that can be read.

    Raises:
      CheckpointError: if anything is missing, damaged or of another shape; the message says what.
    """
    fault = None
    with orbax_quiet():
        try:
            shapes = {format: leaf_shapes(reader.template) for format, reader in readers.items()}
            path, others = directory / f"update_{update:010d}", any(reader.others for reader in readers.values())
            leaves, metadata = _read(path, update, shapes, others)
            for name, value in leaves.items():
                if has_nan(value) and name not in readers[metadata["format"]].may_be_nan:
                    raise CheckpointError(f"leaf {name} is not a number")
        # Orbax and TensorStore raise many kinds; each means that this checkpoint is damaged.
        except Exception as error:
            fault = f"used: {error}" if isinstance(error, CheckpointError) else f"read: {first_line(error)}"
    if fault:
        raise CheckpointError(f"checkpoint of update {update} cannot be {fault}")
    reader = readers[metadata["format"]]
    return Checkpoint(reader.upgrade(from_leaves(leaves, reader.template)), metadata)


def load_latest(
    directory: Path, readers: Mapping[int, Reader], newest: int | None = None, tries: int = 20
) -> tuple[Checkpoint | None, list[str]]:
    """The newest good checkpoint and a warning for each newer one that was passed over.

    Args:
      directory: where checkpoints are kept.
      readers: for each format that can be read.
      newest: none of a later update is looked at.
      tries: how often it looks again where some were removed while it read.

    Returns:
      (None, []) if there is no checkpoint at all.

    Raises:
      CheckpointError: if there are checkpoints and none can be used. Training never silently starts anew.
    """
    passed_over: list[str] = []
    updates = [update for update in checkpoint_updates(directory) if newest is None or update <= newest]
    for update in reversed(updates):
        try:
            checkpoint = load_checkpoint(directory, update, readers)
        except CheckpointError as error:
            passed_over.append(str(error))
            continue
        if passed_over:
            passed_over.append(f"going on from the older checkpoint of update {update}")
        return checkpoint, passed_over
    if tries and not set(updates) <= set(checkpoint_updates(directory)):  # a run that trains meanwhile removed them
        return load_latest(directory, readers, newest, tries - 1)
    if updates:
        raise CheckpointError(
            f"none of the {len(updates)} checkpoints in {printable(str(directory))} can be used; restore the directory "
            "from a copy, or train anew with another --run",
            passed_over,
        )
    return None, passed_over


def remove_leftovers(directory: Path) -> None:
    """Removes what a killed save or delete left behind.

    Raises:
      CheckpointError: if the directory is a link.
    """
    refuse_linked_directory(directory)
    if directory.is_dir():
        for entry in list(os.scandir(directory)):
            if entry.name.startswith((_SAVING, _DELETING)):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


def _read(
    path: Path, update: int, shapes: Mapping[int, Shapes], others: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The leaves and the metadata of one checkpoint, all of it verified."""
    metadata = read_metadata(path, tuple(shapes))
    wanted = shapes[metadata["format"]]
    if metadata["update"] != update:
        raise CheckpointError(f"it was saved at update {metadata['update']} and has another name since")
    from orbax.checkpoint import v1 as ocp

    declared = ocp.metadata(path.resolve()).metadata
    unknown = set(declared) ^ set(wanted) if isinstance(declared, dict) else {""}
    if unknown - (set(declared) - set(wanted) if others else set()):
        raise CheckpointError("its leaves are not those of this model and optimizer")
    for name, (shape, dtype) in wanted.items():
        if tuple(declared[name].shape) != shape or np.dtype(declared[name].dtype) != dtype:
            found = f"{np.dtype(declared[name].dtype)}{list(declared[name].shape)}"
            raise CheckpointError(f"leaf {name} is {found}, this model's is {dtype}{list(shape)}")
    reading: Any = contextlib.nullcontext()  # not a context of its own where all is read: one may be set
    if others:
        reading = ocp.Context()
        reading.pytree.loading.partial_load = True
    with reading:
        leaves = ocp.load(path.resolve(), {name: np.empty(*wanted[name]) for name in wanted})
    for name, value in leaves.items():
        if leaf_digest(value) != metadata["leaves"].get(name):
            raise CheckpointError(f"leaf {name} is not what was saved")
    return leaves, metadata


def _delete(path: Path) -> None:
    hidden = path.with_name(_DELETING + path.name)
    os.rename(path, hidden)
    shutil.rmtree(hidden, ignore_errors=True)
