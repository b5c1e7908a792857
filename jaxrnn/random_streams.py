"""The random keys of a run: all are folded from its seed, and what is drawn in one stream moves nothing in another.

The key of a stream is fold_in(key(seed), stream); most fold in the number of updates done, then their own (a layer, a
row). The kind of key is fixed and its words are written out, so that a run is the same under any setting of JAX; see
also `jaxrnn.devices.numerics`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.checks import LARGEST_SEED, as_count

KIND = "threefry2x32"
STREAM_INIT, STREAM_DROPOUT, STREAM_DATA, STREAM_SAMPLES, STREAM_VALIDATION = range(5)


def run_key(seed: int | np.integer | jax.Array) -> jax.Array:
    """The key of a run: that of `jax.random.key`, whose two words are 0 and the seed.

    Args:
      seed: a whole number from 0 to 2^32 - 1, or an array of them, which may be traced and is not checked.

    Raises:
      ConfigurationError: if a number is out of this range; JAX would take the seed modulo 2^32.
    """
    if not isinstance(seed, jax.Array):
        seed = as_count("seed", seed, 0, LARGEST_SEED)
        return run_key_from_data(jnp.asarray(np.array([0, seed], np.uint32)))
    word = seed.astype(jnp.uint32)
    return run_key_from_data(jnp.stack([jnp.zeros_like(word), word], axis=-1))


def run_key_from_data(data: jax.Array) -> jax.Array:
    """The key whose `jax.random.key_data` this is."""
    return jax.random.wrap_key_data(data, impl=KIND)


def is_key(leaf: Any) -> bool:
    """Whether an array holds random keys."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def as_data(tree: Any) -> Any:
    """A tree with the integers of its random keys in their place."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def as_keys(tree: Any, are_keys: Any) -> Any:
    """What `as_data` was given; `are_keys` is a tree of what `is_key` says of its leaves."""
    return jax.tree.map(lambda leaf, key: run_key_from_data(jnp.asarray(leaf)) if key else leaf, tree, are_keys)


def stream_key(key: jax.Array, stream: int, update: int | jax.Array | None = None) -> jax.Array:
    """The key of one stream of a run, at one update where it has one.

    Args:
      key: that of the run.
      stream: one of `STREAM_INIT` ... `STREAM_VALIDATION`.
      update: updates done.
    """
    key = jax.random.fold_in(key, stream)
    return key if update is None else jax.random.fold_in(key, update)
