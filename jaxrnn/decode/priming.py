"""What a model reads before it writes: whole windows at the speed of windows, then the rest symbol by symbol."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.errors import ConfigurationError
from jaxrnn.models.structure import model_with
from jaxrnn.models.symbols import refuse_other_ids, symbols_of

WINDOW = 1024
NONE = -1  # before the first symbol


@functools.partial(jax.jit, static_argnums=0)
def first_symbol(vocabulary_size, key):
    """The random symbol that is read where there is no prime, and the key for what is drawn from then on."""
    first_key, key = jax.random.split(key)
    return jax.random.randint(first_key, (), 0, vocabulary_size, jnp.int32), key


@functools.partial(jax.jit, static_argnums=0)
def first_symbols(vocabulary_size, keys):
    """As `first_symbol`, of N keys."""
    return jax.vmap(functools.partial(first_symbol, vocabulary_size))(keys)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _read_window(graphdef, document_end, params, carry, before, ids):
    resets = {} if document_end is None else {"resets": (jnp.append(before, ids[:-1]) == document_end)[:, None]}
    return model_with(graphdef, params)(ids[:, None], carry, **resets)[1]


def read_windows(
    graphdef: Any, params: Any, prime: np.ndarray | None, document_end: int | None, start: str
) -> tuple[Any, jax.Array, int]:
    """Reads the whole windows of a prime that come before its last symbol.

    Args:
      graphdef: structure of a `LanguageModel`, or another with ids in and logits out.
      params: its parameters.
      prime: ids, or None.
      document_end: id after which the carry is that of a fresh start.
      start: one of `STARTS`.

    Returns:
      The carry of a batch of 1, the symbol read last or `NONE`, and how many are read.

    Raises:
      ConfigurationError: if a learned start is asked for and there is none.
      ValueError: if the prime has ids that are no symbols of the model.
    """
    model = model_with(graphdef, params)
    if prime is not None:
        refuse_other_ids(prime, symbols_of(model))
    carry, before = model.initial_carry(1), jnp.asarray(NONE, jnp.int32)
    if start == "learned" and not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(carry)):
        raise ConfigurationError(
            "--start learned expects a model that was trained with --learned-initial-carry; this one starts from "
            "zeros, so leave it out"
        )
    if start == "cold":
        carry = jax.tree.map(jnp.zeros_like, carry)
    read = 0 if prime is None or len(prime) == 0 else (len(prime) - 1) // WINDOW * WINDOW
    for at in range(0, read, WINDOW):
        assert prime is not None
        window = np.asarray(prime[at : at + WINDOW], np.int32)
        carry = _read_window(graphdef, document_end, params, carry, before, window)
        before = jnp.asarray(window[-1], jnp.int32)
    return carry, before, read
