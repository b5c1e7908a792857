"""The scalars of a loop's state as one vector for each width, where every array that changes costs a kernel."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class Packing:
    """Packs trees of one structure, and back to the last bit: numbers as their bits, integers beside floats.

    Args:
      tree: one of them, arrays or their shapes.
      whether: False leaves every leaf as it is.

    Example:
      >>> import jax.numpy as jnp
      >>> state = {"loss": jnp.float32(2.5), "update": jnp.int32(7), "rate": jnp.float32(0.1), "W": jnp.ones((2, 2))}
      >>> packing = Packing(state, True)
      >>> [leaf.shape for leaf in packing.packed(state)]
      [(2, 2), (3,)]
      >>> float(packing.unpacked(packing.packed(state))["loss"])
      2.5
    """

    def __init__(self, tree: Any, whether: bool):
        leaves, self._structure = jax.tree.flatten(tree)
        groups: dict[int, list[int]] = {}
        for place, leaf in enumerate(leaves):
            if whether and leaf.shape == () and jnp.issubdtype(leaf.dtype, np.number):
                groups.setdefault(np.dtype(leaf.dtype).itemsize, []).append(place)
        self._dtypes = [leaf.dtype for leaf in leaves]
        self._groups = [group for group in groups.values() if len(group) > 1]
        grouped = {place for group in self._groups for place in group}
        self._alone = [place for place in range(len(leaves)) if place not in grouped]

    def packed(self, tree: Any) -> list[jax.Array]:
        """The leaves that stay alone, then the vectors."""
        leaves = jax.tree.leaves(tree)
        vectors = [jnp.stack([_bits(leaves[place]) for place in group]) for group in self._groups]
        return [*(leaves[place] for place in self._alone), *vectors]

    def unpacked(self, packed: list[jax.Array]) -> Any:
        """The tree of what `packed` gave."""
        alone, vectors = packed[: len(self._alone)], packed[len(self._alone) :]
        leaves = dict(zip(self._alone, alone, strict=True))
        for group, vector in zip(self._groups, vectors, strict=True):
            leaves |= {place: _number(vector[i], self._dtypes[place]) for i, place in enumerate(group)}
        return jax.tree.unflatten(self._structure, [leaves[place] for place in range(len(leaves))])


def _bits(number: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(number, f"uint{8 * number.dtype.itemsize}")


def _number(bits: jax.Array, dtype: Any) -> jax.Array:
    return jax.lax.bitcast_convert_type(bits, dtype)
