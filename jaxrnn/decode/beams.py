"""Search for the most probable text, many candidates side by side, in one compiled loop."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.decode.sampling import CHUNK, FREE, check_length, fresh_after, on_device
from jaxrnn.decode.settings import Decoding
from jaxrnn.decode.stops import END
from jaxrnn.decode.writing import begun
from jaxrnn.models.structure import model_with


class Beams(NamedTuple):
    """B candidates, the best first.

    Attributes:
      carry: of a batch of B.
      before, last: the symbol that was read last, and the one to be read next; (B,).
      place: of the automaton that looks for what ends a text, (B,); a candidate that has ended stays as it is.
      log_p: (B,); minus infinity where there is no candidate yet.
      symbols: how many each has, (B,).
      left: characters that each may still write, (B,); None where every symbol is one.
    """

    carry: Any
    before: jax.Array
    last: jax.Array
    place: jax.Array
    log_p: jax.Array
    symbols: jax.Array
    left: jax.Array | None


class Found(NamedTuple):
    """A text that a search found.

    Attributes:
      ids: int32; what ended it is the last.
      log_p: natural logarithm of its probability after the prime; None where nothing was searched.
    """

    ids: np.ndarray
    log_p: float | None


@functools.partial(jax.jit, static_argnums=(0, 1))
def _search_chunk(graphdef, document_end, params, beams, steps, alpha, keep, longest, table, widths):
    # Back pointers are kept in place of the texts: nothing is copied but carries.
    model = model_with(graphdef, params)
    count = len(beams.log_p)

    def rank(log_p, symbols):
        return log_p / jnp.maximum(symbols, 1).astype(log_p.dtype) ** alpha

    def step(loop):
        t, beams, parents, drawn, gains = loop
        carry = fresh_after(document_end, beams.before, beams.carry, model)
        logits, carry = model(beams.last[None], carry)
        gain = jax.nn.log_softmax(logits[0])
        if widths is not None:
            gain = jnp.where(widths[None, :] > beams.left[:, None], -jnp.inf, gain)  # what would have to be cut
        ended = beams.place == END
        stays = jnp.where(jnp.arange(gain.shape[1]) == 0, 0.0, -jnp.inf).astype(gain.dtype)
        gain = jnp.where(ended[:, None], stays[None, :], gain)
        symbols = beams.symbols + ~ended
        ranks = rank(beams.log_p[:, None] + gain, symbols[:, None])
        _, best = jax.lax.top_k(ranks.reshape(-1), count)
        parent, symbol = best // gain.shape[1], (best % gain.shape[1]).astype(jnp.int32)
        gained, ended = gain.reshape(-1)[best], ended[parent]
        place = beams.place[parent] if table is None else table[beams.place[parent], symbol]
        left = None
        if widths is not None:
            left = beams.left[parent] - jnp.where(ended, 0, widths[symbol])
            place = jnp.where(left == 0, END, place)
        beams = Beams(
            jax.tree.map(lambda c: c[parent], carry),
            beams.last[parent],
            jnp.where(ended, beams.last[parent], symbol),
            place,
            beams.log_p[parent] + gained,
            symbols[parent],
            left,
        )
        rows = (parent.astype(jnp.int32), jnp.where(ended, FREE, symbol), gained)
        stored = [
            jax.lax.dynamic_update_index_in_dim(of, row, t, 0)
            for of, row in zip((parents, drawn, gains), rows, strict=True)
        ]
        return t + 1, beams, *stored

    def is_open(beams):
        # The most that one who goes on can reach, against those who have ended.
        ended = beams.place == END
        most = jnp.max(jnp.where(ended, -jnp.inf, rank(beams.log_p, longest)))
        settled = (ended & (beams.log_p > -jnp.inf) & (rank(beams.log_p, beams.symbols) >= most)).sum() >= keep
        return ~settled & (most > -jnp.inf)

    whole = (CHUNK, count)
    kept = [jnp.zeros(whole, jnp.int32), jnp.full(whole, FREE), jnp.zeros(whole, beams.log_p.dtype)]
    start = (jnp.int32(0), beams, *kept)
    t, beams, *kept = jax.lax.while_loop(lambda loop: (loop[0] < steps) & is_open(loop[1]), step, start)
    return t, beams, kept, rank(beams.log_p, beams.symbols), is_open(beams)


def search_ids(
    graphdef: nnx.GraphDef,
    params: dict,
    *,
    length: int,
    decoding: Decoding,
    keep: int = 1,
    key: jax.Array,
    prime: np.ndarray | None = None,
    document_end: int | None = None,
    table: np.ndarray | None = None,
    widths: np.ndarray | None = None,
) -> list[Found]:
    r"""The most probable texts of at most `length` characters that a beam search finds, the best first.

        log p(y_1 .. y_L) = sum_t log p(y_t | prime, y_1 .. y_{t-1})          ranked by log p / L^A

    Each step keeps the B best of all continuations of B candidates by one symbol, and of those that have ended, which
    take part as they are. With B at least the number of all texts nothing is left out. It ends when no candidate that
    goes on can still get among the `keep` best, or at `length`; memory grows with `length` times B. Long texts found
    so repeat themselves: what is most probable is not what people write (Holtzman et al., 2020).

    Args:
      graphdef: structure of a `LanguageModel`, or another with ids in and logits out.
      params: its parameters.
      length: L at most.
      decoding: `beams` is B, `length_penalty` is A.
      keep: how many texts, at most B; fewer come if there are fewer.
      key: draws the first symbol where there is no prime.
      prime, document_end, table: as for `write_ids`.
      widths: characters of each symbol, (V,), int32; None where each is one. A symbol that does not fit into what is
        left of `length` is not written, so that each `log_p` is that of the whole text.

    Raises:
      ConfigurationError: if the length is negative.
      NumericError: if a parameter is not finite.

    References: the ranking as in Wu et al., 2016, without their constant.
    """
    length = check_length(length)
    assert decoding.beams is not None
    params, count = on_device(params), decoding.beams
    texts, _, _ = begun(graphdef, params, jnp.stack([key] * count), prime, document_end, decoding.start)
    dtype = jax.tree.leaves(params)[0].dtype
    log_p = jnp.where(jnp.arange(count) == 0, 0.0, -jnp.inf).astype(dtype)  # one candidate
    left = None if widths is None else jnp.full((count,), length, jnp.int32)
    beams = Beams(texts.carry, texts.before, texts.last, texts.place, log_p, jnp.zeros((count,), jnp.int32), left)
    alpha, parts, ranks, done, goes_on = jnp.asarray(decoding.length_penalty, dtype), [], np.zeros(count), 0, True
    while goes_on and done < length:
        steps = min(CHUNK, length - done)
        t, beams, kept, ranks, goes_on = _search_chunk(
            graphdef, document_end, params, beams, steps, alpha, keep, length, table, widths
        )
        parts.append([np.asarray(of)[: int(t)] for of in kept])
        done += steps
    best = [b for b in np.argsort(-np.asarray(ranks), kind="stable")[:keep] if np.asarray(beams.log_p)[b] > -np.inf]
    if not parts:
        return [Found(np.zeros((0,), np.int32), 0.0)]
    parents, drawn, gains = (np.concatenate(of) for of in zip(*parts, strict=True))
    return [_trace(int(b), parents, drawn, gains) for b in best]


def _trace(beam: int, parents: np.ndarray, drawn: np.ndarray, gains: np.ndarray) -> Found:
    ids, log_p = [], 0.0
    for t in range(len(parents) - 1, -1, -1):
        if drawn[t, beam] != FREE:
            ids.append(drawn[t, beam])
            log_p += float(gains[t, beam])
        beam = parents[t, beam]
    return Found(np.array(ids[::-1], np.int32), log_p)
