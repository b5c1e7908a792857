"""The random keys of a run: all are folded from its seed, and what is drawn in one stream moves nothing in another.

The key of a stream is fold_in(key(seed), stream); most fold in the number of updates done, then their own (a layer, a
row). The kind of key is fixed, so that a run is the same under any setting of JAX.
"""

from __future__ import annotations

import jax

KIND = "threefry2x32"
STREAM_INIT, STREAM_DROPOUT, STREAM_DATA, STREAM_SAMPLES, STREAM_VALIDATION = range(5)


def run_key(seed: int | jax.Array) -> jax.Array:
    """The key of a run."""
    return jax.random.key(seed, impl=KIND)


def run_key_from_data(data: jax.Array) -> jax.Array:
    """The key whose `jax.random.key_data` this is."""
    return jax.random.wrap_key_data(data, impl=KIND)


def stream_key(key: jax.Array, stream: int, update: int | jax.Array | None = None) -> jax.Array:
    """The key of one stream of a run, at one update where it has one.

    Args:
      key: that of the run.
      stream: one of `STREAM_INIT` ... `STREAM_VALIDATION`.
      update: updates done.
    """
    key = jax.random.fold_in(key, stream)
    return key if update is None else jax.random.fold_in(key, update)
