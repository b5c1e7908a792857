"""Let a model write one text: prime it, then draw symbol by symbol, all in one compiled loop."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.checks import plain
from jaxrnn.decode.priming import NONE, WINDOW, first_symbol, read_windows
from jaxrnn.decode.settings import noise_scales
from jaxrnn.errors import ConfigurationError, NumericError
from jaxrnn.models.structure import model_with
from jaxrnn.models.symbols import symbols_of
from jaxrnn.terminal.printable import printable

CHUNK = WINDOW
FREE = NONE


class Sample(str):
    """A text that was written. A notebook shows it as it would be printed: as text, whatever stands in it.

    Attributes:
      log_p: natural logarithm of its probability, with that of what ended it, where a search found it; else None.
    """

    log_p: float | None

    def __new__(cls, text: str, log_p: float | None = None) -> Sample:
        made = super().__new__(cls, text)
        made.log_p = log_p
        return made

    def _repr_html_(self) -> str:
        return f'<pre style="white-space: pre-wrap">{html.escape(printable(self))}</pre>'


def fresh_after(document_end: int | None, before: jax.Array, carry: Any, model: Any) -> Any:
    """The carries (N, ...), those of a fresh start after the end of a document."""
    if document_end is None:
        return carry
    ended = before == document_end

    def at(fresh: jax.Array, c: jax.Array) -> jax.Array:
        return jnp.where(ended.reshape(-1, *[1] * (c.ndim - 1)), fresh, c)

    return jax.tree.map(at, model.initial_carry(1), carry)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample_chunk(graphdef, document_end, params, carry, before, last, forced, steps, key, number, scales):
    # Gumbel noise is drawn for the whole chunk beforehand: argmax(logits + noise) is a draw from softmax(logits).
    # scales = (a, b) with argmax(a logits + b noise): (1, tau) up to tau = 1, (1 / tau, 1) above; (1, 0) is greedy.
    model = model_with(graphdef, params)
    noise = jax.random.gumbel(jax.random.fold_in(key, number), (CHUNK, symbols_of(model)), scales.dtype)

    def step(t, loop):
        carry, before, last, ids = loop
        logits, carry = model(last[None, None], fresh_after(document_end, before, carry, model))
        drawn = jnp.argmax(scales[0] * logits[0, 0] + scales[1] * noise[t]).astype(jnp.int32)
        following = jnp.where(forced[t] == FREE, drawn, forced[t])
        return carry, last, following, jax.lax.dynamic_update_index_in_dim(ids, following, t, 0)

    return jax.lax.fori_loop(0, steps, step, (carry, before, last, jnp.zeros((CHUNK,), jnp.int32)))


def sample_ids(
    graphdef: nnx.GraphDef,
    params: dict,
    *,
    length: int,
    key: jax.Array,
    temperature: float = 1.0,
    prime: np.ndarray | None = None,
    document_end: int | None = None,
    start: str = "fresh",
) -> Iterator[np.ndarray]:
    """Generates ids, at most `CHUNK` at a time, in constant memory.

    The carry is that of a fresh start. The prime is read first, whole windows of it at once, and not returned; with an
    empty one the first input is a random symbol, not returned either. (`Vocabulary.encode_prompt` gives what a text
    begins after.)

    Args:
      graphdef: structure of a `LanguageModel`, or another with ids in and logits out.
      params: its parameters.
      length: how many ids to generate.
      key: random key; the same key gives the same ids.
      temperature: see `noise_scales`.
      prime: ids to read before generating.
      document_end: id after which the carry is that of a fresh start, as in training.
      start: see `Decoding`.

    Yields:
      Arrays of int32 ids, `length` in all.

    Raises:
      ConfigurationError: if the length or the temperature is negative.
      NumericError: if a parameter is not finite.
    """
    length = check_length(length)
    dtype = jax.tree.leaves(params)[0].dtype
    scales = jnp.asarray(noise_scales(temperature), dtype)
    params = on_device(params)
    carry, before, read = read_windows(graphdef, params, prime, document_end, start)
    last, key = first_symbol(symbols_of(model_with(graphdef, params)), key)
    forced = np.zeros((0,), np.int32)
    if prime is not None and len(prime):
        last, forced = jnp.asarray(int(prime[read]), jnp.int32), np.asarray(prime[read + 1 :], np.int32)
    total = len(forced) + length
    for number, start_of_part in enumerate(range(0, total, CHUNK), read // CHUNK):
        steps = min(CHUNK, total - start_of_part)
        given = np.full((CHUNK,), FREE, np.int32)
        part = forced[start_of_part : start_of_part + CHUNK]
        given[: len(part)] = part
        carry, before, last, ids = _sample_chunk(
            graphdef, document_end, params, carry, before, last, given, steps, key, number, scales
        )
        if len(part) < steps:
            yield np.asarray(ids)[len(part) : steps]


def check_length(length: Any) -> int:
    """A number of symbols as Python's own; refuses what is none."""
    length = plain(length)
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise ConfigurationError(f"--length expects a whole number of at least 0; got {length!r}")
    return length


def on_device(params: Any) -> Any:
    """The parameters, checked. By way of the host: wherever they lay, one program serves them, compiled once."""
    params = jax.tree.map(np.asarray, params)
    require_finite(params)
    return jax.device_put(params)


def require_finite(params: Any) -> None:
    """Refuses parameters that are not finite, naming the first.

    Raises:
      NumericError: if there is one.
    """
    for path, value in jax.tree_util.tree_flatten_with_path(params)[0]:
        if not np.isfinite(value).all():
            name = printable(jax.tree_util.keystr(path, simple=True, separator="."), keep="")[:200]
            raise NumericError(f"parameter {name} of the model is not finite; use an older checkpoint or train anew")
