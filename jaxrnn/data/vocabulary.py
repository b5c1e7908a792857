"""The symbols of a text and their ids: sorted by code point, never guessed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxrnn.errors import CheckpointError, ConfigurationError, DataError, UnknownSymbolError
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.table import html_table

_BLOCK = 1 << 20
MOST_IN_NOTEBOOKS = 1000
_MOST_NAMED = 200


def code_points(text: str) -> np.ndarray:
    """The code point of each character: uint8 where all are below 256, else uint32."""
    try:
        return np.frombuffer(text.encode("latin-1"), np.uint8)
    except UnicodeEncodeError:
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))


def named(symbol: str) -> str:
    r"""A symbol as it is shown in messages, escaped; of a character with its code point.

    Example:
      >>> named("\u202e")
      "'\\u202e' (U+202E)"
    """
    return f"'{printable(symbol, keep='')}'" + (f" (U+{ord(symbol):04X})" if len(symbol) == 1 else "")


def only_in_one(a: Iterable[str], b: Iterable[str], names: tuple[str, str], most: int) -> list[str]:
    """The symbols that only a has, and those that only b has, each in a line with its name, so many of each at most."""
    sides = sorted(set(a) - set(b)), sorted(set(b) - set(a))
    return [f"only in {name}: {named(c)}" for name, of in zip(names, sides, strict=True) for c in of[:most]]


@dataclass(frozen=True)
class Vocabulary:
    r"""An immutable set of characters; the id of a symbol is its place in code point order.

    Args:
      symbols: single characters, sorted by code point, none twice. `Vocabulary.from_text` sorts for you.
      bytes_mode: the symbols are bytes, each written as the character of the same number, U+0000 to U+00FF.

    Raises:
      ValueError: if the symbols are none, unsorted, doubled, or not single characters.

    Example:
      >>> vocabulary = Vocabulary.from_text("hello")
      >>> vocabulary.symbols
      ('e', 'h', 'l', 'o')
      >>> vocabulary.encode("hole")
      array([1, 3, 2, 0], dtype=uint8)
      >>> vocabulary.decode([1, 3, 2, 0])
      'hole'
    """

    symbols: tuple[str, ...]
    bytes_mode: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        fault = fault_in_symbols(self.symbols, self.bytes_mode)
        if fault:
            raise ValueError(f"expected a vocabulary of sorted single characters, got {fault}")

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """The sorted distinct characters of a text. Raises DataError for a text without any, or with surrogates."""
        if not text:
            raise DataError("expected a text with at least one character, got an empty one; give another text")
        symbols = tuple(sorted(set(text)))
        for symbol in symbols:
            if "\ud800" <= symbol <= "\udfff":
                raise DataError(f"expected characters, got the lone surrogate {named(symbol)}; decode the text again")
        return cls(symbols)

    def __len__(self) -> int:
        return len(self.symbols)

    def __repr__(self) -> str:
        shown = printable("".join(self.symbols[:20]), keep="") + ("..." if len(self) > 20 else "")
        return f"Vocabulary({len(self)} {self.kind}: '{shown}')"

    def _repr_html_(self) -> str:
        shown = printable("".join(self.symbols[:MOST_IN_NOTEBOOKS]), keep="") + "..." * (len(self) > MOST_IN_NOTEBOOKS)
        return html_table([[self.kind, len(self)], ["in order of their ids", shown]])

    @property
    def kind(self) -> str:
        """What the symbols are, in the plural."""
        return "bytes" if self.bytes_mode else "characters"

    @property
    def spelt(self) -> Vocabulary:
        """The vocabulary of the characters that longer symbols are made of; this one where there are none longer."""
        return self

    @cached_property
    def lengths(self) -> np.ndarray:
        """How many characters each symbol is: in byte mode 0 of a byte that goes on with a character of UTF-8."""
        return ((self.code_points & 0xC0 != 0x80) | (not self.bytes_mode)).astype(np.int64)

    def count_characters(self, ids: np.ndarray) -> int:
        """How many characters the symbols of these ids are, in the memory of a block of them."""
        if (self.lengths == 1).all():
            return len(ids)
        return sum(int(self.lengths[ids[at : at + _BLOCK]].sum()) for at in range(0, len(ids), _BLOCK))

    def require_characters(self, what: str) -> None:
        """Refuses symbols longer than one character for `what`. Raises ConfigurationError."""
        if self.spelt is not self:
            raise ConfigurationError(
                f"{what} takes a text character by character; this model has {self.kind}, give one of characters"
            )

    @property
    def id_dtype(self) -> type[np.unsignedinteger[Any]]:
        """The smallest unsigned type that holds every id."""
        if len(self) <= 1 << 8:
            return np.uint8
        return np.uint16 if len(self) <= 1 << 16 else np.uint32

    @cached_property
    def code_points(self) -> np.ndarray:
        """The code point of each symbol, uint32, in id order."""
        return np.fromiter(map(ord, self.symbols), np.uint32, len(self))

    @property
    def digest(self) -> str:
        """SHA-256 over the symbols in id order and what they are, hexadecimal: what tells one vocabulary from another.

        Example:
          >>> Vocabulary.from_text("ab").digest == Vocabulary.from_text("ac").digest
          False
        """
        return self.digest_of(self.code_points.astype("<u4").tobytes())

    def digest_of(self, told: bytes) -> str:
        return hashlib.sha256(f"{self.kind}\n".encode() + told).hexdigest()

    @cached_property
    def _table(self) -> np.ndarray:
        """Id by code point; -1 is unknown. At least 256 entries, and the last is always unknown."""
        table = np.full(max(256, int(self.code_points[-1]) + 1) + 1, -1, np.int32)
        table[self.code_points] = np.arange(len(self), dtype=np.int32)
        return table

    def look_up(self, codes: np.ndarray) -> np.ndarray:
        """The id of each code point as int32, -1 where it is unknown. The caller must refuse those."""
        return self._table.take(codes, mode="clip")  # what is beyond the table is its last, which is unknown

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text's symbols, in `id_dtype`.

        Raises:
          UnknownSymbolError: if a character is unknown. It is named, with its place; it is never mapped to another.
        """
        ids = np.empty(len(text), self.id_dtype)
        for start in range(0, len(text), _BLOCK):
            found = self.look_up(code_points(text[start : start + _BLOCK]))
            if found.min() < 0:
                raise self.unknown(text)
            ids[start : start + _BLOCK] = found
        return ids

    def encode_part(self, text: str) -> np.ndarray:
        """As `encode`, with the first character as a symbol of its own, where there are longer ones.

        A score leaves the first symbol out: so it is one of all other characters, the same for every vocabulary.
        """
        return self.encode(text)

    def encode_prompt(self, text: str, document_end: int | None = None) -> np.ndarray:
        """What a model reads before it writes: as `encode`; in byte mode the text is written as UTF-8 first.

        An empty one is what ends a document, else the line feed: a text begins where another has ended. A vocabulary
        without either gives no symbol.
        """
        if not text and document_end is not None:
            return np.array([document_end], self.id_dtype)
        text = text or ("\n" if "\n" in self.symbols else "")
        if self.bytes_mode:
            try:
                text = text.encode("utf-8", "surrogateescape").decode("latin-1")
            except UnicodeEncodeError as error:
                raise DataError(f"expected text, got the lone surrogate {named(text[error.start])}") from None
        return self.encode(text)

    def unknown(
        self, text: str, position: int = 0, line: int = 1, all_unknown: Sequence[str] = ()
    ) -> UnknownSymbolError:
        """The error for a text with unknown characters. `position` and `line` say where the text begins."""
        known = set(self.symbols)
        index = next(i for i, c in enumerate(text) if c not in known)
        unknown = sorted(all_unknown or set(text) - known)
        line += text.count("\n", 0, index)
        kind = self.kind
        return UnknownSymbolError(
            f"expected only the {len(self)} {kind} of the vocabulary, got {named(text[index])} at position "
            f"{position + index}, line {line} ({len(unknown)} different unknown {kind}); "
            "remove them or train on a text that has them",
            details=["unknown: " + named(c) for c in unknown] if len(unknown) > 1 else (),
        )

    def decode(self, ids: Any) -> str:
        """The text of some ids; in byte mode each byte becomes the character of its number (Latin-1).

        Raises:
          ValueError: if an id is not a whole number from 0 to len - 1.
        """
        ids = np.asarray(ids).reshape(-1)
        if not ids.size:
            return ""
        if not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"expected whole numbers as ids, got {ids.dtype}; take the argmax or a sample first")
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= len(self):
            raise ValueError(
                f"expected ids from 0 to {len(self) - 1}, got {low if low < 0 else high}; "
                "were they made with another vocabulary?"
            )
        return self._join(ids)

    def _join(self, ids: np.ndarray) -> str:
        return self.code_points[ids].astype("<u4").tobytes().decode("utf-32-le")

    def display_text(self, ids: Any) -> str:
        r"""The text to show a reader: in byte mode the bytes read as UTF-8, those that are not become `\xNN`.

        Control characters are left in; pass the result through `printable` before a terminal sees it.
        """
        text = self.decode(ids)
        return text.encode("latin-1").decode("utf-8", "backslashreplace") if self.bytes_mode else text

    def require_same(self, other: Vocabulary, what: str = "the checkpoint") -> None:
        """Refuses another vocabulary than this one, which belongs to `what`.

        Raises:
          CheckpointError: with the differing characters, escaped, in its details.
        """
        if self == other:
            return
        details = only_in_one(self.symbols, other.symbols, (what, "the other"), _MOST_NAMED)
        if self.kind != other.kind:
            details.insert(0, f"{what} holds {self.kind}, the other {other.kind}")
        raise CheckpointError(
            f"expected the vocabulary of {what}, {len(self)} symbols, got another of {len(other)}; "
            "use the text and the reading options of that run",
            details,
        )


def fault_in_symbols(symbols: Sequence[Any], bytes_mode: bool) -> str:
    """What is wrong with these symbols, or nothing."""
    if not symbols:
        return "no symbols"
    previous = ""
    for i, symbol in enumerate(symbols):
        if not isinstance(symbol, str) or len(symbol) != 1 or "\ud800" <= symbol <= "\udfff":
            return f"{printable(repr(symbol), keep='')[:40]} at place {i}"
        if bytes_mode and symbol > "\xff":
            return f"{named(symbol)} at place {i} of a byte vocabulary"
        if symbol <= previous:
            return f"{named(symbol)} at place {i}, after {named(previous)}"
        previous = symbol
    return ""
