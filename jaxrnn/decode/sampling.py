"""Let a model write: prime it on a text, then generate symbol by symbol, all in one compiled loop."""

from __future__ import annotations

import functools
import html
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.errors import ConfigurationError, NumericError
from jaxrnn.models.structure import model_with
from jaxrnn.terminal.printable import printable

CHUNK = 1024
FREE = -1


class Sample(str):
    """A text that was written. A notebook shows it as it would be printed: as text, whatever stands in it."""

    def _repr_html_(self) -> str:
        return f'<pre style="white-space: pre-wrap">{html.escape(printable(self))}</pre>'


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample_chunk(graphdef, document_end, params, carry, before, last, forced, steps, key, number, scales):
    # Gumbel noise is drawn for the whole chunk beforehand: argmax(logits + noise) is a draw from softmax(logits).
    # scales = (a, b) with argmax(a logits + b noise): (1, tau) up to tau = 1, (1 / tau, 1) above; (1, 0) is greedy.
    model = model_with(graphdef, params)
    noise = jax.random.gumbel(jax.random.fold_in(key, number), (CHUNK, symbols_of(model)), scales.dtype)

    def step(t, loop):
        carry, before, last, ids = loop
        if document_end is not None:
            ended = before == document_end
            carry = jax.tree.map(lambda c, fresh: jnp.where(ended, fresh, c), carry, model.initial_carry(1))
        logits, carry = model(last[None, None], carry)
        drawn = jnp.argmax(scales[0] * logits[0, 0] + scales[1] * noise[t]).astype(jnp.int32)
        following = jnp.where(forced[t] == FREE, drawn, forced[t])
        return carry, last, following, jax.lax.dynamic_update_index_in_dim(ids, following, t, 0)

    return jax.lax.fori_loop(0, steps, step, (carry, before, last, jnp.zeros((CHUNK,), jnp.int32)))


@functools.partial(jax.jit, static_argnums=0)
def _first_symbol(vocabulary_size, key):
    first_key, key = jax.random.split(key)
    return jax.random.randint(first_key, (), 0, vocabulary_size, jnp.int32), key


def symbols_of(model: Any) -> int:
    """V: what a language model says, or how many logits it gives."""
    if hasattr(model, "vocabulary_size"):
        return model.vocabulary_size
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return jax.eval_shape(lambda ids: model(ids, model.initial_carry(1))[0], ids).shape[-1]


def noise_scales(temperature: float) -> tuple[float, float]:
    """(a, b) such that argmax(a logits + b Gumbel noise) draws from softmax(logits / temperature).

    Temperature 0 is greedy with ties to the lowest id, infinity is uniform, and no finite one overflows.

    Raises:
      ConfigurationError: if the temperature is negative or not a number.
    """
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not temperature >= 0:
        raise ConfigurationError(
            f"--temperature expects a number of at least 0 (0 is greedy, 1 the model's own probabilities); "
            f"got {temperature!r}"
        )
    if math.isinf(temperature):
        return 0.0, 1.0
    return (1.0, float(temperature)) if temperature <= 1 else (1.0 / temperature, 1.0)


def sample_ids(
    graphdef: nnx.GraphDef,
    params: dict,
    *,
    length: int,
    key: jax.Array,
    temperature: float = 1.0,
    prime: np.ndarray | None = None,
    document_end: int | None = None,
) -> Iterator[np.ndarray]:
    """Generates ids, at most `CHUNK` at a time, in constant memory.

    The carry starts at zero. The prime is read first and not returned; with an empty one the first input is a random
    symbol, not returned either. (`Vocabulary.encode_prompt` gives what a text begins after.)

    Args:
      graphdef: structure of a `LanguageModel`, or another with ids in and logits out.
      params: its parameters.
      length: how many ids to generate.
      key: random key; the same key gives the same ids.
      temperature: see `noise_scales`.
      prime: ids to read before generating.
      document_end: id after which the carry is zeroed, as in training.

    Yields:
      Arrays of int32 ids, `length` in all.

    Raises:
      ConfigurationError: if the length or the temperature is negative.
      NumericError: if a parameter is not finite.
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise ConfigurationError(f"--length expects a whole number of at least 0; got {length!r}")
    dtype = jax.tree.leaves(params)[0].dtype
    scales = jnp.asarray(noise_scales(temperature), dtype)
    # By way of the host: wherever the parameters lay, one program serves them, compiled once.
    params = jax.tree.map(np.asarray, params)
    require_finite(params)
    params = jax.device_put(params)
    model = model_with(graphdef, params)
    symbol, key = _first_symbol(symbols_of(model), key)
    if prime is None or len(prime) == 0:
        last = symbol
        forced = np.zeros((0,), np.int32)
    else:
        last = jnp.asarray(int(prime[0]), jnp.int32)
        forced = np.asarray(prime[1:], np.int32)
    carry, before = model.initial_carry(1), jnp.asarray(FREE, jnp.int32)
    total = len(forced) + length
    for number, start in enumerate(range(0, total, CHUNK)):
        steps = min(CHUNK, total - start)
        given = np.full((CHUNK,), FREE, np.int32)
        part = forced[start : start + CHUNK]
        given[: len(part)] = part
        carry, before, last, ids = _sample_chunk(
            graphdef, document_end, params, carry, before, last, given, steps, key, number, scales
        )
        if len(part) < steps:
            yield np.asarray(ids)[len(part) : steps]


def require_finite(params: Any) -> None:
    """Refuses parameters that are not finite, naming the first.

    Raises:
      NumericError: if there is one.
    """
    for path, value in jax.tree_util.tree_flatten_with_path(params)[0]:
        if not np.isfinite(value).all():
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise NumericError(f"parameter {name} of the model is not finite; use an older checkpoint or train anew")
