"""Where a guess comes from, and where units have been on before."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.errors import ConfigurationError
from jaxrnn.models.symbols import refuse_other_ids, symbols_of


class Span(NamedTuple):
    """A stretch of text, [start, stop), and the share of the asked-for units that are on all through it."""

    start: int
    stop: int
    share: float


@functools.partial(jax.jit, static_argnums=0)
def _dependence(graphdef, state, ids):
    model = nnx.merge(graphdef, state)

    def log_p(one_hot: jax.Array) -> jax.Array:
        xs = one_hot if model.embedding is None else one_hot @ model.embedding[...]
        h, _ = model.stack(xs[:, None], model.initial_carry(1))
        W_y = model.embedding[...].T if model.W_y is None else model.W_y[...]
        return jax.nn.log_softmax(h[-1, 0] @ W_y + model.b_y[...])[ids[-1]]

    dtype = model.b_y[...].dtype
    gradient = jax.grad(log_p)(jax.nn.one_hot(ids[:-1], model.vocabulary_size, dtype=dtype))
    here = jnp.take_along_axis(gradient, ids[:-1, None], axis=1)
    return jnp.sqrt(((gradient - here) ** 2).mean(-1))


def depends_on(model: Any, ids: np.ndarray) -> np.ndarray:
    r"""How much the guess of a text's last symbol depends on each symbol before it.

        g_s = d log p(x_T | x_1 .. x_{T-1}) / d x_s            x_s as a one-hot vector, s = 1 .. T - 1
        d_s = root of the mean over symbols k of (g_sk - g_s,x_s)^2

    So d_s is, to first order, how much log p changes when x_s is replaced by another symbol; `effect_of_replacing`
    replaces it in truth.

    Args:
      model: a `LanguageModel`.
      ids: (T,), from a fresh start; all of it is held at once.

    Returns:
      (T - 1,).
    """
    return np.asarray(_dependence(*_taken_apart(model, ids)))


def _taken_apart(model: Any, ids: np.ndarray) -> tuple[Any, Any, jax.Array]:
    """The model's structure and state, and the text."""
    if len(ids) < 2:
        raise ConfigurationError(f"a guess expects a text of at least 2 characters, got {len(ids)}")
    model.eval()
    refuse_other_ids(ids, symbols_of(model))
    return *nnx.split(model), jnp.asarray(np.asarray(ids, np.int32))


@functools.partial(jax.jit, static_argnums=0)
def _replaced(graphdef, state, ids, place):
    model = nnx.merge(graphdef, state)
    V = model.vocabulary_size
    texts = jnp.tile(ids[:-1, None], (1, V)).at[place].set(jnp.arange(V, dtype=ids.dtype))
    logits, _ = model(texts, model.initial_carry(V))
    return jax.nn.log_softmax(logits[-1])[:, ids[-1]]


def effect_of_replacing(model: Any, ids: np.ndarray, places: np.ndarray | None = None) -> np.ndarray:
    """How much the log probability of a text's last symbol really changes when an earlier one is replaced.

    Args:
      model: a `LanguageModel`.
      ids: (T,).
      places: which symbols, from 0; all but the last if None.

    Returns:
      The root of the mean square, over all V symbols in its place, of log p then less log p now, one a place.
    """
    graphdef, state, given = _taken_apart(model, ids)
    found = []
    for place in np.arange(len(ids) - 1) if places is None else places:
        log_p = np.asarray(_replaced(graphdef, state, given, int(place)), np.float64)
        found.append(np.sqrt(((log_p - log_p[int(ids[place])]) ** 2).mean()))
    return np.array(found)


def response(activations: np.ndarray, ids: np.ndarray, symbols: int) -> np.ndarray:
    """The mean of each unit after each symbol: unit by symbol, (U, V); NaN for a symbol that is not in the text.

    Args:
      activations: (N, U): row n after the model has read symbol n.
      ids: (N,).
      symbols: V.

    Example:
      >>> response(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 1]), 2).tolist()
      [[2.0, 5.0]]
    """
    counts = np.bincount(ids, minlength=symbols)
    sums = np.stack([np.bincount(ids, weights=column, minlength=symbols) for column in activations.T])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def similar_spans(
    activations: np.ndarray, start: int, stop: int, *, threshold: float = 0.3, most: int = 10
) -> tuple[np.ndarray, list[Span]]:
    """Where else the units are on that are on in a stretch of text, and were off just before and after it.

    After LSTMVis (Strobelt et al., 2018). A unit is on where its activation is above the threshold.

    Args:
      activations: (N, U).
      start, stop: the stretch, [start, stop).
      threshold: of "on".
      most: how many are given.

    Returns:
      The units; and other stretches of the same length, not overlapping, the largest share of these units first, then
      the earliest.

    Raises:
      ConfigurationError: if there is no such stretch.
    """
    if not 0 <= start < stop <= len(activations):
        raise ConfigurationError(
            f"a stretch of {len(activations)} characters expects a start below its end, got {start} and {stop}"
        )
    on, length = activations > threshold, stop - start
    chosen = on[start:stop].all(0)
    for outside in (start - 1, stop):
        if 0 <= outside < len(on):
            chosen &= ~on[outside]
    units = np.flatnonzero(chosen)
    if not len(units):
        return units, []
    counts = np.vstack([np.zeros(len(units), np.int64), on[:, units].cumsum(0)])
    shares = (counts[length:] - counts[:-length] == length).mean(1)
    shares[max(start - length + 1, 0) : stop] = 0
    found: list[Span] = []
    for at in np.argsort(-shares, kind="stable"):
        if shares[at] == 0 or len(found) == most:
            break
        if all(abs(at - span.start) >= length for span in found):
            found.append(Span(int(at), int(at) + length, float(shares[at])))
    return units, found
