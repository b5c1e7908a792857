"""Derivatives against differences: 64-bit, a scalar, sizes of 2 to 5, one group of parameters a call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from jaxrnn.cells import CELLS, VanillaCarry, VanillaCell
from jaxrnn.engines import engines_of
from tests.reference.peephole import OtherOutputCell
from tests.reference.random_cell import (
    params_of,
    random_carry,
    random_cell,
    random_window,
    unroll_with,
    weighted_sum,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes", "float64")

MODES = {"scan": ["fwd", "rev"], "hoisted": ["rev"], "recompute": ["rev"]}
STEPS = 4


def check_each_group(cell, kind, engine, modes, groups=None):
    rng = np.random.default_rng(5)
    xs, carry = random_window(cell, kind, STEPS, 2, rng), random_carry(cell, 2, rng)
    resets = jnp.zeros((STEPS, 2), bool).at[2, 1].set(True)
    run = unroll_with(cell, engine=engine)
    here = {**params_of(cell), "carry": carry}
    if kind == "dense":
        here["xs"] = xs

    @jax.jit
    def loss(arguments, moves):
        """Only the group whose entry of `moves` is 1 moves away from `here`: one program serves all groups."""
        moved = {
            name: jax.tree.map(lambda at, to, name=name: at + moves[name] * (to - at), here[name], arguments[name])
            for name in here
        }
        params = {name: value for name, value in moved.items() if name not in ("carry", "xs")}
        return weighted_sum(run(params, moved.get("xs", xs), moved["carry"], resets))

    for group in groups or here:
        moves = {name: jnp.asarray(float(name == group)) for name in here}
        check_grads(lambda arguments, m=moves: loss(arguments, m), (here,), order=1, modes=modes)


TYPES = {**CELLS, "another output": OtherOutputCell}
WITH_INNER_PRODUCTS = {"lstm-peephole-full", "gru-reset-before", "lstm-multiplicative"}
PAIRS = [(engine, name) for engine in MODES for name in TYPES if engine != "hoisted" or name not in WITH_INNER_PRODUCTS]


def test_every_engine_that_runs_a_cell_is_checked():
    cells = {name: nnx.eval_shape(lambda make=make: make(3, 2, rngs=nnx.Rngs(0))) for name, make in TYPES.items()}
    assert set(PAIRS) == {(e, name) for name, cell in cells.items() for e in engines_of(cell) if e != "reference"}


@pytest.mark.parametrize(("engine", "name"), PAIRS)
def test_derivatives_agree_with_differences(engine, name):
    cell = random_cell(TYPES[name], 3, 2, np.random.default_rng(2), jnp.float64)
    check_each_group(cell, "ids" if name == "another output" else "dense", engine, MODES[engine])


@jax.custom_jvp
def tanh_with_a_wrong_derivative(x):
    return jnp.tanh(x)


@tanh_with_a_wrong_derivative.defjvp
def _(primals, tangents):
    y = jnp.tanh(primals[0])
    return y, 1.001 * (1 - y * y) * tangents[0]


class WrongCell(VanillaCell):
    def update(self, p, r, carry, pointwise, t):
        h = tanh_with_a_wrong_derivative(p + r)
        return VanillaCarry(h), h


@pytest.mark.parametrize(
    ("engine", "mode"), [("scan", "fwd"), ("scan", "rev"), ("hoisted", "rev"), ("recompute", "rev")]
)
def test_a_derivative_wrong_by_a_thousandth_is_caught(engine, mode):
    cell = random_cell(WrongCell, 3, 2, np.random.default_rng(2), jnp.float64)
    for group in ("W_h", "b"):
        with pytest.raises(AssertionError):
            check_each_group(cell, "ids", engine, [mode], [group])
