"""How good a model is on a text: every symbol scored once, with the carry passed on."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.data.windows import scored_streams
from jaxrnn.models.loss import loss_nats
from jaxrnn.models.structure import model_with
from jaxrnn.models.symbols import refuse_other_ids
from jaxrnn.terminal.table import Shown

EVALUATION_STEPS = 256
PIECES = 32


class Evaluation(NamedTuple):
    """Scores of a model on a text.

    Attributes:
      loss_nats: mean negative log-likelihood per predicted symbol.
      accuracy: share of symbols to which the model gives the highest probability.
      characters: how many were scored.
      symbols: how many were scored; as many, if not told.
    """

    loss_nats: float
    accuracy: float
    characters: int
    symbols: int | None = None

    def _repr_html_(self) -> str:
        return self.numbers()._repr_html_()

    def numbers(self) -> Shown:
        """All of them by name."""
        names = ("loss_nats", "nats_per_char", "bits_per_char", "perplexity", "accuracy", "characters")
        symbols = {} if self.symbols in (None, self.characters) else {"symbols": self.symbols}
        return Shown({name: getattr(self, name) for name in names} | symbols)

    @property
    def nats_per_char(self) -> float:
        """The loss of the whole text, divided by its characters: what compares whatever the symbols are."""
        if self.symbols in (None, self.characters):
            return self.loss_nats
        return self.loss_nats * self.symbols / max(self.characters, 1)  # bytes may be no characters at all

    @property
    def bits_per_char(self) -> float:
        """nats_per_char / ln 2."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(loss_nats), of a symbol; infinite where that overflows."""
        return float(np.exp(np.float64(min(self.loss_nats, 1e4)))) if self.loss_nats < 700 else math.inf


def read_window(
    model: Any, document_end: int | None, carry: Any, before: jax.Array, window: jax.Array, **options: Any
) -> tuple[jax.Array, Any]:
    """What a model says of a window (T + 1, B) before each symbol but the first: logits (T, B, V), and the carry.

    Args:
      model: a `LanguageModel`, or another with ids in and logits out.
      document_end: id after which the carry is that of a fresh start.
      carry: at the window's start.
      before: the symbols that stand before the window, (B,).
      window: ids.
      options: more of what the model's call takes.
    """
    inputs = window[:-1]
    if document_end is not None:
        options["resets"] = jnp.concatenate([before[None], inputs[:-1]]) == document_end
    return model(inputs, carry, **options)


def windows_of(ids: np.ndarray, batch_size: int, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A text window by window: the symbols before it (B,), its own (steps + 1, B), and which are scored (steps, B)."""
    streams, scored = scored_streams(ids, batch_size, steps)
    for start in range(0, len(scored), steps):
        yield streams[max(start - 1, 0)], streams[start : start + steps + 1], scored[start : start + steps]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score_window(graphdef, document_end, params, carry, before, window, scored):
    logits, carry = read_window(model_with(graphdef, params), document_end, carry, before, window)
    losses = jnp.where(scored, loss_nats(logits, window[1:]), 0.0)
    hits = jnp.where(scored, jnp.argmax(logits, axis=-1) == window[1:], False)
    return carry, losses.sum(), hits.sum()


def evaluate_ids(
    graphdef: nnx.GraphDef,
    params: Any,
    ids: np.ndarray,
    *,
    batch_size: int = 1,
    document_end: int | None = None,
    characters: int | None = None,
) -> Evaluation:
    """Scores a model on ids: every symbol but the first exactly once.

    With a batch of 1 the carry is passed on from beginning to end. B streams side by side are faster, for scores during
    training, and nearly the same: see `scored_streams`.

    Args:
      graphdef: structure of a `LanguageModel`.
      params: its parameters.
      ids: (N,), N at least 2.
      batch_size: B.
      document_end: id after which the carry is zeroed.
      characters: how many those symbols are; one each if not told.

    Raises:
      DataError: if there is nothing to predict.
      ValueError: if there are ids that are no symbols of the model.
    """
    model = model_with(graphdef, params)
    # Another model would have to be traced to know, each time that a run is validated.
    known = getattr(model, "vocabulary_size", None)
    carry, scores = model.initial_carry(batch_size), []
    for window in windows_of(ids, batch_size, EVALUATION_STEPS):
        if known is not None:
            refuse_other_ids(window[1], known)
        carry, *score = _score_window(graphdef, document_end, params, carry, *window)
        scores.append(score)
    symbols = len(ids) - 1
    # Added on the host, in double precision.
    loss_sum, hits = sum(float(loss) for loss, _ in scores), sum(int(hit) for _, hit in scores)
    return Evaluation(loss_sum / symbols, hits / symbols, symbols if characters is None else characters, symbols)


def evaluate_pieces(
    graphdef: nnx.GraphDef, params: Any, ids: np.ndarray, *, document_end: int | None = None
) -> Evaluation:
    """Scores a model on up to `PIECES` evenly spaced pieces of `EVALUATION_STEPS` symbols, each from a fresh start.

    Args:
      graphdef: structure of a `LanguageModel`.
      params: its parameters.
      ids: (N,), N at least 2; short ones are fewer pieces, or a shorter one.
      document_end: id after which the carry is that of a fresh start.
    """
    pieces = _pieces_of(ids)
    scored = np.ones((len(pieces) - 1, pieces.shape[1]), bool)
    carry = model_with(graphdef, params).initial_carry(pieces.shape[1])
    _, loss, hits = _score_window(graphdef, document_end, params, carry, pieces[0], pieces, scored)
    return Evaluation(float(loss) / scored.size, int(hits) / scored.size, scored.size)


def lost_pieces(
    graphdef: nnx.GraphDef, params: Any, ids: np.ndarray, chance: float, *, document_end: int | None = None
) -> tuple[int, int]:
    """How many of the pieces of `evaluate_pieces` have a loss above `chance`, that of knowing nothing, and of how many.

    After such a start the network is in a state that training never met, and most often stays in it.
    """
    pieces = _pieces_of(ids)
    losses = np.asarray(_losses_of_pieces(graphdef, document_end, params, pieces), np.float64).mean(axis=0)
    return int((losses > chance).sum()), len(losses)


def _pieces_of(ids: np.ndarray) -> np.ndarray:
    steps = min(EVALUATION_STEPS, len(ids) - 1)
    starts = np.linspace(0, len(ids) - 1 - steps, min(PIECES, (len(ids) - 1) // steps)).astype(np.int64)
    return ids[starts + np.arange(steps + 1)[:, None]]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _losses_of_pieces(graphdef, document_end, params, pieces):
    model = model_with(graphdef, params)
    logits, _ = read_window(model, document_end, model.initial_carry(pieces.shape[1]), pieces[0], pieces)
    return loss_nats(logits, pieces[1:])
