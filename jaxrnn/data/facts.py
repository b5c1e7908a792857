"""What a report says about its text: characters, lines, words, distinct characters and those beyond ASCII."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxrnn.data.corpus import Corpus
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.terminal.printable import printable

CHARACTERS_A_PAGE = 1_800
_BLOCK = 1 << 20
_MOST_ROWS = 100


@dataclass(frozen=True)
class SymbolFacts:
    """One symbol of the text. `utf8_bytes` is how many bytes its UTF-8 has; in byte mode 1."""

    symbol: str
    code_point: int
    name: str
    utf8_bytes: int
    count: int


@dataclass(frozen=True)
class CorpusFacts:
    r"""The counts of one corpus.

    `lines` counts newline characters, `words` what lies between white space, and a page is 1,800 characters. The
    bytes are those of the source, `utf8_bytes` those of the text as it was read. In byte mode a character is a byte.
    """

    name: str
    digest: str
    bytes: int
    utf8_bytes: int
    characters: int
    pages: int
    lines: int
    words: int
    distinct_words: int
    distinct_characters: int
    bytes_mode: bool
    symbols: tuple[SymbolFacts, ...]

    @property
    def non_ascii(self) -> tuple[SymbolFacts, ...]:
        """The symbols that occur and are not ASCII."""
        return tuple(symbol for symbol in self.symbols if symbol.code_point > 127)


def corpus_facts(corpus: Corpus) -> CorpusFacts:
    """Counts a corpus, in blocks: besides the ids only the distinct words are held in memory.

    Example:
      >>> from jaxrnn.data.corpus import corpus_from_text
      >>> facts = corpus_facts(corpus_from_text("to be or not to be"))
      >>> facts.words, facts.distinct_words, facts.distinct_characters
      (6, 4, 7)
    """
    vocabulary = corpus.vocabulary
    counts = np.zeros(len(vocabulary), np.int64)
    for start in range(0, len(corpus.ids), _BLOCK):
        counts += np.bincount(corpus.ids[start : start + _BLOCK], minlength=len(vocabulary))
    words, distinct_words = _words(corpus.ids, vocabulary)
    symbols = tuple(
        SymbolFacts(symbol, ord(symbol), *_named(symbol, vocabulary.bytes_mode), count)
        for symbol, count in zip(vocabulary.symbols, counts.tolist(), strict=True)
        if count
    )
    return CorpusFacts(
        name=corpus.name,
        digest=corpus.digest,
        bytes=corpus.source_bytes,
        utf8_bytes=sum(symbol.count * symbol.utf8_bytes for symbol in symbols),
        characters=len(corpus.ids),
        pages=math.ceil(len(corpus.ids) / CHARACTERS_A_PAGE),
        lines=sum(symbol.count for symbol in symbols if symbol.symbol == "\n"),
        words=words,
        distinct_words=distinct_words,
        distinct_characters=len(symbols),
        bytes_mode=vocabulary.bytes_mode,
        symbols=symbols,
    )


def _named(symbol: str, bytes_mode: bool) -> tuple[str, int]:
    if bytes_mode:
        return "byte", 1
    return unicodedata.name(symbol, "no name"), len(symbol.encode("utf-8"))


def _words(ids: np.ndarray, vocabulary: Vocabulary) -> tuple[int, int]:
    """How many words there are, and how many different ones. In byte mode only ASCII white space parts words."""

    def as_read(text: str) -> Any:
        return text.encode("latin-1") if vocabulary.bytes_mode else text

    parts = np.array([as_read(symbol).isspace() for symbol in vocabulary.symbols])
    count, start = 0, 0
    distinct: set[str | bytes] = set()
    while start < len(ids):
        end = start + _BLOCK
        while end < len(ids) and not parts[ids[end]]:  # no block ends within a word
            end += 1
        words = as_read(vocabulary.decode(ids[start:end])).split()
        count += len(words)
        distinct.update(words)
        start = end
    return count, len(distinct)


def format_facts(facts: CorpusFacts) -> str:
    """The facts as an aligned table, foreign characters escaped; at most 100 rows of characters beyond ASCII."""
    kind = "bytes" if facts.bytes_mode else "characters"
    as_text = [("bytes as UTF-8", f"{facts.utf8_bytes:,}"), ("characters", f"{facts.characters:,}")]
    rows = [
        ("text", printable(facts.name, keep="")),
        ("sha256", facts.digest),
        ("bytes", f"{facts.bytes:,}"),
        *([] if facts.bytes_mode else as_text),
        (f"pages of {CHARACTERS_A_PAGE:,}", f"{facts.pages:,}"),
        ("lines", f"{facts.lines:,}"),
        ("words", f"{facts.words:,}"),
        ("distinct words", f"{facts.distinct_words:,}"),
        (f"distinct {kind}", f"{facts.distinct_characters:,}"),
        (f"non-ASCII {kind}", f"{len(facts.non_ascii):,}"),
    ]
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:<{width}}  {value}" for label, value in rows]
    if facts.non_ascii:
        lines += ["", f"{'character':<10}  {'code point':<10}  {'bytes':>5}  {'count':>11}  name"]
        for symbol in facts.non_ascii[:_MOST_ROWS]:
            shown = f"\\x{symbol.code_point:02x}" if facts.bytes_mode else printable(symbol.symbol, keep="")
            point = "" if facts.bytes_mode else f"U+{symbol.code_point:04X}"
            lines.append(f"{shown:<10}  {point:<10}  {symbol.utf8_bytes:>5}  {symbol.count:>11,}  {symbol.name}")
        if len(facts.non_ascii) > _MOST_ROWS:
            lines.append(f"... and {len(facts.non_ascii) - _MOST_ROWS:,} more")
    return "\n".join(lines)
