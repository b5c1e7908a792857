"""The carry of a fresh start as parameters: learned, or one that training has been in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import Carry
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.bidirectional import BidirectionalCarry


def learnable_carry(carries: Sequence[Carry]) -> nnx.List:
    """Parameters, at first zero, for the carry of a fresh start.

    Args:
      carries: of each layer, for a batch of 1.

    Raises:
      ConfigurationError: if one is no named tuple with a field h.
    """
    return nnx.List([nnx.Dict(_learnable(carry)) for carry in carries])


def with_learned(carry: Carry, learned: Mapping[str, Any]) -> Carry:
    """The carry of a layer for a batch of any size, with what was learned in every row."""
    if isinstance(carry, BidirectionalCarry):
        return BidirectionalCarry(*(with_learned(part, learned[name]) for name, part in carry._asdict().items()))
    shapes = {name: getattr(carry, name).shape for name in learned}
    return carry._replace(**{name: jnp.broadcast_to(learned[name][...][None, :], shapes[name]) for name in learned})


def could_start_from(model: Any, carries: Any) -> bool:
    """Whether `starting_from` takes this model: one of a `Stack` that has learned no first carry, and could."""
    if getattr(getattr(model, "stack", None), "first_carry", ()) is not None:
        return False
    return all(map(_has_h, carries))


def starting_from(graphdef: nnx.GraphDef, params: Any, carries: Sequence[Carry]) -> tuple[nnx.GraphDef, Any]:
    """The structure and the leaves of a model whose fresh start is the first row of these carries.

    It is the model that would have learned them. A count of steps in them still begins at 0.
    """
    model = nnx.merge(graphdef, nnx.State(params))
    model.stack.first_carry = nnx.data(learnable_carry(model.initial_carry(1)))
    for learned, carry in zip(model.stack.first_carry, carries, strict=True):
        for name, leaf in learned.items():
            leaf[...] = jnp.asarray(getattr(carry, name))[0]
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def _has_h(carry: Any) -> bool:
    return hasattr(carry, "h") and hasattr(carry, "_asdict")


def _learnable(carry: Carry) -> dict[str, Any]:
    if isinstance(carry, BidirectionalCarry):
        return {name: nnx.Dict(_learnable(part)) for name, part in carry._asdict().items()}
    if not _has_h(carry):
        found = "an array" if isinstance(carry, jax.Array) else f"a {type(carry).__name__}"
        raise ConfigurationError(
            "learned_initial_carry expects cells whose carry is a named tuple with a field h, got "
            f"{found}; use cells of jaxrnn, such as jaxrnn.LSTMCell, or leave it out"
        )
    # A count of steps, (B, 1), is no start that could be learned.
    width = carry.h.shape[1]
    return {
        name: nnx.Param(jnp.zeros((width,), leaf.dtype))
        for name, leaf in carry._asdict().items()
        if leaf.shape == (1, width)
    }
