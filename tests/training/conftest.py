"""What tests of training share: programs, whose tracing takes most of the time of a short run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import pytest
from jax.sharding import PartitionSpec

from jaxrnn.training import members, trainer


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called once for equal arguments; each time for such as have no hash."""
    results: dict[Any, Any] = {}

    def hashable(argument: Any) -> Any:
        try:
            hash(argument)
        except TypeError:  # a tree of specifications
            leaves, tree = jax.tree.flatten(argument, is_leaf=lambda node: isinstance(node, PartitionSpec))
            return tuple(leaves), tree
        return argument

    def call(*arguments: Any, **options: Any) -> Any:
        key = tuple(hashable(argument) for argument in (*arguments, *sorted(options.items())))
        try:
            hash(key)
        except TypeError:
            return function(*arguments, **options)
        if key not in results:
            results[key] = function(*arguments, **options)
        return results[key]

    return call


@pytest.fixture(scope="module")
def shared_programs() -> Iterator[None]:
    """Runs of a module that are of one structure call one training program, which is traced for the first of them.

    Each run has its own state and its own data. What another process traces anew is compared in `tests/faults`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "train_chunk_of", kept(trainer.train_chunk_of))
        patch.setattr(members, "lift", kept(members.lift))
        patch.setattr(members, "jit_on", kept(members.jit_on))
        yield
