"""One cell a file. `table.CELL_TABLE` says what there is; `CELLS` makes them by name.

The classes are loaded when they are first used, so that the settings can read the table without loading JAX.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxrnn.cells.table import CELL_TABLE, cell_options, parameter_count

_MODULE_OF = {entry.cell_type: entry.module for entry in CELL_TABLE.values()} | {
    "Cell": "base",
    "GRUCarry": "gru",
    "InnerProduct": "inner_product",
    "LSTMCarry": "lstm",
    "TemporalGateCarry": "temporal_gate_lstm",
    "VanillaCarry": "vanilla",
    "openness": "temporal_gate_lstm",
}

if TYPE_CHECKING:
    from jaxrnn.cells.base import Cell
    from jaxrnn.cells.gru import GRUCarry, GRUCell
    from jaxrnn.cells.gru_reset_before import ResetBeforeGRUCell
    from jaxrnn.cells.inner_product import InnerProduct
    from jaxrnn.cells.lstm import LSTMCarry, LSTMCell
    from jaxrnn.cells.lstm_layer_norm import LayerNormLSTMCell
    from jaxrnn.cells.lstm_multiplicative import MultiplicativeLSTMCell
    from jaxrnn.cells.lstm_peephole import PeepholeLSTMCell
    from jaxrnn.cells.lstm_peephole_full import FullPeepholeLSTMCell
    from jaxrnn.cells.temporal_gate_lstm import TemporalGateCarry, TemporalGateLSTMCell, openness
    from jaxrnn.cells.vanilla import VanillaCarry, VanillaCell

    # Called as (in_features, hidden_features, *, kernel_init, param_dtype, rngs, **options); see `Cell`.
    CELLS: dict[str, Callable[..., Cell]]

__all__ = [
    "CELLS",
    "CELL_TABLE",
    "Cell",
    "FullPeepholeLSTMCell",
    "GRUCarry",
    "GRUCell",
    "InnerProduct",
    "LSTMCarry",
    "LSTMCell",
    "LayerNormLSTMCell",
    "MultiplicativeLSTMCell",
    "PeepholeLSTMCell",
    "ResetBeforeGRUCell",
    "TemporalGateCarry",
    "TemporalGateLSTMCell",
    "VanillaCarry",
    "VanillaCell",
    "cell_options",
    "openness",
    "parameter_count",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name == "CELLS":
        value = {cell: entry.load() for cell, entry in CELL_TABLE.items()}
    elif name in _MODULE_OF:
        value = getattr(importlib.import_module(f"jaxrnn.cells.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module 'jaxrnn.cells' has no attribute {name!r}")
    globals()[name] = value
    return value
