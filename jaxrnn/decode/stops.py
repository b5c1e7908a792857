"""What ends a text: strings, found by an automaton that runs inside the compiled program."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import numpy as np

from jaxrnn.data.vocabulary import Vocabulary, named
from jaxrnn.errors import DataError
from jaxrnn.terminal.printable import printable

BEGIN, END = 0, 1  # places of the automaton
PLACES = 16  # their number is rounded up to a multiple, so that most texts share a program


def stop_table(symbols: list[str], stops: Iterable[str]) -> np.ndarray:
    """The automaton of Aho and Corasick (1975) over symbols: the place after each symbol, by place, (places, V).

    A place is how much of a stop the text ends with. `BEGIN` is nothing, `END` a whole one, which is never left. A
    symbol may be several characters, and a stop may begin or end inside one.

    Example:
      >>> stop_table(["a", "b"], ["ab"])[:3].tolist()
      [[2, 0], [1, 1], [2, 1]]
    """
    stops = tuple(stops)
    begun = ["", None, *dict.fromkeys(stop[:n] for stop in stops for n in range(1, len(stop)))]
    place_of = {text: place for place, text in enumerate(begun)}

    @functools.cache
    def after(place: int, character: str) -> int:
        text = (begun[place] or "") + character
        if place == END or text.endswith(stops):
            return END
        return next(place_of[text[n:]] for n in range(len(text) + 1) if text[n:] in place_of)

    table = np.full((-(-len(begun) // PLACES) * PLACES, len(symbols)), BEGIN, np.int32)
    for place in range(len(begun)):
        for number, symbol in enumerate(symbols):
            table[place, number] = functools.reduce(after, symbol, place)
    return table


class Stops:
    """What ends a text that is written with a vocabulary.

    Args:
      vocabulary: the symbols.
      stops: texts that end it.
      document_end: id of a symbol that ends it, or None.
      keep: whether what ended it is part of the text.

    Raises:
      DataError: if a text has a character that the model never writes.
    """

    def __init__(self, vocabulary: Vocabulary, stops: Iterable[str], document_end: int | None, keep: bool):
        symbols = [vocabulary.decode([number]) for number in range(len(vocabulary))]
        written = set("".join(symbols))
        self._stops = [
            s.encode("utf-8", "surrogateescape").decode("latin-1") if vocabulary.bytes_mode else s for s in stops
        ]
        for stop in self._stops:
            if unknown := [c for c in stop if c not in written]:
                raise DataError(
                    f"--stop {printable(repr(stop), keep='')[:40]} never comes: the model does not write "
                    f"{named(unknown[0])}; give a text of the vocabulary's symbols"
                )
        self._stops += [] if document_end is None else [symbols[document_end]]
        self._keep = keep
        self.table = stop_table(symbols, self._stops) if self._stops else None

    def cut(self, parts: Iterable[str]) -> Iterator[str]:
        """A text part by part, up to what ends it; as much is held back as may be the beginning of that."""
        if not self._stops:
            yield from parts
            return
        held = ""
        for part in parts:
            held += part
            found = [(at + len(stop), at) for stop in self._stops if (at := held.find(stop)) >= 0]
            if found:
                yield held[: min(found)[0 if self._keep else 1]]
                return
            ready = len(held) - max(map(len, self._stops)) + 1
            if ready > 0:
                yield held[:ready]
                held = held[ready:]
        yield held
