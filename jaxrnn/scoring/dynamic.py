"""Dynamic evaluation: the parameters follow a text while it is scored (Krause et al., 2018)."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.models.loss import loss_nats
from jaxrnn.models.structure import model_with
from jaxrnn.models.symbols import refuse_other_ids, symbols_of
from jaxrnn.scoring.adaptation import Adaptation
from jaxrnn.scoring.evaluation import Evaluation, read_window, windows_of

SEGMENTS = 64  # in a call of the compiled program
STATISTICS, PIECES = 100_000, 20
EPSILON = 0.1


class _Prior(NamedTuple):
    """What the parameters come back to, and per parameter: 1 / (RMS + epsilon), and min(lambda RMS / mean RMS, 1)."""

    params: Any
    scale: Any
    decay: Any


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _read_segments(graphdef, document_end, segment, params, carry, sums, prior, rate, before, window, scored):
    # One segment after the other. With a prior the parameters follow; without, squares of gradients are summed.
    def read(loop, start):
        params, carry, sums = loop
        own = jax.lax.dynamic_slice_in_dim(window, start, segment + 1)
        counts = jax.lax.dynamic_slice_in_dim(scored, start, segment)
        first = jnp.where(start == 0, before, window[start - 1])

        def loss_of(params):
            logits, following = read_window(model_with(graphdef, params), document_end, carry, first, own)
            losses = jnp.where(counts, loss_nats(logits, own[1:]), 0.0).sum()
            hits = jnp.where(counts, jnp.argmax(logits, axis=-1) == own[1:], False).sum()
            return losses / jnp.maximum(counts.sum(), 1), (following, losses, hits)

        gradient, (carry, losses, hits) = jax.grad(loss_of, has_aux=True)(params)
        if prior is None:
            sums = jax.tree.map(lambda total, g: total + g * g, sums, gradient)
        else:
            params = jax.tree.map(
                lambda p, g, start, scale, decay: p - rate * scale * g + decay * (start - p),
                params, gradient, prior.params, prior.scale, prior.decay,
            )  # fmt: skip
        return (params, carry, sums), (losses, hits)

    starts = jnp.arange(0, len(scored), segment)
    (params, carry, sums), (losses, hits) = jax.lax.scan(read, (params, carry, sums), starts)
    return params, carry, sums, losses.sum(), hits.sum()


def mean_squared_gradients(
    graphdef: nnx.GraphDef, params: Any, ids: np.ndarray, *, segment: int = 20, document_end: int | None = None
) -> Any:
    """The mean square of each parameter's gradient, of the mean loss over a segment of the training text.

    Of a long text `PIECES` evenly spaced ones are read, `STATISTICS` symbols together, each after the other.

    Args:
      graphdef: structure of a `LanguageModel`.
      params: its parameters.
      ids: the text that it was trained on, (N,).
      segment: symbols of a segment.
      document_end: id after which the carry is zeroed.
    """
    if len(ids) > STATISTICS:
        starts = np.linspace(0, len(ids) - STATISTICS // PIECES, PIECES).astype(np.int64)
        ids = np.concatenate([ids[start : start + STATISTICS // PIECES] for start in starts])
    carry, sums, segments = model_with(graphdef, params).initial_carry(1), jax.tree.map(jnp.zeros_like, params), 0
    for before, window, scored in windows_of(ids, 1, segment * SEGMENTS):
        segments += -(-int(scored.sum()) // segment)
        read = (graphdef, document_end, segment, params, carry, sums, None, 0.0, before, window, scored)
        _, carry, sums, _, _ = _read_segments(*read)
    return jax.tree.map(lambda total: total / segments, sums)


def evaluate_adapting(
    graphdef: nnx.GraphDef,
    params: Any,
    ids: np.ndarray,
    mean_squares: Any,
    adaptation: Adaptation | None = None,
    *,
    document_end: int | None = None,
    characters: int | None = None,
) -> Evaluation:
    r"""Scores a model on ids while its parameters follow them: `evaluate_ids`, and after each segment s a step

        theta <- theta - eta dL(s)/dtheta / (RMS + epsilon) + min(lambda RMS / mean(RMS), 1) (theta_0 - theta)

    with RMS the root of the mean squared gradient on the training text, by parameter, its mean over all parameters, and
    theta_0 the trained parameters: RMS with a global prior, of Krause, Kahembwe, Murray and Renals (2018), "Dynamic
    evaluation of neural sequence models". Each symbol is scored before the parameters have seen it. Here epsilon is
    `EPSILON` times the mean of RMS, so that it has the gradient's scale; L is the segment's mean loss.

    Args:
      graphdef: structure of a `LanguageModel`.
      params: theta_0; they are not changed.
      ids: (N,), N at least 2.
      mean_squares: of `mean_squared_gradients`, with segments of the same length.
      adaptation: eta, lambda, the segment's length.
      document_end: id after which the carry is zeroed; the parameters go on.
      characters: how many the scored symbols are; one each if not told.

    Raises:
      DataError: if there is nothing to predict.
    """
    adaptation = adaptation or Adaptation()
    rms = jax.tree.map(jnp.sqrt, mean_squares)
    leaves = jax.tree.leaves(rms)
    mean = sum(leaf.sum() for leaf in leaves) / sum(leaf.size for leaf in leaves)
    mean = jnp.where(mean > 0, mean, 1)
    prior = _Prior(
        params,
        jax.tree.map(lambda r: 1 / (r + EPSILON * mean), rms),
        jax.tree.map(lambda r: jnp.minimum(adaptation.decay * r / mean, 1), rms),
    )
    model = model_with(graphdef, params)
    carry, symbols = model.initial_carry(1), len(ids) - 1
    refuse_other_ids(ids, symbols_of(model))
    loss_sum, hit_sum = 0.0, 0
    for before, window, scored in windows_of(ids, 1, adaptation.segment * SEGMENTS):
        read = (graphdef, document_end, adaptation.segment, params, carry, (), prior, adaptation.rate)
        params, carry, _, losses, hits = _read_segments(*read, before, window, scored)
        loss_sum, hit_sum = loss_sum + float(losses), hit_sum + int(hits)
    return Evaluation(loss_sum / symbols, hit_sum / symbols, symbols if characters is None else characters, symbols)
