import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import CELLS, GRUCarry, GRUCell, ResetBeforeGRUCell
from tests.reference.gru import gru_gradients, gru_step
from tests.reference.random_cell import (
    params_of,
    quick_jit,
    random_carry,
    random_cell,
    random_window,
    unroll_with,
    weights_of,
)
from tests.reference.steps import unroll_steps
from tests.reference.torch_numbers import assert_layers_equal_torch
from tests.trees import assert_trees_close

pytestmark = pytest.mark.usefixtures("strict_dtypes")

STEPS, BATCH = 7, 3


@pytest.mark.parametrize("kind", ["ids", "dense"])
def test_gradients_equal_the_chain_rule_in_numpy(kind, float64, rng):
    cell = random_cell(GRUCell, 5, 4, rng, jnp.float64)
    carry, xs = random_carry(cell, BATCH, rng), random_window(cell, kind, STEPS, BATCH, rng)
    resets = np.zeros((STEPS, BATCH), bool)
    resets[0, 0] = resets[3, 2] = True
    d_hs, d_last = rng.normal(size=(STEPS, BATCH, 4)), rng.normal(size=(BATCH, 4))

    def loss(params, carry, features):
        window = xs if kind == "ids" else features
        last, ys = unroll_with(cell, engine="scan")(params, window, carry, jnp.asarray(resets))
        return jnp.sum(ys * d_hs) + jnp.sum(last.h * d_last), ys

    argnums = (0, 1) if kind == "ids" else (0, 1, 2)
    gradients, ys = quick_jit(jax.grad(loss, argnums, has_aux=True))(params_of(cell), carry, xs)
    weights, start = weights_of(cell), (np.array(carry.h),)
    hs = [h for (h,) in unroll_steps(gru_step, weights, np.array(xs), start, resets)]
    np.testing.assert_allclose(ys, np.stack(hs), rtol=1e-10)
    by_weight, first, d_xs = gru_gradients(weights, np.array(xs), start, d_hs, d_last, resets)
    assert_trees_close(gradients, (by_weight, GRUCarry(first), d_xs)[: len(argnums)], rtol=1e-10)


def two_layers(cell_type, rng):
    """Two cells, their carries, a window, the weights of the outputs in a loss, and our values and gradients."""
    cells = [random_cell(cell_type, 5, 4, rng, jnp.float32), random_cell(cell_type, 4, 4, rng, jnp.float32)]
    carries = [random_carry(cell, BATCH, rng) for cell in cells]
    xs = random_window(cells[0], "dense", STEPS, BATCH, rng)
    d_ys = jnp.asarray(rng.normal(size=(STEPS, BATCH, 4)), jnp.float32)

    def loss(params, xs, carries):
        ys = xs
        for cell, own, carry in zip(cells, params, carries, strict=True):
            ys = unroll_with(cell, engine="scan")(own, ys, carry)[1]
        return jnp.sum(ys * d_ys), ys

    ours = quick_jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))([params_of(cell) for cell in cells], xs, carries)
    return cells, carries, xs, d_ys, ours


def test_two_layers_equal_torch_with_copied_weights():
    assert_layers_equal_torch(GRUCell, GRUCarry, "torch_gru", rtol=1e-5)


def test_two_layers_without_recurrent_bias_equal_flax_with_copied_weights(rng):
    cells, carries, xs, d_ys, ((gradients, d_xs, d_carries), ys) = two_layers(CELLS["gru-flax"], rng)
    graphdefs, states = [], []
    for cell in cells:
        flax_cell = nnx.GRUCell(cell.in_features, 4, rngs=nnx.Rngs(0))
        own = params_of(cell)
        copied = {"dense_i": {"kernel": own["W_x"], "bias": own["b"]}, "dense_h": {"kernel": own["W_h"]}}
        nnx.update(flax_cell, nnx.State(copied))
        graphdef, state = nnx.split(flax_cell)
        graphdefs.append(graphdef)
        states.append(state)

    def loss(states, xs, hs):
        ys = xs
        for graphdef, state, h in zip(graphdefs, states, hs, strict=True):
            ys = nnx.RNN(nnx.merge(graphdef, state), time_major=True)(ys, initial_carry=h)
        return jnp.sum(ys * d_ys), ys

    (theirs, their_d_xs, d_hs), their_ys = quick_jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(
        states, xs, [carry.h for carry in carries]
    )
    by_layer = [
        {"W_h": state.dense_h.kernel[...], "W_x": state.dense_i.kernel[...], "b": state.dense_i.bias[...]}
        for state in theirs
    ]
    assert_trees_close(ys, their_ys, rtol=1e-5)
    expected = (by_layer, their_d_xs, [GRUCarry(d_h) for d_h in d_hs])
    assert_trees_close((gradients, d_xs, d_carries), expected, rtol=1e-5)


@pytest.mark.parametrize(("cell_type", "sign"), [(GRUCell, 1), (ResetBeforeGRUCell, -1)])
def test_the_update_gate_that_keeps_the_old_state_keeps_it_bitwise(cell_type, sign, rng):
    """z = 1 in the libraries' form, z = 0 in the other."""
    cell = random_cell(cell_type, 5, 4, rng, jnp.float32)
    carry, x = random_carry(cell, BATCH, rng), random_window(cell, "dense", 1, BATCH, rng)[0]
    b = cell.b[...]
    cell.b = nnx.Param(b.at[4:8].set(1e4 * sign))
    assert cell(carry, x)[1].tobytes() == carry.h.tobytes()
    cell.b = nnx.Param(b.at[4:8].set(-1e4 * sign))
    assert (np.abs(np.asarray(cell(carry, x)[1] - carry.h)) > 1e-3).all()


def test_the_two_orders_agree_where_the_reset_gate_is_open(float64, rng):
    """With r = 1 both candidates have the same product; z is turned round by its weights' sign."""
    after = random_cell(functools.partial(GRUCell, recurrent_bias=False), 5, 4, rng, jnp.float64)
    before = ResetBeforeGRUCell(5, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    after.b = nnx.Param(after.b[...].at[:4].set(1e4))
    turn = jnp.asarray([1.0] * 4 + [-1.0] * 4 + [1.0] * 4, jnp.float64)
    before.W_x, before.b = nnx.Param(after.W_x[...] * turn[None, :]), nnx.Param(after.b[...] * turn)
    before.W_h = nnx.Param((after.W_h[...] * turn[None, :])[:, :8])
    before.W_hn = nnx.Param(after.W_h[...][:, 8:])
    carry, x = random_carry(after, BATCH, rng), random_window(after, "dense", 1, BATCH, rng)[0]
    np.testing.assert_allclose(before(carry, x)[1], after(carry, x)[1], rtol=1e-12)


def test_without_biases_there_is_no_recurrent_one_either():
    assert set(weights_of(GRUCell(3, 2, use_bias=False, rngs=nnx.Rngs(0)))) == {"W_x", "W_h"}
    assert set(weights_of(GRUCell(3, 2, rngs=nnx.Rngs(0)))) == {"W_x", "W_h", "b", "b_h"}
    assert set(weights_of(CELLS["gru-flax"](3, 2, rngs=nnx.Rngs(0)))) == {"W_x", "W_h", "b"}
