"""Many short documents in one file, such as tweets: a JSON array, or one JSON value a line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxrnn.data.reading import ReadingOptions, TextBlocks, open_regular
from jaxrnn.errors import DataError
from jaxrnn.terminal.printable import printable

END = "\x03"
ENDINGS = (".json", ".jsonl", ".ndjson")
MAX_LINE_CHARACTERS = 16 * 1024 * 1024
MAX_ARRAY_BYTES = 256 * 1024 * 1024

_FORBIDDEN = re.compile("[\x03\ud800-\udfff]")


@dataclass(frozen=True)
class Documents:
    """The documents of a file as one text, each ended by U+0003, with the digest and number of the file's bytes."""

    text: str
    digest: str
    bytes: int
    notes: tuple[str, ...]


def read_documents(path: str | os.PathLike[str], options: ReadingOptions | None = None) -> Documents:
    """Reads a JSON array (.json) or one JSON value a line (.jsonl, .ndjson).

    Each value is a string, or an object whose key `text` (or else `full_text`) holds one. Empty documents and blank
    lines are left out.

    Args:
      path: the file.
      options: its encoding and byte order mark; newlines and byte mode concern the text, not the JSON.

    Raises:
      DataError: if the file, or an entry, is not of this form, is too large, or holds U+0003.
    """
    path = Path(path)
    shown = printable(str(path), keep="")
    options = replace(options or ReadingOptions(), newlines="keep", byte_order_mark="strip", bytes_mode=False)
    with open_regular(path) as file:
        blocks = TextBlocks(file, shown, options)
        values = _array(blocks) if path.suffix.lower() == ".json" else _lines(blocks)
        texts = [_text_of(value, f"{shown}, {place}") for place, value in values]
    found = [text for text in texts if text]
    if not found:
        raise DataError(f"expected documents, got none in {shown}; give a file with at least one")
    notes = [f"{len(found)} documents, each ended by U+0003"]
    if empty := len(texts) - len(found):
        notes.append(f"{empty} empty documents left out")
    return Documents(END.join(found) + END, blocks.digest, blocks.bytes, tuple(notes))


def _array(blocks: TextBlocks) -> Iterator[tuple[str, Any]]:
    parts = []
    for text in blocks.read():
        parts.append(text)
        if blocks.bytes > MAX_ARRAY_BYTES:
            raise DataError(
                f"expected a JSON array of at most {MAX_ARRAY_BYTES} bytes, {blocks.shown} is larger; "
                "write one document a line into a .jsonl file"
            )
    values = _parse("".join(parts), blocks.shown)
    if not isinstance(values, list):
        raise DataError(
            f"expected a JSON array of documents in {blocks.shown}, got one {_kind(values)}; "
            "rename it to .jsonl if it has a document a line, or to .txt to train on it as it is"
        )
    for i, value in enumerate(values):
        yield f"entry {i + 1}", value


def _lines(blocks: TextBlocks) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(_split(blocks), start=1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise DataError(
                f"expected lines of at most {MAX_LINE_CHARACTERS} characters, line {number} of {blocks.shown} "
                "is longer; split that document"
            )
        if line and not line.isspace():
            yield f"line {number}", _parse(line, f"{blocks.shown}, line {number}")


def _split(blocks: TextBlocks) -> Iterator[str]:
    """The lines of a file; one that is too long comes as soon as that is known, perhaps not whole."""
    rest = ""
    for text in blocks.read():
        *lines, rest = (rest + text).split("\n")
        yield from lines
        if len(rest) > MAX_LINE_CHARACTERS:
            yield rest
    yield rest


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{error.msg} at its line {error.lineno}, column {error.colno}"
        remedy = "rename it to .jsonl" if error.msg == "Extra data" else "mend it, or rename the file to .txt"
        raise DataError(f"expected JSON in {where}, got something else ({place}); {remedy}") from None
    except (ValueError, RecursionError) as error:
        kind = "too deep nesting" if isinstance(error, RecursionError) else "a number that is too long"
        raise DataError(f"expected JSON documents in {where}, got {kind}; leave that entry out") from None


def _text_of(value: Any, where: str) -> str:
    text = value.get("text", value.get("full_text")) if isinstance(value, dict) else value
    if not isinstance(text, str):
        got = f"{_kind(value)} without such a key" if isinstance(value, dict) else _kind(value)
        raise DataError(f"expected a string or an object with a string under text or full_text in {where}, got {got}")
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        what = "U+0003, which ends documents" if forbidden.group() == END else "a lone surrogate, which is no character"
        raise DataError(f"a document in {where} holds {what}; remove it from the file")
    return text


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")
