"""A state as named arrays on the host, with their digests, and back: what a checkpoint holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxrnn.errors import NumericError
from jaxrnn.random_streams import is_key, run_key_from_data


def to_leaves(state: Any) -> dict[str, np.ndarray]:
    """The state as a flat dict, path name to array on the host; random keys as their integers."""
    return {name: _to_host(value) for name, value in named_leaves(state)}


def named_leaves(state: Any) -> Iterator[tuple[str, Any]]:
    """The leaves, where they are, with their path names."""
    for path, value in jax.tree_util.tree_leaves_with_path(state):
        yield _path_name(path), value


def leaf_digest(value: np.ndarray) -> str:
    """128 bits of BLAKE2b over dtype, shape and bytes."""
    value = np.ascontiguousarray(value)
    digest = hashlib.blake2b(f"{value.dtype.str}{value.shape}".encode(), digest_size=16)
    digest.update(value.tobytes())
    return digest.hexdigest()


def _to_host(value: Any) -> np.ndarray:
    # A copy: on a CPU np.asarray would be a view of a buffer that the next compiled call takes over.
    return np.array(jax.random.key_data(value) if is_key(value) else value)


def leaf_shapes(template: Any) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of each leaf that `to_leaves` gives of such a state."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(template)
    as_data = [(path, jax.eval_shape(jax.random.key_data, v) if is_key(v) else v) for path, v in leaves]
    return {_path_name(path): (tuple(value.shape), np.dtype(value.dtype)) for path, value in as_data}


def from_leaves(leaves: dict[str, np.ndarray], template: Any, put: Callable = jax.numpy.asarray) -> Any:
    """The state of which `to_leaves` gave the leaves; `put` makes JAX's arrays of them."""

    def restore(path, like):
        value = put(leaves[_path_name(path)])
        return run_key_from_data(value) if is_key(like) else value

    return jax.tree_util.tree_map_with_path(restore, template)


def _path_name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def has_nan(leaf: np.ndarray) -> bool:
    """Whether a leaf holds a not-a-number."""
    return leaf.dtype.kind == "f" and bool(np.isnan(leaf).any())


def refuse_nan(leaves: dict[str, np.ndarray], update: int, may_be_nan: frozenset[str]) -> None:
    """Refuses leaves that hold a not-a-number.

    Raises:
      NumericError: with the name of the first, but for those in `may_be_nan`.
    """
    for name, leaf in leaves.items():
        if has_nan(leaf) and name not in may_be_nan:
            raise NumericError(f"leaf {name} is not a number at update {update}, so it is not saved; lower the rate")
