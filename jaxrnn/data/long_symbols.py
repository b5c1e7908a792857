"""Symbols longer than one character: words, and byte pairs.

A text is cut into pieces: a word, that is letters, digits and underscores, or one other mark, each with the space
before it; a white-space character that is no such space is a piece of its own, as is U+0003, which ends documents. So
a word costs one step, not two with its space, and all pieces side by side are the text. Words are cut from the marks
beside them, since "house," would be another word than "house": of War and Peace's test part 6 % of the pieces are then
beyond the 8,000 most frequent symbols, else 14 %.

Every character of the text is a symbol too, with the same id as in the vocabulary of characters, and what is not among
the longer symbols is spelt in them. So nothing is unknown that the characters know, and the probability of a text is
exact: nats a character of one vocabulary compare with those of another. A word that occurs only once is spelt, so that
the model learns to spell. (A text could be spelt in other ways too, whose probability is not added: the number is an
upper bound of the model's loss of the text, and near to it.)

Byte pairs are pairs of characters here (Sennrich et al., 2016): the most frequent pair of neighbours within the pieces
becomes a symbol, again and again. A library finds them; a text is encoded and decoded without it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np

from jaxrnn.data.vocabulary import Vocabulary, fault_in_symbols
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable

LONGEST = 64  # characters of a word or mark without its space; what is longer is cut
FEWEST = 2  # times that a longer symbol occurs in the text that it is learned from
PIECES = re.compile(rf" ?(?:\w{{1,{LONGEST}}}|[^\w\s\x03])|[\s\S]")


@dataclass(frozen=True, repr=False)
class LongSymbols(Vocabulary):
    """Characters, and longer symbols that are made of them.

    Args:
      symbols: the characters, sorted; then the longer ones, words by their frequency, pairs as they were merged.
      merges: of byte pairs, the ids of the two symbols that are merged into one, the first first; None of words.

    Raises:
      ValueError: if they are anything else.

    Example:
      >>> text = "the cat and the dog and the cat"
      >>> words = learn_symbols("words", text, Vocabulary.from_text(text), size=12)
      >>> words.symbols[-2:]
      (' and', ' cat')
      >>> words.encode("the cat").tolist()
      [9, 6, 4, 11]
      >>> words.decode([9, 6, 4, 11])
      'the cat'
    """

    merges: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        if self.merges is not None:
            object.__setattr__(self, "merges", tuple((a, b) for a, b in self.merges))
        if fault := fault_in_long_symbols(self.symbols, self.merges):
            raise ValueError(f"expected characters and longer symbols made of them, got {fault}")

    @property
    def kind(self) -> str:
        return "words" if self.merges is None else "byte pairs"

    @cached_property
    def spelt(self) -> Vocabulary:
        return Vocabulary(tuple(symbol for symbol in self.symbols if len(symbol) == 1))

    @property
    def code_points(self) -> np.ndarray:
        """Of the characters, which have the first ids."""
        return self.spelt.code_points

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.fromiter(map(len, self.symbols), np.int64, len(self))

    @property
    def digest(self) -> str:
        return self.digest_of(json.dumps([self.kind, self.symbols, self.merges]).encode())

    @cached_property
    def _symbols(self) -> np.ndarray:
        return np.array(self.symbols, object)

    @cached_property
    def _pieces(self) -> _Pieces:
        return _Pieces(self.symbols, self.merges)

    def encode(self, text: str) -> np.ndarray:
        try:
            ids = map(self._pieces.__getitem__, (piece[0] for piece in PIECES.finditer(text)))
            return np.fromiter(chain.from_iterable(ids), self.id_dtype)
        except KeyError:
            raise self.spelt.unknown(text) from None

    def encode_part(self, text: str) -> np.ndarray:
        return np.concatenate([self.encode(text[:1]), self.encode(text[1:])])

    def _join(self, ids: np.ndarray) -> str:
        return "".join(self._symbols[ids])


class _Pieces(dict[str, tuple[int, ...]]):
    """The ids of every piece that came, each found once."""

    def __init__(self, symbols: Sequence[str], merges: Sequence[tuple[int, int]] | None):
        super().__init__((symbol, (i,)) for i, symbol in enumerate(symbols) if merges is None or len(symbol) == 1)
        ids = {symbol: i for i, symbol in enumerate(symbols)}
        pairs = [(pair, ids[symbols[pair[0]] + symbols[pair[1]]]) for pair in merges or ()]
        self._merged = {pair: (rank, whole) for rank, (pair, whole) in reversed(list(enumerate(pairs)))}

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = [self[character][0] for character in piece] if len(piece) > 1 else []
        if not ids:
            raise KeyError(piece)
        never = (len(self._merged), 0)
        while len(ids) > 1:
            found, at = min((self._merged.get(pair, never), i) for i, pair in enumerate(pairwise(ids)))
            if found == never:
                break
            ids[at : at + 2] = [found[1]]
        return self.setdefault(piece, tuple(ids))


def learn_symbols(kind: str, text: str, characters: Vocabulary, size: int) -> LongSymbols:
    """The longer symbols of a text that is trained on.

    Args:
      kind: "words" or "bpe".
      text: what they are learned from.
      characters: those that may come, each a symbol as well.
      size: most symbols, the characters among them.

    Raises:
      ConfigurationError: if the size leaves nothing beside the characters, these are bytes, or the library is missing.
    """
    if characters.bytes_mode:
        raise ConfigurationError(f"--symbols {kind} reads characters, not bytes; leave --bytes out")
    if size <= len(characters):
        raise ConfigurationError(
            f"--vocabulary-size expects more than the {len(characters):,} characters of the text, which are symbols "
            f"too; got {size:,}"
        )
    pieces = (piece[0] for piece in PIECES.finditer(text))
    if kind == "bpe":
        return LongSymbols(*_merged(pieces, characters, size))
    counts = Counter(piece for piece in pieces if len(piece) > 1)
    words = sorted((word for word, n in counts.items() if n >= FEWEST), key=lambda word: (-counts[word], word))
    return LongSymbols((*characters.symbols, *words[: size - len(characters)]))


def _merged(pieces: Iterator[str], characters: Vocabulary, size: int) -> tuple[Any, bool, Any]:
    try:
        from tokenizers import Tokenizer, models, trainers
    except ImportError:
        raise ConfigurationError(
            '--symbols bpe needs the library tokenizers to find the pairs: pip install "jaxrnn[bpe]"'
        ) from None
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=FEWEST,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=list(characters.symbols),
        limit_alphabet=len(characters),
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.train_from_iterator(pieces, trainer)
    ids = {symbol: i for i, symbol in enumerate(characters.symbols)}
    merges = []
    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        merges.append((ids[left], ids[right]))
        ids.setdefault(left + right, len(ids))
    return tuple(ids), False, tuple(merges)


def fault_in_long_symbols(symbols: Sequence[Any], merges: Sequence[Any] | None) -> str:
    """What is wrong with these symbols, or nothing."""
    single = next((i for i, symbol in enumerate(symbols) if isinstance(symbol, str) and len(symbol) > 1), len(symbols))
    if fault := fault_in_symbols(symbols[:single], False):
        return fault
    characters, ids = set(symbols[:single]), {symbol: i for i, symbol in enumerate(symbols[:single])}
    for i, symbol in enumerate(symbols[single:], single):
        good = isinstance(symbol, str) and 1 < len(symbol) <= LONGEST + 1 and characters.issuperset(symbol)
        if not good or ids.setdefault(symbol, i) != i:
            return f"{printable(repr(symbol), keep='')[:40]} at place {i}"
    merged = set()
    for place, pair in enumerate(merges or ()):
        whole = len(pair) == 2 and all(type(i) is int and 0 <= i < len(symbols) for i in pair)
        if not whole or (made := ids.get(symbols[pair[0]] + symbols[pair[1]], -1)) < single:
            return f"{printable(repr(pair), keep='')[:40]} at place {place} of the merges"
        merged.add(made)
    if merges is not None and len(merged) < len(symbols) - single:
        return "symbols that no merge makes"
    return ""
