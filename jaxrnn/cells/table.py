"""The cells by name: what the settings, the sizes and the models know of each. Nothing here loads JAX.

A new cell is a file in this folder and a row of `CELL_TABLE`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jaxrnn.cells.base import Cell


class Blocks(NamedTuple):
    """How many parameters a layer has, in blocks: with F input and H hidden features

        input F H + hidden H H + biases H + others H

    Attributes:
      input: blocks of what multiplies the input, (F, H) each: the gates.
      hidden: blocks of what multiplies a state, (H, H) each.
      biases: vectors of H that `use_bias=False` leaves out.
      others: vectors of H that stay without biases: peepholes, gains, times.
    """

    input: int
    hidden: int
    biases: int
    others: int = 0


GATE_BIASES = ("forget_bias", "update_bias")  # starting values, each for the cells that have the gate


class CellEntry(NamedTuple):
    """A row of `CELL_TABLE`.

    Attributes:
      module: the file in `jaxrnn.cells`, imported when the cell is first made.
      cell_type: the class in it.
      blocks: how many parameters it has.
      forget_bias: whether it has a forget gate, and takes the starting value of its bias.
      fixed: arguments that make another cell of the class.
      use_bias: whether it takes the option to leave its biases out.
      update_bias: whether it has an update gate, and takes the starting value of its bias.
    """

    module: str
    cell_type: str
    blocks: Blocks
    forget_bias: bool = False
    fixed: Mapping[str, Any] = {}
    use_bias: bool = True
    update_bias: bool = False

    def load(self) -> Callable[..., Cell]:
        """What makes the cell, called as (in_features, hidden_features, *, rngs, ...); see `Cell`."""
        cell_type = getattr(importlib.import_module(f"jaxrnn.cells.{self.module}"), self.cell_type)
        return functools.partial(cell_type, **self.fixed) if self.fixed else cell_type


CELL_TABLE: dict[str, CellEntry] = {
    "vanilla": CellEntry("vanilla", "VanillaCell", Blocks(1, 1, 1)),
    "lstm": CellEntry("lstm", "LSTMCell", Blocks(4, 4, 4), forget_bias=True),
    "lstm-peephole": CellEntry("lstm_peephole", "PeepholeLSTMCell", Blocks(4, 4, 4, 3), forget_bias=True),
    "lstm-peephole-full": CellEntry("lstm_peephole_full", "FullPeepholeLSTMCell", Blocks(4, 7, 4), forget_bias=True),
    "gru": CellEntry("gru", "GRUCell", Blocks(3, 3, 6), update_bias=True),
    "gru-flax": CellEntry("gru", "GRUCell", Blocks(3, 3, 3), fixed={"recurrent_bias": False}, update_bias=True),
    "gru-reset-before": CellEntry("gru_reset_before", "ResetBeforeGRUCell", Blocks(3, 3, 3), update_bias=True),
    # A period, a shift and an open ratio for each unit.
    "temporal-gate-lstm": CellEntry("temporal_gate_lstm", "TemporalGateLSTMCell", Blocks(4, 4, 4, 3), forget_bias=True),
    "lstm-multiplicative": CellEntry(
        "lstm_multiplicative", "MultiplicativeLSTMCell", Blocks(5, 5, 4), forget_bias=True
    ),
    # Gains of 4 H, 4 H and H, and the bias of the normalized c.
    "lstm-layer-norm": CellEntry("lstm_layer_norm", "LayerNormLSTMCell", Blocks(4, 4, 4, 10), forget_bias=True),
}


def _entry(name: str, asked_by: str) -> CellEntry:
    if name not in CELL_TABLE:
        raise ValueError(f"{asked_by} expects a cell out of {', '.join(CELL_TABLE)}; got {name!r}")
    return CELL_TABLE[name]


def cell_options(name: str) -> frozenset[str]:
    """Which of the options `forget_bias`, `update_bias` and `use_bias` a cell takes.

    Raises:
      ValueError: if there is no such cell.

    Example:
      >>> sorted(cell_options("lstm")), sorted(cell_options("gru"))
      (['forget_bias', 'use_bias'], ['update_bias', 'use_bias'])
    """
    entry = _entry(name, "cell_options")
    return frozenset(option for option in GATE_BIASES + ("use_bias",) if getattr(entry, option))


def parameter_count(name: str, in_features: int, hidden_features: int, use_bias: bool = True) -> int:
    """The number of parameters of one layer, without making it: see `Blocks`.

    Args:
      name: a key of `CELL_TABLE`.
      in_features: F, the number of symbols when the input is ids.
      hidden_features: H.
      use_bias: whether the cell has biases.

    Raises:
      ValueError: if there is no such cell.

    Example:
      >>> parameter_count("lstm", in_features=128, hidden_features=128)  # 4 H (F + H + 1)
      131584
    """
    blocks = _entry(name, "parameter_count").blocks
    vectors = blocks.others + (blocks.biases if use_bias else 0)
    return hidden_features * (blocks.input * in_features + blocks.hidden * hidden_features + vectors)
