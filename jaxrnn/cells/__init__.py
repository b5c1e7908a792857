"""One cell a file. `CELLS` is the only table of names."""

from jaxrnn.cells.base import Cell
from jaxrnn.cells.vanilla import VanillaCarry, VanillaCell

CELLS: dict[str, type[Cell]] = {"vanilla": VanillaCell}

__all__ = ["CELLS", "Cell", "VanillaCarry", "VanillaCell"]
