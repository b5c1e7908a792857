"""One call for all engines, and the one place that chooses among them."""

from __future__ import annotations

from typing import NamedTuple

import jax

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.hoisted import unroll_hoisted
from jaxrnn.engines.input_product import check_window
from jaxrnn.engines.reference import unroll_reference
from jaxrnn.engines.scan import unroll_scan

ENGINES = {"scan": unroll_scan, "hoisted": unroll_hoisted, "reference": unroll_reference}


class EngineChoice(NamedTuple):
    """The chosen engine and, for every other one, why it was not."""

    engine: str
    rejected: dict[str, str]


def choose_engine(cell, batch_size: int) -> EngineChoice:
    """Chooses the engine for a cell by a fixed rule, never by a timing, so that a run repeats bit for bit.

    Args:
      cell: a `Cell`, or any other cell called as `cell(carry, x)`.
      batch_size: B.

    Example:
      >>> import jax
      >>> from flax import nnx
      >>> from jaxrnn.cells import VanillaCell
      >>> choose_engine(VanillaCell(3, 4, rngs=nnx.Rngs(0)), batch_size=1).engine
      'hoisted'
    """
    if not isinstance(cell, Cell):
        why = f"{type(cell).__name__} is not a jaxrnn Cell: it has no `update` apart from its products"
        return EngineChoice("reference", {"scan": why, "hoisted": why})
    slower = "slower: it makes one-hot products and keeps every intermediate result"
    if batch_size == 1:
        # Vanilla 100, T 25: 94 against 124 us an update on 2 CPU cores. A step's gradient of W_h is an outer product
        # then, and one product after the loop takes the place of T of them.
        return EngineChoice("hoisted", {"scan": "slower with a batch of 1", "reference": slower})
    return EngineChoice("scan", {"hoisted": "measured faster for a batch of 1 only", "reference": slower})


def unroll(
    cell,
    xs: jax.Array,
    carry: Carry,
    *,
    engine: str = "auto",
    resets: jax.Array | None = None,
    scan_unroll: int = 1,
) -> tuple[Carry, jax.Array]:
    """Applies a cell to a window of inputs, time-major.

    Args:
      cell: a `Cell`; or any other cell called as `cell(carry, x)`, such as Flax's, for features only.
      xs: ids of shape (T, B), any integer dtype, each below `cell.in_features`; or features of shape (T, B, F).
      carry: the carry before the first step.
      engine: "scan", "hoisted", "reference", or "auto" for the one `choose_engine` names. All give the same values and
        gradients, to the order in which sums are taken.
      resets: true where a stream starts afresh: the carry is zero before that step. Shape (T, B), bool.
      scan_unroll: how many steps one turn of the compiled loop makes. Changes neither values nor truncation; more
        than 1 was slower in every case measured on a CPU.

    Returns:
      The carry after the last step and the outputs, (T, B, H).

    Raises:
      ValueError: if the engine is unknown or shapes do not fit.
    """
    if engine != "auto" and engine not in ENGINES:
        raise ValueError(f"unroll expects an engine out of auto, {', '.join(ENGINES)}; got {engine!r}")
    check_window(cell, xs, carry, resets)
    choice = choose_engine(cell, xs.shape[1])
    if engine == "auto":
        engine = choice.engine
    elif not isinstance(cell, Cell) and engine != "reference":
        raise ValueError(f"unroll cannot use the engine {engine!r}: {choice.rejected[engine]}; use 'reference'")
    return ENGINES[engine](cell, xs, carry, resets, scan_unroll)
