"""Comparison of trees of arrays, leaf by leaf, with the path of the first that differs."""

from typing import Any

import jax
import numpy as np


def leaves_by_path(tree: Any) -> dict[str, np.ndarray]:
    def host(leaf: Any) -> np.ndarray:
        is_key = jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key)
        return np.array(jax.random.key_data(leaf) if is_key else leaf)

    return {jax.tree_util.keystr(path): host(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def assert_trees_close(actual: Any, expected: Any, *, rtol: float, atol: float = 0.0) -> None:
    """Asserts equal paths, shapes and dtypes, and values within rtol of the leaf's largest entry, or atol."""
    actual, expected = leaves_by_path(actual), leaves_by_path(expected)
    assert list(actual) == list(expected)
    for path, leaf in actual.items():
        assert (leaf.dtype, leaf.shape) == (expected[path].dtype, expected[path].shape), path
        scale = np.abs(expected[path]).max(initial=0.0) if leaf.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(leaf, expected[path], rtol=0, atol=atol + rtol * scale, err_msg=path)


def assert_trees_equal(actual: Any, expected: Any) -> None:
    """Asserts equal bits."""
    actual, expected = leaves_by_path(actual), leaves_by_path(expected)
    assert list(actual) == list(expected)
    for path, leaf in actual.items():
        assert (leaf.dtype, leaf.shape) == (expected[path].dtype, expected[path].shape), path
        assert leaf.tobytes() == expected[path].tobytes(), f"{path} differs: {leaf} and {expected[path]}"
