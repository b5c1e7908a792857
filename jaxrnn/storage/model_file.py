"""A trained model as one safetensors file, which any program can read and none has to trust.

Its metadata are one text, `jaxrnn`: a JSON object with all that belongs to the parameters. Its last member, `sha256`,
is the digest over that text with the digest's own 64 digits as zeros, and then, for each tensor in the order of the
names, the JSON list [name, dtype, shape] and its bytes. Nothing in the file is executed, or names what is to be
imported. What it declares is compared with its size, its digest with its bytes, a block at a time, and then its tensors
with the model that its settings describe, before one is read into memory: that takes their size, once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.checkpoint import Shapes
from jaxrnn.storage.record_checks import fault_in_record
from jaxrnn.storage.small_files import write_atomically
from jaxrnn.storage.tensor_file import (
    blocks_of,
    opened,
    read_header,
    read_object,
    read_tensor,
    require,
    serialized,
)
from jaxrnn.storage.vocabulary_file import from_json
from jaxrnn.terminal.printable import printable

FORMATS = (1, 2)  # 2 where the vocabulary has longer symbols than characters
ENDING = ".safetensors"
CHECKPOINTS = ("best", "latest")
_NO_DIGEST = "0" * 64
_DTYPES = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64"}

# What the JSON object holds: the type of each value, or what it holds in its turn. Ranges are checked by
# `fault_in_record` and the settings themselves.
DATA_OF_SEQUENCES = {"name": str, "sha256": str}
_COUNTS_OF_TEXT = {"characters": int, "distinct": int, "windows_per_epoch": int}
DATA_OF_TEXT = DATA_OF_SEQUENCES | _COUNTS_OF_TEXT | {"document_end": int | None, "reading": dict}
ENVIRONMENT = {"python": str, "platform": str, "versions": dict}
_TRAINING: dict[str, Any] = {"checkpoint": str, "update": int, "updates": int, "epochs": int, "loss_unit": str}
_LOSSES = dict.fromkeys(("best_smooth_loss", "best_valid_loss"), float | None)
_CONTENT: dict[str, Any] = {"format": int, "config": dict, "parameters": int, "environment": ENVIRONMENT}
_CONTENT |= {"training": _TRAINING | _LOSSES, "sha256": str}
_OF_SEQUENCES = _CONTENT | {"data": DATA_OF_SEQUENCES, "vocabulary": type(None)}
_OF_TEXT = _CONTENT | {"data": DATA_OF_TEXT, "vocabulary": {"symbols": list, "bytes_mode": bool}}
_LONG: dict[str, dict[str, Any]] = {"words": {"kind": str, "symbols": list}}
_LONG["bpe"] = _LONG["words"] | {"merges": list}


def require_ending(path: Path) -> None:
    """Refuses the name of a file that does not end as a model's does. Raises ConfigurationError."""
    if path.suffix != ENDING:
        name = printable(path.stem, keep="")
        raise ConfigurationError(f"a model's file ends in {ENDING}; got {printable(str(path))}, give {name}{ENDING}")


def write_model(path: Path, content: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a model whole or not at all, over a file of that name if there is one.

    Args:
      path: the file.
      content: all that belongs to the parameters, as JSON can hold it; the format is added.
      tensors: parameters, and the carry of a fresh start.

    Raises:
      ConfigurationError: if the name has another ending than `ENDING`.
      CheckpointError: if the content is not what `read_model` takes.
      DataError: if there are too many symbols or layers for it.
      StorageError: if it cannot be written.
    """
    require_ending(path)
    content = {"format": 2 if "kind" in (content["vocabulary"] or ()) else 1, **content, "sha256": _NO_DIGEST}
    _check_content(content)
    text = json.dumps(content, allow_nan=False)
    # In this order in memory: the library takes the bytes from the first on.
    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    rows = {name: (_DTYPES[value.dtype.name], list(value.shape), [value.data]) for name, value in arrays.items()}
    write_atomically(path, serialized({"jaxrnn": text[:-66] + _digest(text, rows) + '"}'}, arrays))


def read_model(
    path: Path, shapes_of: Callable[[dict[str, Any], list[list[int]]], Shapes] | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads what `write_model` wrote.

    Args:
      path: the file.
      shapes_of: gives the tensors that belong to a content. It also gets the shapes that the file declares, which its
        size bounds, so that settings far from them are refused before their model is thought out. None reads no tensor.

    Returns:
      The content and the tensors.

    Raises:
      ConfigurationError: if there is no such file, or it may not be read.
      CheckpointError: for anything else, in one line that says what it is.
    """
    fault, remedy = "is no model to rely on", "export it again, or use a copy"
    with opened(path, "a file that `jaxrnn export` wrote", fault, remedy) as (file, size):
        return _read(file, size, shapes_of)


def _read(file: Any, size: int, shapes_of: Callable | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    header = read_header(file, size)
    require("jaxrnn" in header.texts, "another program wrote it; `jaxrnn import` takes PyTorch's state dicts")
    _check(header.texts, {"jaxrnn": str}, "__metadata__")
    content = read_object(header.texts["jaxrnn"])
    _check_content(content)
    if shapes_of is None:
        return content, {}
    text = header.texts["jaxrnn"].replace(content["sha256"], _NO_DIGEST)
    rows = {name: (of.dtype, of.shape, blocks_of(file, header, name)) for name, of in header.tensors.items()}
    require(_digest(text, rows) == content["sha256"], "damaged or changed, its digest is another")
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in header.tensors.items()}
    wanted = shapes_of(content, [shape for shape, _ in found.values()])
    for name in sorted(found.keys() | wanted.keys()):
        expected = (list(wanted[name][0]), _DTYPES[wanted[name][1].name]) if name in wanted else "no such tensor"
        require(found.get(name) == expected, f"tensor {name} is {found.get(name)}, its model has {expected}")
    tensors = {name: read_tensor(file, header, name) for name in found}
    for name, value in tensors.items():
        require(math.isfinite(value.min()) and math.isfinite(value.max()), f"tensor {name} is not finite")
    return content, tensors


def _check_content(content: dict[str, Any]) -> None:
    number = content.get("format")
    require(type(number) is int and number in FORMATS, f"format {number!r}, this version of jaxrnn reads 1 and 2")
    is_text = isinstance(content.get("config"), dict) and content["config"].get("task") == "text"
    form = _OF_TEXT if is_text else _OF_SEQUENCES
    if number == 2 and isinstance(content.get("vocabulary"), dict):
        form = _OF_TEXT | {"vocabulary": _LONG.get(str(content["vocabulary"].get("kind")), _LONG["words"])}
    _check(content, form, "content")
    held = content["training"]["checkpoint"]
    fault = fault_in_record(content) or ("" if held in CHECKPOINTS else f"{held!r} parameters")
    if len(content["sha256"]) != len(_NO_DIGEST):
        fault = "a digest of another length"
    if is_text and not fault:
        symbols, data = content["vocabulary"], content["data"]
        told = (data["distinct"], data["reading"].get("bytes_mode"))
        if (len(symbols["symbols"]), symbols.get("bytes_mode", False)) != told:
            fault = "symbols of another text"
        else:
            from_json(symbols, number == 2)
    require(not fault, fault)


def _check(value: Any, form: Any, what: str) -> None:
    if not isinstance(form, dict):
        good = isinstance(value, form) and (form is bool or type(value) is not bool)
        require(good and (type(value) is not float or math.isfinite(value)), f"{what} is {value!r}, expected {form}")
        return
    require(isinstance(value, dict), f"{what} is missing or no object")
    for name in sorted(value.keys() ^ form.keys()):
        require(False, f"{what} {'lacks' if name in form else 'has an unknown'} {name}")
    for name in form:
        _check(value[name], form[name], f"{what}.{name}")


def _digest(text: str, rows: Mapping[str, tuple[str, list[int], Iterable[Any]]]) -> str:
    # Of each tensor its dtype, its shape, and its bytes in blocks.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name, (dtype, shape, blocks) in sorted(rows.items()):
        digest.update(json.dumps([name, dtype, shape]).encode())
        for block in blocks:
            digest.update(block)
    return digest.hexdigest()
