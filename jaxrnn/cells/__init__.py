"""One cell a file. `CELLS` makes them by name; `jaxrnn.config.CELL_NAMES` lists the same names for the settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

from jaxrnn.cells.base import Cell
from jaxrnn.cells.gru import GRUCarry, GRUCell
from jaxrnn.cells.gru_reset_before import ResetBeforeGRUCell
from jaxrnn.cells.inner_product import InnerProduct
from jaxrnn.cells.lstm import LSTMCarry, LSTMCell
from jaxrnn.cells.lstm_layer_norm import LayerNormLSTMCell
from jaxrnn.cells.lstm_multiplicative import MultiplicativeLSTMCell
from jaxrnn.cells.lstm_peephole import PeepholeLSTMCell
from jaxrnn.cells.lstm_peephole_full import FullPeepholeLSTMCell
from jaxrnn.cells.parameter_count import parameter_count
from jaxrnn.cells.temporal_gate_lstm import TemporalGateCarry, TemporalGateLSTMCell, openness
from jaxrnn.cells.vanilla import VanillaCarry, VanillaCell

# Called as (in_features, hidden_features, *, kernel_init, param_dtype, rngs, **options); see `Cell` and `cell_options`.
CELLS: dict[str, Callable[..., Cell]] = {
    "vanilla": VanillaCell,
    "lstm": LSTMCell,
    "lstm-peephole": PeepholeLSTMCell,
    "lstm-peephole-full": FullPeepholeLSTMCell,
    "gru": GRUCell,
    "gru-flax": functools.partial(GRUCell, recurrent_bias=False),
    "gru-reset-before": ResetBeforeGRUCell,
    "temporal-gate-lstm": TemporalGateLSTMCell,
    "lstm-multiplicative": MultiplicativeLSTMCell,
    "lstm-layer-norm": LayerNormLSTMCell,
}


def cell_options(name: str) -> frozenset[str]:
    """Which of the options `forget_bias` and `use_bias` a cell takes.

    Raises:
      ValueError: if there is no such cell.

    Example:
      >>> sorted(cell_options("lstm")), sorted(cell_options("gru"))
      (['forget_bias', 'use_bias'], ['use_bias'])
    """
    if name not in CELLS:
        raise ValueError(f"cell_options expects a cell out of {', '.join(CELLS)}; got {name!r}")
    cell_type = getattr(CELLS[name], "func", CELLS[name])  # past a functools.partial
    takes_forget_bias = "forget_bias" in inspect.signature(cell_type.__init__).parameters
    return frozenset({"use_bias", "forget_bias"} if takes_forget_bias else {"use_bias"})


__all__ = [
    "CELLS",
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
