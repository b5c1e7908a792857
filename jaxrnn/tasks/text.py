"""The next symbol of a text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxrnn.checks import as_count, check_choice, check_switch
from jaxrnn.data.corpus import Corpus, load_corpus
from jaxrnn.data.long_symbols import learn_symbols
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.splits import TextSplit, split_text
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.data.windows import (
    block_of_streams,
    count_windows,
    refuse_short_part,
    reset_mask,
    to_streams,
    window_at,
)
from jaxrnn.decode.sampling import sample_ids
from jaxrnn.errors import DataError
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.loss import loss_nats
from jaxrnn.scoring.evaluation import evaluate_ids, evaluate_pieces
from jaxrnn.tasks.protocol import FRESH, Batch, Objective, Score, Task

PARTS = ("train", "validation", "test")
VALIDATION_STREAMS = 32
BLOCK_BYTES = 32 << 20  # of a text that is streamed: one block is read, the next is on its way
SHARE_OF_DEVICE = 4  # with `auto` a text that takes more than this part of a device's free memory is streamed


@dataclass(frozen=True)
class NextSymbol(Objective):
    """The next symbol of a text, at every step. The streams of the step are ids, (S + 1, B).

    Args:
      vocabulary_size: V.
      steps: T, symbols in a window.
      document_end: id of the symbol that ends a document, after which the carry is that of a fresh start; None for one
        long text.
      characters_per_symbol: of the part that is trained on, so that what is told is of characters.
      block: K, where the streams come in blocks of so many windows, see `block_of_streams`; 0 where they are whole.
      epoch: windows an epoch, where they do.
      passes_carry: false where each window starts afresh.
    """

    vocabulary_size: int
    steps: int
    document_end: int | None = None
    characters_per_symbol: float = 1.0
    block: int = 0
    epoch: int = 0
    passes_carry: bool = True

    loss_name, items, item_rate, features = "loss_nats", "chars", "chars_per_second", ()

    @property
    def items_per_row(self) -> float:
        return self.steps * self.characters_per_symbol

    @property
    def units(self) -> str:
        """What T counts."""
        return "characters" if self.characters_per_symbol == 1 else "symbols"

    @property
    def scored_too(self) -> tuple[str, ...]:
        return () if self.characters_per_symbol == 1 else ("nats_per_char",)

    @property
    def symbols(self) -> int:
        return self.vocabulary_size

    ids = symbols

    @property
    def out_features(self) -> int:
        return self.vocabulary_size

    def windows(self, streams: jax.Array) -> int:
        return self.epoch or (streams.shape[0] - 1) // self.steps

    def batch(self, key: jax.Array, state: Any, streams: jax.Array, dtype: Any) -> Batch:
        del key, dtype
        symbols = window_at(streams, *self._place(state.window))
        return Batch(symbols[:-1], symbols[1:])

    def resets(self, window: jax.Array, streams: jax.Array) -> jax.Array | None:
        if self.document_end is None:
            return None
        window, steps, offset = self._place(window)
        return reset_mask(streams, window, steps, self.document_end, offset)

    def _place(self, window: jax.Array) -> tuple[jax.Array, int, int]:
        """The window's number among those that are there, T, and the row of the first."""
        return (window % self.block, self.steps, 1) if self.block else (window, self.steps, 0)

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return loss_nats(outputs, targets)

    def make_model(self, settings: Any, options: dict[str, Any]) -> LanguageModel:
        embedding = {"embedding": settings.embedding, "tie_embedding": settings.tie_embedding}
        return LanguageModel(self.vocabulary_size, settings.hidden, **embedding, **options)

    def derived_columns(self, mean_loss: float, smooth_loss: float) -> dict[str, float]:
        return {
            "train/smooth_loss_sum_nats": smooth_loss * self.steps,
            "train/bits_per_char": self._bits(mean_loss),
        }

    def progress(self, mean_loss: float, recent_accuracy: float) -> str:
        return f"loss {mean_loss:.3f} nats {self._bits(mean_loss):.3f} bits/char"

    def _bits(self, mean_loss: float) -> float:
        return mean_loss / math.log(2) / self.characters_per_symbol


def path_of(text: str | Path | Sequence[str]) -> Path | None:
    """Where a text lies, if it is one file or directory."""
    path = Path(text) if isinstance(text, str | Path) else None
    return path.resolve() if path is not None and (path.is_file() or path.is_dir()) else None


class Text(Task):
    """The next symbol of a text, at every step: B streams of it side by side, the carry passed on.

    Args:
      text: a file, several, a directory, a known text, or a `Corpus`: see `load_corpus`.
      bptt_length: T, symbols in a window: the steps that the gradient flows through.
      batch_size: B.
      validation_fraction: share that is kept out of training and scored at each epoch's end.
      test_fraction: share at the very end that is scored once, after training.
      folds, fold: parts of the text that can be its end in turn, and which of them is: see `split_text`.
      retrain: train on the validation part as well, and validate nothing.
      reading: how bytes become characters; see `load_corpus`.
      symbols: "characters" (or bytes, as they are read), "words" or "bpe", which are learned from the part that is
        trained on; or a vocabulary. The parts are of the same characters for all.
      vocabulary_size: most symbols of words or bpe.
      stream_from: where the ids lie: "memory", all on the device; "disk", in a mapped file, from which the device is
        given two blocks of 32 MiB, one that is read and one ahead; "auto". The numbers are the same to the last bit.

    Raises:
      DataError: if the text cannot be read or a part of it is too short.

    Example:
      >>> from jaxrnn.data.corpus import corpus_from_text
      >>> text = Text(corpus_from_text("abba" * 100), bptt_length=10, batch_size=4)
      >>> len(text.vocabulary), text.windows_per_epoch
      (2, 9)
    """

    writes = True

    def __init__(
        self,
        text: str | Path | Sequence[str] | Corpus,
        *,
        bptt_length: int = 25,
        batch_size: int = 1,
        validation_fraction: float = 0.0,
        test_fraction: float = 0.0,
        fold: int = 0,
        folds: int = 1,
        retrain: bool = False,
        reading: ReadingOptions | None = None,
        stream_from: str = "auto",
        symbols: str | Vocabulary = "characters",
        vocabulary_size: int = 8000,
    ):
        bptt_length, batch_size = as_count("bptt_length", bptt_length, 1), as_count("batch_size", batch_size, 1)
        fold, folds = as_count("fold", fold, 0), as_count("folds", folds, 1)
        check_switch("retrain", retrain)
        check_choice("stream_from", stream_from, ("auto", "memory", "disk"))
        if not isinstance(symbols, Vocabulary):
            check_choice("symbols", symbols, ("characters", "words", "bpe"))
        if isinstance(text, str) and "\n" in text:
            raise DataError(
                "Text expects a file or a Corpus, got a text itself; give jaxrnn.data.corpus_from_text(text)"
            )
        known = symbols.spelt if isinstance(symbols, Vocabulary) else None
        corpus = text if isinstance(text, Corpus) else load_corpus(text, reading, known, stream_from)
        if corpus.vocabulary.spelt is not corpus.vocabulary:
            symbols = corpus.vocabulary
        if not isinstance(symbols, str) and corpus.vocabulary != symbols.spelt:
            corpus = corpus.in_symbols(symbols.spelt)
        self.path = None if isinstance(text, Corpus) else path_of(text)
        self.corpus, self.batch_size = corpus, batch_size
        self.parts = split_text(corpus.ids, validation_fraction, test_fraction, fold, folds, retrain)
        self._characters, self._cut = [len(part) for part in self.parts], {"fold": fold, "folds": folds}
        self.vocabulary = corpus.vocabulary
        if symbols not in ("characters", self.vocabulary):
            texts = [self.vocabulary.decode(part) for part in self.parts]
            if isinstance(symbols, str):
                most = as_count("vocabulary_size", vocabulary_size, 1)
                symbols = learn_symbols(symbols, texts[0], self.vocabulary, most)
            self.vocabulary = symbols
            self.parts = TextSplit(*map(symbols.encode_part, texts))
        train, whole, T = self.parts.train, sum(map(len, self.parts)), bptt_length
        characters_a_symbol = self.vocabulary.count_characters(train) / max(len(train), 1) or 1.0
        self.objective = NextSymbol(len(self.vocabulary), T, corpus.document_end, characters_a_symbol)
        valid = len(self.parts.valid) if validation_fraction and not retrain else None
        test = len(self.parts.test) if test_fraction else None
        self._counts = count_windows(len(train), T, batch_size, valid, self._unit, test)
        for part, kept, beside in (("validation", valid, test), ("test", test, valid)):
            if kept is not None:
                refuse_short_part(whole, kept, T, batch_size, part, self._unit, beside)
        self.name, self.notes = corpus.name, corpus.notes
        self.validates, self.tests = len(self.parts.valid) > 0, len(self.parts.test) > 0
        self.windows_per_epoch = self._counts.windows
        self.stream_from = stream_from
        self._take_blocks(stream_from == "disk" or (stream_from == "auto" and isinstance(corpus.ids, np.memmap)))

    @property
    def _unit(self) -> str:
        return "characters" if self.vocabulary is self.corpus.vocabulary else "symbols"

    def _take_blocks(self, are_wanted: bool) -> None:
        of_window = self.objective.steps * self.batch_size * self.parts.train.itemsize
        self.block = min(max(BLOCK_BYTES // of_window, 1), self.windows_per_epoch) if are_wanted else 0
        self.objective = replace(self.objective, block=self.block, epoch=self.windows_per_epoch if are_wanted else 0)

    def fit_into(self, free: int) -> None:
        if self.stream_from == "auto":
            self._take_blocks(self.parts.train.nbytes * SHARE_OF_DEVICE > free)

    def streams(self, update: int = 0, updates: int = 0) -> np.ndarray:
        if not self.block:
            return to_streams(self.parts.train, self.batch_size)
        window = update % self.windows_per_epoch
        where = self.objective.steps, self.block, window - window % self.block
        return block_of_streams(self.parts.train, self.batch_size, *where)

    def identity(self) -> dict[str, Any]:
        corpus = self.corpus
        return {
            "name": corpus.name,
            "path": str(self.path) if self.path is not None else None,
            "sha256": corpus.digest,
            "characters": len(corpus),
            "distinct": len(self.vocabulary),
            "reading": corpus.reading.to_json(),
            "document_end": corpus.document_end,
            **self._cut,
            **{f"{name}_characters": n for name, n in zip(PARTS, self._characters, strict=True)},
            "windows_per_epoch": self.windows_per_epoch,
            f"left_over_{self._unit}": self._counts.left_over,
            **({} if self._unit == "characters" else {"symbols": dict(zip(PARTS, map(len, self.parts), strict=True))}),
        }

    def describe(self) -> str:
        corpus, vocabulary = self.corpus, self.vocabulary
        symbols = ""
        if vocabulary is not corpus.vocabulary:
            mean = self.objective.characters_per_symbol
            symbols = f" in {len(vocabulary):,} {vocabulary.kind} and characters, a symbol is {mean:.2f} characters;"
        return (
            f"{corpus.name}: {len(corpus):,} characters, {len(corpus.vocabulary)} distinct;{symbols} an epoch is "
            f"{self.windows_per_epoch:,} updates of {self.objective.steps} x {self.batch_size} {self._unit}, "
            f"{self._counts.left_over:,} are left over"
        )

    def score(self, graphdef: nnx.GraphDef, params: Any, key: jax.Array, part: str) -> Score:
        """Scores every symbol of a part but its first, in several streams; for `FRESH` see `evaluate_pieces`.

        A text without a validation part, as `fit` may be given one to validate on, is scored whole.
        """
        del key
        if part == FRESH:
            of = evaluate_pieces(graphdef, params, self.parts.train, document_end=self.objective.document_end)
            return Score(of.loss_nats, of.accuracy, f"{of.loss_nats:.3f} nats from fresh starts")
        ids = self.parts.test if part == "test" else self.parts.valid if self.validates else self.parts.train
        streams = max(min(VALIDATION_STREAMS, (len(ids) - 1) // self.objective.steps), 1)
        counted = {"characters": self.vocabulary.count_characters(ids[1:]), "batch_size": streams}
        of = evaluate_ids(graphdef, params, ids, document_end=self.objective.document_end, **counted)
        a_character = f" a symbol, {of.nats_per_char:.4f} nats a character" if of.nats_per_char != of.loss_nats else ""
        line = (
            f"{part} {of.loss_nats:.4f} nats{a_character}, {of.bits_per_char:.4f} bits/char over {of.characters:,} "
            f"characters in {streams} streams"
        )
        return Score(of.loss_nats, of.accuracy, line, {"nats_per_char": of.nats_per_char} if a_character else {})

    def write(
        self, graphdef: nnx.GraphDef, params: Any, key: jax.Array, length: int, temperature: float, prime: str = ""
    ) -> str:
        end = self.objective.document_end
        ids = self.vocabulary.encode_prompt(prime, end)
        parts = sample_ids(
            graphdef, params, length=length, key=key, temperature=temperature, prime=ids, document_end=end
        )
        return self.vocabulary.display_text(np.concatenate(list(parts)))[:length]  # of longer symbols it is enough
