"""Files inside a run directory, opened so that nothing in it leads out of it or makes a reader wait.

The run directory itself may be a link. What lies in it may not: a link there could make a resumed run write over a
file that belongs to somebody else, and a pipe could hold it up for ever.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from jaxrnn.errors import CheckpointError, StorageError
from jaxrnn.terminal.printable import printable

_NEVER_FOLLOW = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FILE = frozenset({errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR, errno.ENODEV, errno.EOPNOTSUPP})


@contextlib.contextmanager
def writing(path: Path, remedy: str, what: str = "written") -> Iterator[None]:
    """What the system refuses in the block becomes a StorageError: the path cannot be written, why, and the remedy."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{printable(str(path))} cannot be {what}: {error.strerror}; {remedy}") from error


def open_to_append(path: Path) -> int:
    """A descriptor to read a regular file with and to append to it; the file is made if it is missing.

    Raises:
      CheckpointError: if there is something else of that name: a link, also a hard one, a pipe, a directory.
      StorageError: if it cannot be opened.
    """
    with writing(path, "make it writable, or train in another --run"):
        return _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)


def open_to_read(path: Path) -> int:
    """A descriptor to read a regular file with.

    Raises:
      CheckpointError: if there is something else of that name: a link, a pipe, a directory.
      OSError: if it cannot be opened.
    """
    return _open(path, os.O_RDONLY)


def open_new(path: Path) -> int:
    """A descriptor to write a file with that was not there before. What had the name is removed, a link unfollowed.

    Raises:
      OSError: if that cannot be done.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NEVER_FOLLOW, 0o666)


def read_inside(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
      path: the file.
      most: the largest size that is read, in bytes.

    Raises:
      CheckpointError: if there is something else of that name, or a larger file.
      OSError: if it cannot be read; FileNotFoundError if it is missing.
    """
    with os.fdopen(open_to_read(path), "rb") as file:
        content = file.read() if most is None else file.read(most + 1)
    if most is not None and len(content) > most:
        raise CheckpointError(f"{printable(str(path))} is larger than {most} bytes, not a run's file")
    return content


def refuse_linked_directory(path: Path) -> None:
    """Refuses a directory of a run that is a link, or no directory; one that is missing is no fault.

    Raises:
      CheckpointError: with its name.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "something else"
        raise CheckpointError(
            f"{printable(str(path))} is {what}, not a directory of the run; move what it leads to in its place, or "
            "remove it"
        )


def _open(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | _NEVER_FOLLOW, 0o666)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _not_a_file(path) from error
        raise
    status = os.fstat(descriptor)
    # A file of two names may belong to somebody else under the other one: it is read, never appended to.
    if stat.S_ISREG(status.st_mode) and (status.st_nlink == 1 or not flags & os.O_APPEND):
        return descriptor
    os.close(descriptor)
    raise _not_a_file(path)


def _not_a_file(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{printable(str(path))} is a link, a pipe or a directory, not a file of the run; put a copy of the file in "
        "its place, or remove it"
    )
