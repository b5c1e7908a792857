"""vocabulary.json: the symbols of a run's text, written whole or not at all, and read without guessing.

Format 1 holds characters or bytes. Format 2 holds characters and longer symbols of them: {"format": 2, "kind": "words",
"symbols": [...]}, or "bpe" with "merges", pairs of ids in the order in which they were merged.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jaxrnn.data.long_symbols import LongSymbols
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import CheckpointError, DataError
from jaxrnn.storage.small_files import read_json, write_atomically
from jaxrnn.terminal.printable import printable

FORMATS = (1, 2)
MAX_FILE_BYTES = 8 * 1024 * 1024


def save_vocabulary(vocabulary: Vocabulary, path: str | os.PathLike[str]) -> None:
    """Writes a vocabulary as JSON, all of it or nothing.

    Raises:
      DataError: if it has too many symbols for a file that `load_vocabulary` reads.
      StorageError: if it cannot be written.
    """
    content, remedy = {"format": 2, **as_json(vocabulary)}, "lower --vocabulary-size"
    if vocabulary.spelt is vocabulary:
        content = {"format": 1, "bytes_mode": vocabulary.bytes_mode, "symbols": vocabulary.symbols}
        remedy = "use byte mode (--bytes)"
    data = json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"a vocabulary of {len(vocabulary)} {vocabulary.kind} is too large to save; {remedy}")
    write_atomically(Path(path), data)


def load_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """Reads what `save_vocabulary` wrote.

    Raises:
      CheckpointError: for anything else.
    """
    shown = printable(os.fspath(path), keep="")
    content = read_json(Path(path), MAX_FILE_BYTES)
    if not isinstance(content, dict) or type(content.get("format")) is not int or content["format"] not in FORMATS:
        found = printable(str(content.get("format")), keep="")[:20] if isinstance(content, dict) else "none"
        raise CheckpointError(f"expected vocabulary format 1 or 2 in {shown}, got {found}; use a newer jaxrnn?")
    try:
        return from_json(content, content["format"] == 2)
    except ValueError as error:
        raise CheckpointError(f"{shown} is no vocabulary: {error}; restore the file") from None


def as_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """What `from_json` takes."""
    symbols = {"symbols": list(vocabulary.symbols)}
    if not isinstance(vocabulary, LongSymbols):
        return {**symbols, "bytes_mode": vocabulary.bytes_mode}
    if vocabulary.merges is None:
        return {"kind": "words", **symbols}
    return {"kind": "bpe", **symbols, "merges": [list(pair) for pair in vocabulary.merges]}


def from_json(content: dict[str, Any], is_long: bool) -> Vocabulary:
    """The vocabulary of a content that nobody has looked at. Raises ValueError if there is none in it."""
    symbols, bytes_mode, merges = content.get("symbols"), content.get("bytes_mode", False), content.get("merges")
    if not isinstance(symbols, list) or not isinstance(bytes_mode, bool):
        raise ValueError("expected a list of symbols, got something else")
    if not is_long:
        return Vocabulary(tuple(symbols), bytes_mode)
    pairs = isinstance(merges, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in merges)
    if bytes_mode or not {"words": merges is None, "bpe": pairs}.get(str(content.get("kind")), False):
        raise ValueError("expected words, or byte pairs with the pairs of ids that are merged, got something else")
    return LongSymbols(tuple(symbols), merges=merges)
