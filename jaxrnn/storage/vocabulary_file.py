"""vocabulary.json: the symbols of a run's text, written whole or not at all, and read without guessing."""

from __future__ import annotations

import json
import os
from pathlib import Path

from jaxrnn.data.vocabulary import Vocabulary, fault_in_symbols
from jaxrnn.errors import CheckpointError, DataError
from jaxrnn.storage.small_files import read_json, write_atomically
from jaxrnn.terminal.printable import printable

FORMAT = 1
MAX_FILE_BYTES = 8 * 1024 * 1024


def save_vocabulary(vocabulary: Vocabulary, path: str | os.PathLike[str]) -> None:
    """Writes a vocabulary as JSON, all of it or nothing.

    Raises:
      DataError: if it has too many symbols for a file that `load_vocabulary` reads.
      StorageError: if it cannot be written.
    """
    content = {"format": FORMAT, "bytes_mode": vocabulary.bytes_mode, "symbols": vocabulary.symbols}
    data = json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"a vocabulary of {len(vocabulary)} characters is too large to save; use byte mode (--bytes)")
    write_atomically(Path(path), data)


def load_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """Reads what `save_vocabulary` wrote.

    Raises:
      CheckpointError: for anything else.
    """
    shown = printable(os.fspath(path), keep="")
    content = read_json(Path(path), MAX_FILE_BYTES)
    if not isinstance(content, dict) or type(content.get("format")) is not int or content["format"] != FORMAT:
        found = printable(str(content.get("format")), keep="")[:20] if isinstance(content, dict) else "none"
        raise CheckpointError(f"expected vocabulary format {FORMAT} in {shown}, got {found}; use a newer jaxrnn?")
    symbols, bytes_mode = content.get("symbols"), content.get("bytes_mode", False)
    if not isinstance(symbols, list) or not isinstance(bytes_mode, bool):
        raise CheckpointError(f"expected a list of symbols in {shown}, got something else; restore the file")
    if fault := fault_in_symbols(symbols, bytes_mode):
        raise CheckpointError(f"expected sorted single characters in {shown}, got {fault}; restore the file")
    return Vocabulary(tuple(symbols), bytes_mode)
