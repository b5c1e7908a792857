"""Reads a safetensors file that may come from anybody: its sizes first, then one tensor after another.

Eight bytes say how long the header is; it is a JSON object with, by the name of each tensor, its dtype, shape and
place, and with texts in `__metadata__`. Nothing but the header is made in memory before all places are known to tile
the file, and then each tensor once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxrnn.errors import CheckpointError, ConfigurationError, DataError
from jaxrnn.storage.files_inside import open_to_read
from jaxrnn.terminal.printable import first_line, printable

MAX_HEADER_BYTES = 1 << 22
DTYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2", "I32": "<i4", "I64": "<i8"}
BLOCK = 1 << 20
_ALIGNMENT = 64  # as JAX needs it to take an array on a CPU over without a copy


class Declared(NamedTuple):
    """A tensor as the header declares it; `place` counts bytes from the header's end."""

    dtype: str
    shape: list[int]
    place: int

    @property
    def bytes(self) -> int:
        """How large it is."""
        return math.prod(self.shape) * np.dtype(DTYPES[self.dtype]).itemsize


class Header(NamedTuple):
    """What a file declares: the texts beside the tensors, the tensors by name, and where the header ends."""

    texts: dict[str, str]
    tensors: dict[str, Declared]
    end: int


@contextlib.contextmanager
def opened(path: Path, written_by: str, fault: str, remedy: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file to read and its size. Whatever is wrong with what it holds becomes one line.

    Args:
      path: the file.
      written_by: "a file that ... wrote", said where there is none.
      fault, remedy: said of one that is no such file, or damaged, around the reason.

    Raises:
      ConfigurationError: if there is no such file, or it may not be read.
      CheckpointError: for anything else that is raised inside.
    """
    shown = printable(str(path), keep="")
    try:
        file = os.fdopen(open_to_read(path), "rb")
    except OSError as error:
        raise ConfigurationError(f"{shown} cannot be read: {error.strerror}; give {written_by}") from error
    with file:
        try:
            yield file, os.fstat(file.fileno()).st_size
        # JSON, text, and settings that are none raise many kinds; each means that this is no model, or a damaged one.
        except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise CheckpointError(f"{shown} {fault}: {first_line(error, 300)}; {remedy}") from error


def read_header(file: BinaryIO, size: int) -> Header:
    """What a file of so many bytes declares, all of it compared with the size.

    Raises:
      CheckpointError: with what is wrong.
    """
    length = int.from_bytes(file.read(8), "little")
    require(length <= min(MAX_HEADER_BYTES, size - 8), f"a header of {length:,} bytes in a file of {size:,}")
    header = read_object(file.read(length).decode("utf-8"))
    texts, found, places = header.pop("__metadata__", {}), {}, []
    require(isinstance(texts, dict) and all(isinstance(v, str) for v in texts.values()), "__metadata__ is no texts")
    for name, declared in header.items():
        known = isinstance(declared, dict) and declared.keys() == {"dtype", "shape", "data_offsets"}
        require(known, f"tensor {name} is declared as {str(declared)[:100]}")
        dtype, shape, place = declared["dtype"], declared["shape"], declared["data_offsets"]
        require(isinstance(dtype, str) and dtype in DTYPES, f"tensor {name} of dtype {str(dtype)[:40]!r}")
        sizes = isinstance(shape, list) and len(shape) < 9 and all(type(n) is int and 0 < n <= size for n in shape)
        require(sizes, f"tensor {name} of shape {str(shape)[:100]}")
        require(isinstance(place, list) and [type(n) for n in place] == [int, int], f"tensor {name} at {place!s:.100}")
        found[name] = Declared(dtype, shape, place[0])
        needed = found[name].bytes
        require(place[1] - place[0] == needed, f"tensor {name} of {needed:,} bytes at {place}")
        places.append(tuple(place))
    ends = [0, *(end for _, end in sorted(places))]
    require(ends[:-1] == [start for start, _ in sorted(places)], "tensors that overlap, or with gaps between them")
    require(8 + length + ends[-1] == size, f"{size:,} bytes, its header declares {8 + length + ends[-1]:,}")
    return Header(texts, found, 8 + length)


def blocks_of(file: BinaryIO, header: Header, name: str) -> Iterator[bytes]:
    """The bytes of a tensor, some at a time.

    Raises:
      CheckpointError: if the file has become shorter.
    """
    tensor = header.tensors[name]
    left = tensor.bytes
    file.seek(header.end + tensor.place)
    while left:
        block = file.read(min(left, BLOCK))
        require(bool(block), f"tensor {name} ends too early")
        left -= len(block)
        yield block


def read_tensor(file: BinaryIO, header: Header, name: str) -> np.ndarray:
    """One tensor; of BF16 the bits, as whole numbers.

    Raises:
      CheckpointError: if the file has become shorter.
    """
    tensor = header.tensors[name]
    count = tensor.bytes
    memory = np.empty(count + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    value = memory[start : start + count]
    file.seek(header.end + tensor.place)
    require(file.readinto(value.data) == count, f"tensor {name} ends too early")  # type: ignore[attr-defined]
    return value.view(DTYPES[tensor.dtype]).reshape(tensor.shape)


def serialized(texts: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> list[Any]:
    """The file of some texts and tensors in C order, as pieces to write one after another, none of them copied.

    To the byte what the safetensors library makes, which holds all of it twice more while it does.

    Raises:
      DataError: if there are too many symbols or layers for it.
    """
    header: dict[str, Any] = {"__metadata__": dict(texts)}
    pieces, place = [], 0
    for name, value in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        dtype = next(dtype for dtype, ours in DTYPES.items() if value.dtype == ours)
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [place, place + value.nbytes]}
        place += value.nbytes
        pieces.append(value.data)
    start = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    start += b" " * (-len(start) % 8)
    if len(start) > MAX_HEADER_BYTES:
        raise DataError("the model has too many symbols or layers for one file; its run directory can be copied")
    return [len(start).to_bytes(8, "little"), start, *pieces]


def read_object(text: str) -> dict[str, Any]:
    """A JSON object in which no name stands twice.

    Raises:
      CheckpointError, ValueError, RecursionError: if it is none.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        require(len(dict(pairs)) == len(pairs), "a name that stands twice in an object")
        return dict(pairs)

    value = json.loads(text, object_pairs_hook=once)
    require(isinstance(value, dict), "no JSON object")
    return value


def require(good: bool, fault: str) -> None:
    """Raises CheckpointError with the fault unless all is good."""
    if not good:
        raise CheckpointError(fault)
