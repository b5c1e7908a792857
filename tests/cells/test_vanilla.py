from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import Cell, VanillaCarry, VanillaCell
from jaxrnn.engines import unroll
from tests.reference.random_cell import (
    params_of,
    quick_jit,
    random_carry,
    random_cell,
    random_window,
    unroll_with,
    weights_of,
)
from tests.reference.torch_numbers import assert_layers_equal_torch
from tests.reference.vanilla import unroll_vanilla
from tests.trees import assert_trees_close

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_one_step_equals_numpy(float64, rng):
    cell = random_cell(VanillaCell, 5, 4, rng, jnp.float64)
    carry, x = random_carry(cell, 3, rng), random_window(cell, "dense", 1, 3, rng)[0]
    new_carry, y = cell(carry, x)
    expected = unroll_vanilla(weights_of(cell), np.array(x)[None], np.array(carry.h))[0]
    np.testing.assert_allclose(y, expected, rtol=1e-10)
    np.testing.assert_allclose(new_carry.h, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ["ids", "dense"])
def test_many_steps_equal_numpy(kind, float64, rng):
    cell = random_cell(VanillaCell, 5, 4, rng, jnp.float64)
    carry, xs = random_carry(cell, 3, rng), random_window(cell, kind, 9, 3, rng)
    last, ys = unroll(cell, xs, carry)
    expected = unroll_vanilla(weights_of(cell), np.array(xs), np.array(carry.h))
    np.testing.assert_allclose(ys, expected, rtol=1e-10)
    np.testing.assert_allclose(last.h, expected[-1], rtol=1e-10)


def copies(cell, rng):
    """Inputs, weights of the outputs in a scalar loss, and our value and gradients of that loss."""
    carry, xs = random_carry(cell, 3, rng), random_window(cell, "dense", 7, 3, rng)
    d_ys = jnp.asarray(rng.normal(size=(7, 3, cell.hidden_features)), jnp.float32)

    def loss(params, xs, h):
        ys = unroll_with(cell)(params, xs, VanillaCarry(h))[1]
        return jnp.sum(ys * d_ys), ys

    ours = quick_jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(params_of(cell), xs, carry.h)
    return xs, carry.h, d_ys, ours


def test_equals_flax_simple_cell_with_copied_weights(rng):
    cell = random_cell(VanillaCell, 5, 4, rng, jnp.float32)
    xs, h, d_ys, ((ours, d_xs, d_h), ys) = copies(cell, rng)
    flax_cell = nnx.SimpleCell(5, 4, rngs=nnx.Rngs(0))
    weights = params_of(cell)
    copied = {"dense_i": {"kernel": weights["W_x"], "bias": weights["b"]}, "dense_h": {"kernel": weights["W_h"]}}
    nnx.update(flax_cell, nnx.State(copied))
    graphdef, state = nnx.split(flax_cell)

    def loss(state, xs, h):
        theirs = nnx.RNN(nnx.merge(graphdef, state), time_major=True)(xs, initial_carry=h)
        return jnp.sum(theirs * d_ys), theirs

    theirs = quick_jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(state, xs, h)
    (gradients, their_d_xs, their_d_h), their_ys = theirs
    by_name = {
        "W_h": gradients.dense_h.kernel[...],
        "W_x": gradients.dense_i.kernel[...],
        "b": gradients.dense_i.bias[...],
    }
    assert_trees_close(ys, their_ys, rtol=1e-5)
    assert_trees_close((ours, d_xs, d_h), (by_name, their_d_xs, their_d_h), rtol=1e-5)


def test_equals_torch_rnn_with_copied_weights():
    assert_layers_equal_torch(VanillaCell, VanillaCarry, "torch_vanilla", rtol=1e-5)


def test_weights_start_normal_and_biases_at_zero():
    cell = VanillaCell(200, 300, kernel_init=jax.nn.initializers.normal(0.02), rngs=nnx.Rngs(3))
    for weight in (cell.W_x[...], cell.W_h[...]):
        assert float(weight.std()) == pytest.approx(0.02, rel=0.02)
        assert abs(float(weight.mean())) < 4e-4
    assert not weights_of(cell)["b"].any() and cell.b_h is None


@pytest.mark.parametrize(("in_features", "hidden_features"), [(0, 4), (5, 0), (-1, 4)])
def test_refuses_sizes_that_are_not_positive(in_features, hidden_features):
    with pytest.raises(ValueError, match=f"VanillaCell.*in_features={in_features} and hidden_features"):
        VanillaCell(in_features, hidden_features, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("shape", [(2, 5), (3,), (2, 3, 3)])
def test_refuses_input_of_another_size(shape, rng):
    cell = VanillaCell(3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"expects x of shape \(batch, 3\), got .*another vocabulary"):
        cell(cell.initial_carry(2), jnp.asarray(rng.normal(size=shape), jnp.float32))


@pytest.mark.parametrize(
    "carry", [None, (jnp.zeros((2, 4)),), VanillaCarry(jnp.zeros((3, 4))), VanillaCarry(jnp.zeros((2, 5)))]
)
def test_refuses_a_carry_of_another_kind_or_size(carry):
    with pytest.raises(ValueError, match=r"expects a carry of shape \(2, 4\), got .*; make it by initial_carry\(2\)"):
        VanillaCell(3, 4, rngs=nnx.Rngs(0))(carry, jnp.ones((2, 3)))


@pytest.mark.parametrize("name", ["kernel_init", "recurrent_init"])
def test_refuses_an_initializer_that_is_no_function(name):
    options: dict[str, Any] = {name: "orthogonal"}
    with pytest.raises(ValueError, match=f"expects a function as {name}, such as jax.*, got 'orthogonal'"):
        VanillaCell(3, 4, rngs=nnx.Rngs(0), **options)


def test_the_contract_cannot_be_half_filled():
    class NoUpdate(Cell):
        def initial_carry(self, batch_size):
            return VanillaCarry(jnp.zeros((batch_size, self.hidden_features)))

    with pytest.raises(TypeError, match="update"):
        NoUpdate(3, 4, rngs=nnx.Rngs(0))  # type: ignore[abstract]
