"""The symbols of a model from another program, in the order of its ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary, fault_in_symbols
from jaxrnn.errors import CheckpointError, DataError
from jaxrnn.storage.small_files import read_json
from jaxrnn.storage.vocabulary_file import MAX_FILE_BYTES, from_json
from jaxrnn.terminal.printable import printable

FORMS = "a JSON list of characters in id order, an object of them with their ids, vocabulary.json, or a text"


class Given(NamedTuple):
    """A vocabulary, and which id of the other program each of its ids has there, (V,)."""

    vocabulary: Vocabulary
    order: np.ndarray


def read_symbols(source: str) -> Given:
    """The symbols of another program.

    Args:
      source: a file that ends in .json: a list of characters, an object {character: id} or {id: character}, or a
        vocabulary.json of jaxrnn, which may hold words or byte pairs. Anything else is a text, whose characters,
        sorted, have the ids from 0 on: what `sorted(set(text))` gives in Python.

    Raises:
      DataError: if it cannot be read or holds no symbols.
    """
    if not source.endswith(".json"):
        found = load_corpus(source).vocabulary
        return Given(found, np.arange(len(found)))
    try:
        return symbols_of(read_json(Path(source), MAX_FILE_BYTES))
    except CheckpointError as error:
        raise DataError(str(error)) from error
    except DataError as error:
        raise DataError(f"{printable(source, keep='')}: {error}; --vocabulary expects {FORMS}") from error


def symbols_of(content: Any) -> Given:
    """What JSON says of symbols: see `read_symbols`. Those of words or byte pairs keep their ids.

    Raises:
      DataError: with what is wrong.
    """
    bytes_mode = False
    if isinstance(content, dict) and isinstance(content.get("symbols"), list):
        if "kind" in content:
            try:
                vocabulary = from_json(content, True)
            except ValueError as error:
                raise DataError(str(error)) from None
            return Given(vocabulary, np.arange(len(vocabulary)))
        content, bytes_mode = content["symbols"], content.get("bytes_mode") is True
    if isinstance(content, dict):
        if content and all(isinstance(symbol, str) for symbol in content.values()):  # {id: character}
            by_id = {int(n): symbol for n, symbol in content.items() if n.isdecimal() and len(n) < 9}
        else:
            by_id = {n: symbol for symbol, n in content.items() if type(n) is int}
        if sorted(by_id) != list(range(len(content))):
            raise DataError(f"the ids of {len(content)} symbols are not the numbers from 0 on, each once")
        content = [by_id[number] for number in range(len(by_id))]
    if not isinstance(content, list):
        raise DataError("no list of symbols and no object of ids")
    long = [symbol for symbol in content if not isinstance(symbol, str) or len(symbol) != 1]
    if long:
        raise DataError(
            f"{printable(json.dumps(long[0]), keep='')[:40]} is no single character; if no text has it, such as "
            'padding, let "\\ue000" stand for it'
        )
    if len(set(content)) < len(content):
        raise DataError("a symbol has two ids")
    if fault := fault_in_symbols(sorted(content), bytes_mode):
        raise DataError(f"expected characters, got {fault}")
    order = sorted(range(len(content)), key=content.__getitem__)
    return Given(Vocabulary(tuple(content[i] for i in order), bytes_mode), np.array(order, np.int64))


def reading_of(vocabulary: Vocabulary) -> ReadingOptions:
    r"""How a text was read that gave these symbols: Python's `open` makes `\r\n` a line feed."""
    converted = "\n" in vocabulary.symbols and "\r" not in vocabulary.symbols and not vocabulary.bytes_mode
    return ReadingOptions(newlines="universal" if converted else "keep", bytes_mode=vocabulary.bytes_mode)
