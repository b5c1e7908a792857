"""LSTMs with peepholes, with a multiplicative state, and with layer normalization: each against its nearest kin."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import (
    FullPeepholeLSTMCell,
    LayerNormLSTMCell,
    LSTMCell,
    MultiplicativeLSTMCell,
    PeepholeLSTMCell,
)
from jaxrnn.cells.lstm_layer_norm import VARIANCE_FLOOR, normalize
from tests.reference.random_cell import quick_jit, random_carry, random_cell, random_window
from tests.trees import assert_trees_close

pytestmark = pytest.mark.usefixtures("strict_dtypes", "float64")


def with_weights_of(cell, other):
    cell.W_x, cell.W_h, cell.b = nnx.Param(other.W_x[...]), nnx.Param(other.W_h[...]), nnx.Param(other.b[...])
    return cell


def step_of(cell, rng):
    draw = np.random.default_rng(rng)
    return cell(random_carry(cell, 3, draw), random_window(cell, "dense", 1, 3, draw)[0])


@pytest.mark.parametrize(("cell_type", "name"), [(PeepholeLSTMCell, "peephole"), (FullPeepholeLSTMCell, "W_c")])
def test_without_peepholes_it_is_the_lstm(cell_type, name, rng):
    plain = random_cell(LSTMCell, 5, 4, rng, jnp.float64)
    cell = with_weights_of(random_cell(cell_type, 5, 4, rng, jnp.float64), plain)
    assert (np.abs(np.asarray(step_of(cell, 1)[1] - step_of(plain, 1)[1])) > 1e-6).all()
    setattr(cell, name, nnx.Param(jnp.zeros_like(getattr(cell, name)[...])))
    assert_trees_close(step_of(cell, 1), step_of(plain, 1), rtol=1e-14)


def test_full_peepholes_with_diagonal_matrices_are_diagonal_ones_that_see_the_old_state(rng):
    diagonal = random_cell(functools.partial(PeepholeLSTMCell, output_sees="old"), 5, 4, rng, jnp.float64)
    full = with_weights_of(random_cell(FullPeepholeLSTMCell, 5, 4, rng, jnp.float64), diagonal)
    full.W_c = nnx.Param(jnp.concatenate([jnp.diag(row) for row in diagonal.peephole[...]], axis=1))
    assert_trees_close(step_of(full, 1), step_of(diagonal, 1), rtol=1e-12)


def test_the_output_gate_sees_the_new_cell_state_unless_told_otherwise(rng):
    """With f = 0 and i = 1 the old cell state can reach the output through the output gate alone."""

    def gradient_flows(**options):
        cell = random_cell(functools.partial(PeepholeLSTMCell, **options), 5, 4, rng, jnp.float64)
        cell.b = nnx.Param(cell.b[...].at[:4].set(1e4).at[4:8].set(-1e4))
        carry, x = random_carry(cell, 3, rng), random_window(cell, "dense", 1, 3, rng)[0]
        moved = cell(carry._replace(c=carry.c + 0.5), x)[1]
        return np.asarray(moved != cell(carry, x)[1])

    assert not gradient_flows().any()
    assert gradient_flows(output_sees="old").all()


def test_a_multiplicative_state_with_constant_factors_is_an_lstm(rng):
    """Where p_m is 1 for each symbol, the recurrent matrix of all of them is W_h W_m."""

    cell = random_cell(functools.partial(MultiplicativeLSTMCell, output_gate="outside"), 5, 4, rng, jnp.float64)
    cell.W_x = nnx.Param(cell.W_x[...].at[:, :4].set(1.0))
    plain = LSTMCell(5, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    plain.W_x, plain.W_h = nnx.Param(cell.W_x[...][:, 4:]), nnx.Param(cell.W_h[...] @ cell.W_m[...])
    plain.b = nnx.Param(cell.bias[...])
    carry, x = random_carry(cell, 3, rng), jnp.eye(5, dtype=jnp.float64)[np.array([0, 3, 2])]
    assert_trees_close(cell(carry, x), plain(carry, x), rtol=1e-12)


def test_layer_normalization_forgets_the_scale_of_its_products(rng):
    cell = random_cell(LayerNormLSTMCell, 5, 4, rng, jnp.float64)
    once = step_of(cell, 1)
    cell.W_x, cell.W_h = nnx.Param(100.0 * cell.W_x[...]), nnx.Param(7.0 * cell.W_h[...])
    # The floor under the variance, 1e-5, is what remains of the scale.
    assert_trees_close(step_of(cell, 1), once, rtol=1e-4)
    cell.gain_x = nnx.Param(2.0 * cell.gain_x[...])
    assert (np.abs(np.asarray(step_of(cell, 1)[1] - once[1])) > 1e-4).all()


@pytest.mark.parametrize(
    ("cell_type", "options", "message"),
    [
        (PeepholeLSTMCell, {"output_sees": "both"}, "output_sees to be 'new' or 'old', got 'both'"),
        (MultiplicativeLSTMCell, {"output_gate": "none"}, "output_gate to be 'inside' or 'outside', got 'none'"),
    ],
)
def test_an_unknown_form_is_refused(cell_type, options, message):
    with pytest.raises(ValueError, match=f"{cell_type.__name__} expects {message}"):
        cell_type(3, 2, rngs=nnx.Rngs(0), **options)


def test_the_derivatives_of_a_normalization_are_those_of_its_formula(rng):
    def formula(x):
        return (x - x.mean()) / jnp.sqrt(((x - x.mean()) ** 2).mean() + VARIANCE_FLOOR)

    @quick_jit
    def derivatives(x):
        return [[make(of)(x) for make in (jax.jacfwd, jax.jacrev, jax.hessian)] for of in (normalize, formula)]

    # The variance is about as large as what is added to it.
    ours, expected = derivatives(jnp.asarray(0.01 * rng.normal(size=5)))
    assert_trees_close(ours, expected, rtol=1e-9)
