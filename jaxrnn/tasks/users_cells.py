"""Cells that a program or a command line names, beside those of `CELL_TABLE`. Nothing that a file names is imported."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import Any

from jaxrnn.cells.table import CELL_TABLE, GATE_BIASES, Blocks, CellEntry
from jaxrnn.checks import check_call, choice_error, signature_of
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import first_line, printable


def is_own(name: Any) -> bool:
    """Whether a name is that of a user's cell, MODULE:CLASS."""
    return isinstance(name, str) and ":" in name


def use_cell(name: str) -> None:
    """Makes a user's cell known by its name, so that settings and runs may name it.

    Its class is called as `(in_features, hidden_features, *, kernel_init, param_dtype, rngs)`, with `use_bias`,
    `forget_bias`, `update_bias` and `recurrent_init` if it takes them, and is best a `Cell`. The module is imported as
    Python does, from the working directory first.

    Args:
      name: MODULE:CLASS, such as "my_cells:FastCell". Another name must be a built-in cell's.

    Raises:
      ConfigurationError: if there is no such module or class, or it cannot be imported.
    """
    if not is_own(name):
        if name not in CELL_TABLE:
            raise choice_error("cell", name, list(CELL_TABLE))
        return
    module, _, cell_type = name.partition(":")
    shown = printable(repr(name), keep="")[:80]
    if not cell_type.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigurationError(
            f"--cell expects a built-in cell or MODULE:CLASS, such as my_cells:FastCell; got {shown}"
        )
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(module), cell_type, None)
    except Exception as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigurationError(
            f"--cell {shown} cannot be imported: {why}; mend it, or run from its folder"
        ) from error
    if not inspect.isclass(made):
        raise ConfigurationError(f"--cell {shown}: the module {module} has no class {cell_type}; check the name")
    by_name = ("kernel_init", "param_dtype", "rngs")
    check_call(f"the cell {shown}", made, "in_features", "hidden_features", by_name=by_name)
    takes = signature_of(made).parameters
    use_bias = "use_bias" in takes or any(option.kind is option.VAR_KEYWORD for option in takes.values())
    from jaxrnn.cells.by_name import CELLS  # of the table as it is before, whose rows it loads

    CELLS[name] = made  # type: ignore[assignment]
    biases: dict[str, Any] = {gate: gate in takes for gate in GATE_BIASES}
    # How many parameters it has is not known without making it.
    CELL_TABLE[name] = CellEntry(module, cell_type, Blocks(0, 0, 0), use_bias=use_bias, **biases)


def is_known_own(name: Any) -> bool:
    """Whether a name is that of a cell which `use_cell` was told.

    Raises:
      ConfigurationError: if it is MODULE:CLASS of another, with what to do.
    """
    if is_own(name) and name not in CELL_TABLE:
        shown = printable(name, keep="")[:80]
        raise ConfigurationError(
            f"the cell {shown} is a program's own, which no file can bring; give --cell {shown}, or call "
            f"jaxrnn.use_cell({shown!r})"
        )
    return is_own(name)
