"""From ids to the texts that a model writes: streamed one by one, several at once, or searched for."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrnn.checks import check_count
from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.decode.beams import Found, search_ids
from jaxrnn.decode.sampling import CHUNK, Sample, sample_ids
from jaxrnn.decode.settings import Decoding
from jaxrnn.decode.stops import Stops
from jaxrnn.decode.writing import write_ids
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable

MOST_TEXTS = 10_000
NOISE = 1 << 26  # random numbers of a chunk of all texts that are written side by side: 256 MiB in float32
NOTHING = np.zeros((0,), np.int32)


class Writer:
    """A trained model that is about to write.

    Args:
      graphdef: structure of a `LanguageModel`.
      params: its parameters.
      vocabulary: its symbols.
      document_end: id after which the carry is that of a fresh start, or None.
      reading: how a file's bytes become characters.
      prime: text that it reads first.
      prime_file: a file to read in its place.
      show_prime: whether what is read stands before the text.
      decoding: how it writes, and what ends a text: those of `Decoding`.

    Raises:
      ConfigurationError: if options do not go together, or documents are to end and there are none.
      DataError: if what is to be read, or a stop, has a character that the model does not know.
    """

    def __init__(
        self,
        graphdef: Any,
        params: Any,
        vocabulary: Vocabulary,
        document_end: int | None,
        reading: ReadingOptions,
        *,
        prime: str = "",
        prime_file: str | Path | None = None,
        show_prime: bool = False,
        **decoding: Any,
    ):
        self._decoding = how = Decoding(**decoding)
        if not isinstance(prime or "", str):
            raise ConfigurationError(f"--prime expects a text; got {printable(repr(prime), keep='')[:40]}")
        if how.until_document_end and document_end is None:
            raise ConfigurationError("--until-document-end expects a run of documents; give --stop, or leave it out")
        if prime and prime_file is not None:
            raise ConfigurationError("--prime and --prime-file are two; give one of them")
        end = document_end if how.until_document_end else None
        self._vocabulary = vocabulary
        self._stops = Stops(vocabulary, how.stop, end, how.keep_stop)
        if prime_file is not None:
            ids = load_corpus(prime_file, reading, vocabulary).ids
        elif how.start == "cold" and not prime:
            ids = NOTHING
        else:
            ids = vocabulary.encode_prompt(prime, document_end)
        self._prime = vocabulary.display_text(ids) if show_prime and (prime or prime_file is not None) else ""
        self._read: dict[str, Any] = dict(graphdef=graphdef, params=params, prime=ids, document_end=document_end)
        self._rules: dict[str, Any] = {"decoding": how, "table": self._stops.table}

    def stream(self, length: int, key: jax.Array) -> Iterator[str]:
        """One text, part by part, in constant memory; a search gives it whole."""
        parts: Iterator[np.ndarray]
        if self._decoding.beams is not None:
            yield self.texts(length, key[None])[0]
            return
        yield self._prime
        if self._decoding.is_plain and self._stops.table is None:
            told: dict[str, Any] = {"temperature": self._decoding.temperature, "start": self._decoding.start}
            parts = sample_ids(length=length, key=key, **told, **self._read)
        else:
            parts = (part[0] for part in self._written(length, key[None]))
        yield from self._shown(parts, length)

    def texts(self, length: int, keys: jax.Array) -> list[Sample]:
        """N texts, one a key: written side by side, or the N best of a search, which may find fewer.

        Raises:
          ConfigurationError: if that is more than the search has candidates.
        """
        check_count("samples", len(keys), 1, self._decoding.beams or MOST_TEXTS)
        if self._decoding.beams is None:
            most = max(1, NOISE // (CHUNK * len(self._vocabulary)))
            groups = [list(self._written(length, keys[k : k + most])) for k in range(0, len(keys), most)]
            texts = [np.concatenate(of) for parts in groups for of in zip(*parts, strict=True)]
            found = [Found(ids, None) for ids in texts or [NOTHING] * len(keys)]
        else:
            widths = np.array([len(symbol) for symbol in self._vocabulary.symbols], np.int32)
            kept: dict[str, Any] = {"keep": len(keys), "widths": widths if widths.max() > 1 else None}
            found = search_ids(length=length, key=keys[0], **kept, **self._rules, **self._read)
        return [Sample(self._prime + "".join(self._shown([one.ids], length)), one.log_p) for one in found]

    def _written(self, length: int, keys: jax.Array) -> Iterator[list[np.ndarray]]:
        return write_ids(length=length, keys=keys, **self._rules, **self._read)

    def _shown(self, parts: Iterable[np.ndarray], length: int) -> Iterator[str]:
        texts = self._stops.cut(self._vocabulary.decode(part) for part in parts)
        return as_utf8(texts) if self._vocabulary.bytes_mode else first_of(texts, length)


def first_of(parts: Iterable[str], length: int) -> Iterator[str]:
    """The first so many characters: symbols that are longer need not be so many."""
    for part in parts:
        yield part[:length]
        length -= len(part)
        if length <= 0:
            return


def as_utf8(parts: Iterable[str]) -> Iterator[str]:
    """Bytes as text: a character may be cut between two parts."""
    return codecs.iterdecode((part.encode("latin-1") for part in parts), "utf-8", "backslashreplace")
