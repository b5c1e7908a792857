"""The ids of a large text: encoded once into a file of the user's cache, and mapped from there ever after.

The file is named by the SHA-256 of the text's bytes and a digest of how they were read, and ends in .u8, .u16 or .u32
by the bits of an id; a small .json beside it holds the vocabulary and the SHA-256 of both. They are checked, in full,
each time they are used: what does not fit is made again. Any of them may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxrnn.data.cache import cache_folder
from jaxrnn.data.reading import BLOCK_BYTES, ReadText, read_stream
from jaxrnn.data.reading_options import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import StorageError
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.reading_bar import reading_bar

SHARE_OF_MEMORY = 8  # with `auto` a text that is larger than this part of the free memory is mapped
SMALLEST = 64 << 20  # bytes of a text that is never mapped without being asked for
MOST_JSON = 16 << 20  # every character there is, escaped
_FORMAT = 1


def read_ids(
    file: BinaryIO, name: str, options: ReadingOptions, vocabulary: Vocabulary | None, stream_from: str
) -> ReadText:
    """Reads a file into ids as `read_stream` does, in memory or as a mapped file.

    Args:
      file: a binary file that can be read several times.
      name: what messages call it.
      options: how bytes become characters.
      vocabulary: symbols to encode with; without it, those that the text has.
      stream_from: "memory", "disk", or "auto": from disk where the text is larger than an eighth of the free memory.

    Raises:
      DataError: as `read_stream`.
      StorageError: if the file of ids cannot be written.
    """
    size = file.seek(0, os.SEEK_END)
    if stream_from == "memory" or (stream_from == "auto" and not _is_large(size)):
        return read_stream(file, name, options, vocabulary)
    as_read = json.dumps([options.to_json(), vocabulary.digest if vocabulary else None], sort_keys=True)
    ending = f"{size}-{hashlib.sha256(as_read.encode()).hexdigest()[:16]}"
    folder = cache_folder("ids")
    if any(folder.glob(f"*-{ending}.json")):  # else the text need not be read to know that it is not there
        with reading_bar(f"checking {name}", size) as watch:
            digest = _digest(file, watch).hexdigest()
        if found := _mapped(folder / f"{digest}-{ending}.json", digest, name):
            return found
    try:
        return _encode(folder, ending, file, name, size, options, vocabulary)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space there" if is_full else "make it a directory that can be written"
        raise StorageError(
            f"cannot write the ids of {printable(name, keep='')} into {printable(str(folder), keep='')}: "
            f"{error.strerror or error}; {remedy}, set XDG_CACHE_HOME, or train with --stream-from memory"
        ) from None


def let_go(ids: np.ndarray) -> None:
    """Takes the pages of mapped ids out of this process's memory; what is read again comes from the file."""
    mapped = getattr(ids, "_mmap", None)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def _is_large(size: int) -> bool:
    if size < SMALLEST:
        return False
    import psutil

    return size * SHARE_OF_MEMORY > psutil.virtual_memory().available


def _digest(file: BinaryIO, watch: Callable[[int], object]) -> Any:
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
        watch(len(block))
    return digest


def _encode(
    folder: Path,
    ending: str,
    file: BinaryIO,
    name: str,
    size: int,
    options: ReadingOptions,
    vocabulary: Vocabulary | None,
) -> ReadText:
    """Writes both files under other names, puts them on disk, and then gives them theirs: the ids first."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    with contextlib.ExitStack() as stack:
        written = []
        for _ in range(2):
            descriptor, path = tempfile.mkstemp(prefix=f".{os.getpid()}-", dir=folder)
            written.append((stack.enter_context(os.fdopen(descriptor, "wb")), path))
            stack.callback(Path(path).unlink, missing_ok=True)
        (ids, ids_path), (record, record_path) = written
        digest = hashlib.sha256()

        def write(block: np.ndarray) -> None:
            digest.update(block.data)
            ids.write(block.data)

        with reading_bar(f"encoding {name}, once", 2 * size) as watch:
            read = read_stream(file, name, options, vocabulary, write=write, watch=watch)
        content = {
            "format": _FORMAT,
            "bytes": read.bytes,
            "characters": ids.tell() // np.dtype(read.vocabulary.id_dtype).itemsize,
            "symbols": "".join(read.vocabulary.symbols),
            "bytes_mode": read.vocabulary.bytes_mode,
            "notes": read.notes,
        }
        content["sha256"] = _with_record(digest, content)
        record.write(json.dumps(content).encode())
        for opened in (ids, record):
            opened.flush()
            os.fsync(opened.fileno())
        named = folder / f"{read.digest}-{ending}.json"
        at = named.with_suffix(_suffix(read.vocabulary))
        os.replace(ids_path, at)
        os.replace(record_path, named)
        return replace(read, ids=np.memmap(at, read.vocabulary.id_dtype, "r"))


def _mapped(record: Path, digest: str, name: str) -> ReadText | None:
    """What the two files hold, if they are whole and belong together."""
    try:
        content: Any = json.loads(_regular(record).read_bytes()) if record.stat().st_size <= MOST_JSON else {}
        if content["format"] != _FORMAT:
            return None
        vocabulary, notes = Vocabulary(tuple(content["symbols"]), content["bytes_mode"] is True), content["notes"]
        path = _regular(record.with_suffix(_suffix(vocabulary)))
        if path.stat().st_size != content["characters"] * np.dtype(vocabulary.id_dtype).itemsize:
            return None
        with open(path, "rb") as file, reading_bar(f"checking the ids of {name}", path.stat().st_size) as watch:
            if content.pop("sha256") != _with_record(_digest(file, watch), content):
                return None
            ids = np.memmap(file, vocabulary.id_dtype, "r")
        return ReadText(ids, vocabulary, digest, int(content["bytes"]), tuple(map(str, notes)))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _with_record(digest: Any, content: dict[str, Any]) -> str:
    """The digest of the ids and of what is known of them."""
    digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()


def _suffix(vocabulary: Vocabulary) -> str:
    return f".u{8 * np.dtype(vocabulary.id_dtype).itemsize}"


def _regular(path: Path) -> Path:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError("no file")
    return path


def _remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left half-written."""
    import psutil

    for path in folder.glob(".*-*"):
        owner = path.name[1:].partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            path.unlink(missing_ok=True)
