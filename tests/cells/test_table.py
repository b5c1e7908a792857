"""What the settings know of the cells, the initializers and the optimizers, each from one table."""

import functools
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.cells import CELL_TABLE, CELLS, cell_options
from jaxrnn.cells.initializers import INITIALIZER_NAMES, SCALED, initializer
from jaxrnn.config import CELL_NAMES, CHOICES, TrainConfig
from jaxrnn.errors import ConfigurationError


def loaded_after(code):
    """Which modules of weight, and which files of cells, a fresh Python has loaded."""
    heavy = ("jax", "flax", "optax")
    code += f"; import sys; print(*(m for m in sys.modules if m in {heavy} or m.startswith('jaxrnn.cells.')))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return set(result.stdout.split())


def test_settings_are_checked_without_loading_jax():
    code = (
        "from jaxrnn.config import TrainConfig; "
        "TrainConfig(cell='lstm-peephole', forget_bias=0.0, recurrent_init='orthogonal', optimizer='adam', adam_b1=0.8)"
    )
    assert loaded_after(code) == {"jaxrnn.cells.table", "jaxrnn.cells.initializers"}


def test_the_names_are_those_of_the_table():
    assert CHOICES["cell"] == CELL_NAMES == tuple(CELL_TABLE) == tuple(CELLS)
    assert CHOICES["init"] == INITIALIZER_NAMES


@pytest.mark.parametrize("name", CELL_TABLE)
def test_the_class_is_that_of_the_row(name):
    made = CELLS[name]
    cell_type = made.func if isinstance(made, functools.partial) else made
    row = CELL_TABLE[name]
    assert (cell_type.__module__, cell_type.__name__) == (f"jaxrnn.cells.{row.module}", row.cell_type)
    assert getattr(jaxrnn.cells, row.cell_type) is cell_type
    assert (made.keywords if isinstance(made, functools.partial) else {}) == row.fixed


@pytest.mark.parametrize("gate, default", [("forget", 1.0), ("update", 0.0)])
@pytest.mark.parametrize("name", CELL_TABLE)
def test_the_bias_of_a_gate_is_for_the_cells_that_have_one(name, gate, default):
    usual: Any = {f"{gate}_bias": default}
    half: Any = {f"{gate}_bias": 0.5}
    TrainConfig(cell=name, **usual)  # the default is never wrong
    if f"{gate}_bias" in cell_options(name):
        TrainConfig(cell=name, **half)
    else:
        with pytest.raises(ConfigurationError, match=f"no effect with --cell {name}, which has no {gate} gate"):
            TrainConfig(cell=name, **half)


@pytest.mark.parametrize("name", INITIALIZER_NAMES)
def test_only_a_scaled_initializer_has_a_scale(name):
    key, shape = jax.random.key(0), (40, 60)
    narrow, wide = (np.asarray(initializer(name, scale)(key, shape, jnp.float32)) for scale in (0.01, 0.1))
    np.testing.assert_allclose(wide, narrow * (10.0 if name in SCALED else 1.0), rtol=1e-5, atol=1e-8)  # atol: around 0
    # Variance by the name's own formula; rows of an orthogonal matrix have length 1.
    rows, columns = shape
    variances = {"normal": 1e-4, "uniform": 1e-4 / 3, "lecun-normal": 1 / rows, "he-normal": 2 / rows}
    variances |= {"orthogonal": 1 / columns} | dict.fromkeys(("glorot-uniform", "glorot-normal"), 2 / (rows + columns))
    assert narrow.var() == pytest.approx(variances[name], rel=0.1)


def test_an_unknown_initializer_is_refused():
    with pytest.raises(ValueError, match="initializer expects a name out of normal, uniform, .*; got 'glorot'"):
        initializer("glorot", 0.01)
