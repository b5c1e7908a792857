"""What a language model makes of a text, read once, window by window: guesses, gates, units."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.errors import ConfigurationError, DataError
from jaxrnn.inspect.activity import Activity, observing
from jaxrnn.models.loss import loss_nats
from jaxrnn.models.symbols import refuse_other_ids, symbols_of
from jaxrnn.scoring.evaluation import PIECES, read_window, windows_of

WINDOW = 256
LOW, HIGH = 0.1, 0.9  # outside of these a gate is called saturated


class Guesses(NamedTuple):
    """What a model thought of each symbol of a text before it saw it. N symbols were read, the first is not guessed.

    Attributes:
      log_p: log of the probability of the true symbol, nats, (N - 1,).
      best: ids of the most probable symbols, the best first, (N - 1, K).
      best_p: their probabilities, (N - 1, K).
      entropy: of the whole distribution, nats, (N - 1,).
    """

    log_p: np.ndarray
    best: np.ndarray
    best_p: np.ndarray
    entropy: np.ndarray


class GateShares(NamedTuple):
    """How one gate of a layer was over a text, by unit.

    Attributes:
      low: share of steps below 0.1, (H,).
      high: share above 0.9, (H,).
      mean: (H,).
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray


class LayerSummary(NamedTuple):
    """How a layer was over a text.

    Attributes:
      gates: the shares of each gate, by its name.
      mean: of each part of the carry by name, (H,).
      deviation: standard deviation of the same, (H,).
    """

    gates: dict[str, GateShares]
    mean: dict[str, np.ndarray]
    deviation: dict[str, np.ndarray]


Summary = Callable[[jax.Array, jax.Array, jax.Array, list[Activity]], Any]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _read(graphdef, document_end, summary, state, carry, before, window, scored):
    found: list[Activity] = []
    engine = observing(found)
    logits, carry = read_window(nnx.merge(graphdef, state), document_end, carry, before, window, engine=engine)
    return carry, summary(logits, window[1:], scored, found)


def read_windows(
    model: Any, ids: np.ndarray, summary: Summary, *, before: np.ndarray | None = None, document_end: int | None = None
) -> Iterator[tuple[int, Any]]:
    """Reads a text from a fresh start in one stream, and gives what a function makes of each window.

    Memory is bounded by the window of `WINDOW` steps; one program serves all windows.

    Args:
      model: a `LanguageModel`, or another with ids in and logits out that hands `engine` on to `unroll`.
      ids: (N,), N at least 2.
      summary: called while tracing as (logits (T, 1, V), targets (T, 1), scored (T, 1), layers); a function of its own
        each time is compiled each time.
      before: ids that are read first, warm, and not looked at.
      document_end: id after which the carry is that of a fresh start.

    Yields:
      The index in `ids` of the window's first target, and what the function gave, as arrays of the host.

    Raises:
      DataError: if there is nothing to predict.
      ValueError: if there are ids that are no symbols of the model.
    """
    if len(ids) < 2:
        raise DataError(f"a text to look at needs at least 2 characters, got {len(ids)}; give a longer one")
    model.eval()
    refuse_other_ids(ids, symbols_of(model))
    refuse_other_ids([] if before is None else before, symbols_of(model))
    graphdef, state = nnx.split(model)
    carry = model.initial_carry(1)
    warm = np.asarray([] if before is None else before, np.int64)
    whole = np.concatenate([warm, np.asarray(ids, np.int64)]).astype(np.int32)
    for start, (last, window, scored) in enumerate(windows_of(whole, 1, WINDOW)):
        first = start * WINDOW + 1 - len(warm)
        scored &= (np.arange(first, first + WINDOW) > 0)[:, None]  # the first of `ids` is an input, not a target
        carry, made = _read(graphdef, document_end, summary, state, carry, last, window, scored)
        if first + WINDOW > 1:
            yield first, jax.tree.map(np.asarray, made)


def _gather(model: Any, ids: np.ndarray, summary: Summary, **options: Any) -> tuple[Any, Any]:
    """Of a summary of (a row for each step, sums over the steps): all rows, (N - 1, ...), and all sums, in float64."""
    parts, total, last = [], None, len(ids) - 1
    for first, (rows, sums) in read_windows(model, ids, summary, **options):
        parts.append(jax.tree.map(lambda part, f=first: part[max(1 - f, 0) : last + 1 - f], rows))
        sums = jax.tree.map(lambda a: a.astype(np.float64), sums)
        total = sums if total is None else jax.tree.map(np.add, total, sums)
    return jax.tree.map(lambda *of: np.concatenate(of), *parts), total


@functools.lru_cache
def _guesses_of(best: int) -> Summary:
    def guesses(logits: Any, targets: Any, scored: Any, layers: Any) -> Any:
        del scored, layers
        log_p = jax.nn.log_softmax(logits[:, 0].astype(jnp.promote_types(logits.dtype, jnp.float32)))
        true = jnp.take_along_axis(log_p, targets, axis=1)[:, 0]
        p, ids = jax.lax.top_k(log_p, best)
        return (true, ids, jnp.exp(p), -(jnp.exp(log_p) * log_p).sum(-1)), ()

    return guesses


def guess(
    model: Any,
    ids: np.ndarray,
    *,
    best: int = 5,
    before: np.ndarray | None = None,
    document_end: int | None = None,
) -> Guesses:
    """The probability of each true symbol and the best guesses; cold from a fresh start, or warm after other text.

        mean of -log_p = the loss that `evaluate` gives, in nats a symbol

    Args:
      model: a language model.
      ids: the text, (N,).
      best: K, at most the number of symbols.
      before: what is read first: the text before `ids`; None starts cold.
      document_end: see `read_windows`.

    Example:
      >>> from jaxrnn.models.language_model import LanguageModel
      >>> model = LanguageModel(3, 4, rngs=nnx.Rngs(0))
      >>> guesses = guess(model, np.array([0, 1, 2, 1, 0]), best=2)
      >>> guesses.log_p.shape, guesses.best.shape
      ((4,), (4, 2))
    """
    if not hasattr(best, "__index__") or not 1 <= best <= symbols_of(model):
        raise ConfigurationError(f"guess expects 1 to {symbols_of(model)} best guesses, got {best!r}")
    return Guesses(*_gather(model, ids, _guesses_of(best), before=before, document_end=document_end)[0])


def activations(model: Any, ids: np.ndarray, *, document_end: int | None = None, part: str = "h") -> list[np.ndarray]:
    """A part of the carry after each symbol but the last, of every unit of each layer: 4 N H bytes a layer.

    Args:
      model: a language model.
      ids: the text, (N,).
      document_end: see `read_windows`.
      part: "h", of an LSTM "c" too, or a gate by its name.

    Returns:
      By layer (N - 1, H): row n after reading `ids[n]`.

    Raises:
      ConfigurationError: if a layer has no such part.
    """
    return _gather(model, ids, _part_of(part), document_end=document_end)[0]


@functools.lru_cache
def _part_of(part: str) -> Summary:
    def values(logits: Any, targets: Any, scored: Any, layers: list[Activity]) -> Any:
        del logits, targets, scored
        known = [layer.carry | layer.gates for layer in layers]
        for number, of in enumerate(known):
            if part not in of:
                raise ConfigurationError(f"layer {number} has no {part!r}; it has {', '.join(of)}")
        return [of[part][:, 0] for of in known], ()

    return values


def _sums(logits: Any, targets: Any, scored: Any, layers: list[Activity]) -> Any:
    del logits, targets
    counted = scored[:, :, None]

    def total(values: Any) -> Any:
        return jnp.where(counted, values, 0).sum((0, 1))

    return (), [
        (
            {name: (total(gate < LOW), total(gate > HIGH), total(gate)) for name, gate in layer.gates.items()},
            {name: (total(part), total(part * part)) for name, part in layer.carry.items()},
        )
        for layer in layers
    ]


def summarise_layers(model: Any, ids: np.ndarray, *, document_end: int | None = None) -> list[LayerSummary]:
    """Gates and units of every layer over a text, in one pass of bounded memory.

    Args:
      model: a language model.
      ids: the text, (N,); the steps that read all but its last symbol count.
      document_end: see `read_windows`.

    Returns:
      By layer, from the lowest up.
    """
    return _layers_of(_gather(model, ids, _sums, document_end=document_end)[1], len(ids) - 1)


def _layers_of(total: Any, n: int) -> list[LayerSummary]:
    return [
        LayerSummary(
            {name: GateShares(*(of / n for of in sums)) for name, sums in gates.items()},
            {name: sums[0] / n for name, sums in parts.items()},
            {name: np.sqrt(np.maximum(sums[1] / n - (sums[0] / n) ** 2, 0)) for name, sums in parts.items()},
        )
        for gates, parts in total
    ]


@functools.lru_cache
def _everything(best: int) -> Summary:
    def of(*given: Any) -> Any:
        (guesses, _), (h, _), (_, sums) = (summary(*given) for summary in (_guesses_of(best), _part_of("h"), _sums))
        return (guesses, h), sums

    return of


def read_once(
    model: Any, ids: np.ndarray, *, best: int, before: np.ndarray | None = None, document_end: int | None = None
) -> tuple[Guesses, list[np.ndarray], list[LayerSummary]]:
    """What `guess`, `activations` and `summarise_layers` give, in one pass, all three after the same start."""
    options: dict[str, Any] = {"before": before, "document_end": document_end}
    (guesses, h), sums = _gather(model, ids, _everything(best), **options)
    return Guesses(*guesses), h, _layers_of(sums, len(ids) - 1)


class LossAlong(NamedTuple):
    """The loss of pieces of a text, evenly spaced, each read from a fresh start.

    Attributes:
      places: where each begins, symbols from the text's start, (P,).
      losses: mean of - log p over a piece without its first fifth, nats a symbol, (P,).
    """

    places: np.ndarray
    losses: np.ndarray


@functools.partial(jax.jit, static_argnums=(0, 1))
def _losses(graphdef, document_end, state, pieces):
    model = nnx.merge(graphdef, state)
    logits, _ = read_window(model, document_end, model.initial_carry(pieces.shape[1]), pieces[0], pieces)
    return loss_nats(logits, pieces[1:])[len(pieces) // 5 :].mean(0)


def loss_along(model: Any, ids: np.ndarray, pieces: int, *, document_end: int | None = None) -> LossAlong:
    """The loss along a text of any length, from a few pieces of `WINDOW` symbols.

    Args:
      model: a language model.
      ids: the text, (N,), N at least 2.
      pieces: P, or fewer where they would overlap.
      document_end: see `read_windows`.
    """
    model.eval()
    ids = np.asarray(ids)
    refuse_other_ids(ids, symbols_of(model))
    graphdef, state = nnx.split(model)
    steps = min(WINDOW, len(ids) - 1)
    places = np.linspace(0, len(ids) - 1 - steps, min(pieces, (len(ids) - 1) // steps)).astype(np.int64)
    losses = []
    for start in range(0, len(places), PIECES):
        of = np.resize(places[start : start + PIECES], min(PIECES, len(places)))  # filled up: one program serves all
        read = np.asarray(ids[of + np.arange(steps + 1)[:, None]], np.int32)
        losses.append(np.asarray(_losses(graphdef, document_end, state, read)))
    return LossAlong(places, np.concatenate(losses)[: len(places)])
