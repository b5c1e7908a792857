"""A loop's state as few arrays, where every array that changes costs a kernel.

Its scalars are one vector for each width, and all parameters are one, as is what the optimizer keeps of each.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


class Packing:
    """Packs trees of one structure, and back to the last bit: numbers as their bits, integers beside floats.

    Args:
      tree: one of them, arrays or their shapes.

    Example:
      >>> import jax.numpy as jnp
      >>> state = {"loss": jnp.float32(2.5), "update": jnp.int32(7), "rate": jnp.float32(0.1), "W": jnp.ones((2, 2))}
      >>> packing = Packing(state)
      >>> alone, vectors = packing.packed(state)
      >>> [leaf.shape for leaf in alone], [vector.shape for vector in vectors]
      ([(2, 2)], [(3,)])
      >>> float(packing.unpacked(alone, vectors)["loss"])
      2.5
    """

    def __init__(self, tree: Any):
        leaves, self._structure = jax.tree.flatten(tree)
        groups: dict[int, list[int]] = {}
        for place, leaf in enumerate(leaves):
            if leaf.shape == () and jnp.issubdtype(leaf.dtype, np.number):
                groups.setdefault(np.dtype(leaf.dtype).itemsize, []).append(place)
        self._dtypes = [leaf.dtype for leaf in leaves]
        self._groups = list(groups.values())
        grouped = {place for group in self._groups for place in group}
        self._alone = [place for place in range(len(leaves)) if place not in grouped]

    def packed(self, tree: Any) -> tuple[list[jax.Array], list[jax.Array]]:
        """The leaves that stay alone, and the vectors."""
        leaves = jax.tree.leaves(tree)
        vectors = [jnp.stack([_bits(leaves[place]) for place in group]) for group in self._groups]
        return [leaves[place] for place in self._alone], vectors

    def unpacked(self, alone: list[jax.Array], vectors: list[jax.Array]) -> Any:
        """The tree of what `packed` gave; where the vectors are rows of arrays, (n, ...), its numbers are (n,)."""
        leaves = dict(zip(self._alone, alone, strict=True))
        for group, vector in zip(self._groups, vectors, strict=True):
            leaves |= {place: _number(vector[..., i], self._dtypes[place]) for i, place in enumerate(group)}
        return jax.tree.unflatten(self._structure, [leaves[place] for place in range(len(leaves))])


class ParameterVector:
    """How the arrays of a tree lie in one vector, end to end.

    Args:
      tree: arrays of one dtype.

    Example:
      >>> import jax.numpy as jnp
      >>> vector = ParameterVector({"W": jnp.zeros((2, 2)), "b": jnp.zeros(2)})
      >>> numbers = vector.of({"W": jnp.ones((2, 2)), "b": jnp.zeros(2)})
      >>> print(numbers, vector.tree(numbers)["b"])
      [1. 1. 1. 1. 0. 0.] [0. 0.]
    """

    def __init__(self, tree: Any):
        self._structure: Any = jax.tree.structure(tree)
        self._tree_of = ravel_pytree(tree)[1]

    def of(self, tree: Any) -> jax.Array:
        """The arrays of a tree end to end."""
        return ravel_pytree(tree)[0]

    def tree(self, numbers: jax.Array) -> Any:
        """The tree of what `of` gave."""
        return self._tree_of(numbers)

    def all_vectors(self, state: Any) -> Any:
        """A state with a vector in place of every tree in it that has the structure of this one."""
        return jax.tree.map(lambda x: self.of(x) if self._is_one(x) else x, state, is_leaf=self._is_one)

    def all_trees(self, state: Any, like: Any) -> Any:
        """The state of what `all_vectors` gave; `like` is one with its trees."""
        return jax.tree.map(
            lambda tree, x: self.tree(x) if self._is_one(tree) else x, like, state, is_leaf=self._is_one
        )

    def _is_one(self, tree: Any) -> bool:
        return bool(jax.tree.structure(tree) == self._structure)


def _bits(number: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(number, f"uint{8 * number.dtype.itemsize}")


def _number(bits: jax.Array, dtype: Any) -> jax.Array:
    return jax.lax.bitcast_convert_type(bits, dtype)
