"""How many rows the tables have that a model reads by its ids: past the last JAX reads another, without a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxrnn.errors import ConfigurationError

# What gives the ids themselves, of its first argument.
KEEPS = {"broadcast_in_dim", "convert_element_type", "copy", "dynamic_slice", "reshape", "rev", "slice", "squeeze"}
KEEPS |= {"stop_gradient", "transpose"}
NOT, IDS, MOVED = 0, 1, 2  # MOVED: a number was added, as indices below 0 are counted from the end


def refuse_rows_that_are_not_there(name: str, closed: Any, inputs: Any, ids: int) -> None:
    """Refuses a model that reads a table at more ids than it has rows.

    Args:
      name: of the model.
      closed: the jaxpr of its call, whose last argument are the inputs.
      inputs: of a batch, or their shapes.
      ids: how many there are; 0 if that is not known.

    Raises:
      ConfigurationError: with the rows of the smallest table.
    """
    if not ids or not jax.numpy.issubdtype(inputs.dtype, jax.numpy.integer):
        return
    before = [NOT] * (len(closed.jaxpr.invars) - 1)
    rows = min(_rows_read(closed.jaxpr, [*before, IDS])[0], default=ids)
    if rows < ids:
        raise ConfigurationError(
            f"{name} reads a table of {rows:,} rows by ids of {ids:,} symbols, and JAX would take other rows for those "
            f"that are not there; give it {ids:,} rows, or let it map the ids first"
        )


def _rows_read(jaxpr: Any, given: Sequence[int]) -> tuple[list[int], list[int]]:
    # The rows of each table that is read at ids as they came, and which outputs are ids.
    known, rows = dict(zip(jaxpr.invars, given, strict=True)), list[int]()
    for step in jaxpr.eqns:
        of = [NOT if isinstance(var, Literal) else known.get(var, NOT) for var in step.invars]
        name, params, found = step.primitive.name, step.params, [NOT]
        if name == "gather" and of[1] == IDS and len(places := params["dimension_numbers"].start_index_map) == 1:
            rows.append(step.invars[0].aval.shape[places[0]])
        elif name in KEEPS:
            found = of[:1]
        elif name == "add" and IDS in of:
            found = [MOVED]
        elif name == "select_n" and NOT not in of[1:]:
            found = [min(of[1:])]
        if name == "scan":  # what a loop hands on is known by its body alone
            body = getattr(params["jaxpr"], "jaxpr", params["jaxpr"])
            carries, fixed = _as_they_are(step.outvars, body.outvars), _as_they_are(step.invars, body.invars)
            of[fixed - carries : fixed] = [NOT] * carries
        for part in () if name == "while" else jax.tree.leaves(params, is_leaf=_is_jaxpr):
            if _is_jaxpr(part):
                inner = part.jaxpr if isinstance(part, ClosedJaxpr) else part
                more, found = _rows_read(inner, of[len(of) - len(inner.invars) :])
                rows += more
        known |= dict(zip(step.outvars, found, strict=False))
    return rows, [NOT if isinstance(var, Literal) else known.get(var, NOT) for var in jaxpr.outvars]


def _as_they_are(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    # How many arrays a loop takes or gives whole, which stand first; versions of JAX write their number differently.
    return sum(one.aval.shape == other.aval.shape for one, other in zip(outside, inside, strict=True))


def _is_jaxpr(part: Any) -> bool:
    return isinstance(part, ClosedJaxpr | Jaxpr)
