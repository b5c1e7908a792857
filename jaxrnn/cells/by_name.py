"""What makes each cell, by its name."""

from __future__ import annotations

from collections.abc import Callable

from jaxrnn.cells.base import Cell
from jaxrnn.cells.table import CELL_TABLE

# Called as (in_features, hidden_features, *, kernel_init, param_dtype, rngs, **options); see `Cell`.
CELLS: dict[str, Callable[..., Cell]] = {name: entry.load() for name, entry in CELL_TABLE.items()}
