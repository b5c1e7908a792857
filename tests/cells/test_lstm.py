import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import LSTMCarry, LSTMCell
from jaxrnn.engines import unroll
from tests.reference.lstm import lstm_gradients, lstm_step
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
    cell = random_cell(LSTMCell, 5, 4, rng, jnp.float64)
    carry, xs = random_carry(cell, BATCH, rng), random_window(cell, kind, STEPS, BATCH, rng)
    resets = np.zeros((STEPS, BATCH), bool)
    resets[0, 0] = resets[3, 2] = True
    d_hs, d_c, d_h = (rng.normal(size=shape) for shape in [(STEPS, BATCH, 4), (BATCH, 4), (BATCH, 4)])

    def loss(params, carry, features):
        window = xs if kind == "ids" else features
        last, ys = unroll_with(cell, engine="scan")(params, window, carry, jnp.asarray(resets))
        return jnp.sum(ys * d_hs) + jnp.sum(last.c * d_c) + jnp.sum(last.h * d_h), ys

    argnums = (0, 1) if kind == "ids" else (0, 1, 2)
    gradients, ys = quick_jit(jax.grad(loss, argnums, has_aux=True))(params_of(cell), carry, xs)
    weights, start = weights_of(cell), (np.array(carry.c), np.array(carry.h))
    hs = [h for _, h in unroll_steps(lstm_step, weights, np.array(xs), start, resets)]
    np.testing.assert_allclose(ys, np.stack(hs), rtol=1e-10)
    by_weight, first, d_xs = lstm_gradients(weights, np.array(xs), start, d_hs, (d_c, d_h), resets)
    assert_trees_close(gradients, (by_weight, LSTMCarry(*first), d_xs)[: len(argnums)], rtol=1e-10)


def two_layers(rng):
    """Two cells, their carries, a window, a scalar loss of all outputs, and our values and gradients."""
    cells = [random_cell(LSTMCell, 5, 4, rng, jnp.float32), random_cell(LSTMCell, 4, 4, rng, jnp.float32)]
    carries = [random_carry(cell, BATCH, rng) for cell in cells]
    xs = random_window(cells[0], "dense", STEPS, BATCH, rng)
    d_ys = jnp.asarray(rng.normal(size=(STEPS, BATCH, 4)), jnp.float32)
    d_last = [jax.tree.map(lambda c: jnp.asarray(rng.normal(size=c.shape), c.dtype), carry) for carry in carries]

    def loss(params, xs, carries):
        ys, lasts = xs, []
        for cell, own, carry in zip(cells, params, carries, strict=True):
            last, ys = unroll_with(cell, engine="scan")(own, ys, carry)
            lasts.append(last)
        return loss_of(ys, lasts, d_ys, d_last), ys

    ours = quick_jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))([params_of(cell) for cell in cells], xs, carries)
    return cells, carries, xs, d_ys, d_last, ours


def loss_of(ys, lasts, d_ys, d_last):
    total = (ys * d_ys).sum()
    for last, d in zip(lasts, d_last, strict=True):
        total = total + (last[0] * d[0]).sum() + (last[1] * d[1]).sum()
    return total


def test_two_layers_equal_torch_with_copied_weights():
    assert_layers_equal_torch(LSTMCell, LSTMCarry, "torch_lstm", rtol=1e-5)


def test_two_layers_equal_flax_with_copied_weights(rng):
    cells, carries, xs, d_ys, d_last, ((gradients, d_xs, d_carries), ys) = two_layers(rng)
    graphdefs, states = [], []
    for cell in cells:
        flax_cell = nnx.OptimizedLSTMCell(cell.in_features, 4, rngs=nnx.Rngs(0))
        own = params_of(cell)
        copied = {"dense_i": {"kernel": own["W_x"]}, "dense_h": {"kernel": own["W_h"], "bias": own["b"]}}
        nnx.update(flax_cell, nnx.State(copied))
        graphdef, state = nnx.split(flax_cell)
        graphdefs.append(graphdef)
        states.append(state)

    def loss(states, xs, carries):
        ys, lasts = xs, []
        for graphdef, state, carry in zip(graphdefs, states, carries, strict=True):
            rnn = nnx.RNN(nnx.merge(graphdef, state), time_major=True, return_carry=True)
            last, ys = rnn(ys, initial_carry=tuple(carry))
            lasts.append(last)
        return loss_of(ys, lasts, d_ys, d_last), ys

    (theirs, their_d_xs, their_d_carries), their_ys = quick_jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(
        states, xs, carries
    )
    by_layer = [
        {"W_h": state.dense_h.kernel[...], "W_x": state.dense_i.kernel[...], "b": state.dense_h.bias[...]}
        for state in theirs
    ]
    assert_trees_close(ys, their_ys, rtol=1e-5)
    assert_trees_close((gradients, d_xs, d_carries), (by_layer, their_d_xs, their_d_carries), rtol=1e-5)


def forced(cell, gates):
    """The cell with gates held open, +1, or shut, -1, by biases that nothing outweighs."""
    b = np.array(cell.b[...]).reshape(4, -1)
    for gate, sign in gates.items():
        b["ifgo".index(gate)] = 1e4 * sign
    cell.b = nnx.Param(jnp.asarray(b.reshape(-1)))
    return cell


def test_an_open_forget_gate_and_a_shut_input_gate_copy_c_bitwise(rng):
    cell = forced(random_cell(LSTMCell, 5, 4, rng, jnp.float32), {"f": 1, "i": -1})
    carry, xs = random_carry(cell, BATCH, rng), random_window(cell, "dense", 50, BATCH, rng)
    last, ys = unroll(cell, xs, carry, engine="scan")
    assert last.c.tobytes() == carry.c.tobytes()
    assert (np.asarray(ys[0]) != np.asarray(ys[1])).all()


def test_a_shut_forget_gate_and_an_open_input_gate_overwrite_c(rng):
    cell = forced(random_cell(LSTMCell, 5, 4, rng, jnp.float32), {"f": -1, "i": 1})
    carry, x = random_carry(cell, BATCH, rng), random_window(cell, "dense", 1, BATCH, rng)[0]
    new, _ = cell(carry, x)
    p, r = x @ cell.W_x[...] + cell.b[...][None, :], carry.h @ cell.W_h[...]
    assert new.c.tobytes() == jnp.tanh((p + r)[:, 8:12]).tobytes()
    other = carry._replace(c=carry.c + 1.0)
    assert cell(other, x)[0].c.tobytes() == new.c.tobytes()


@pytest.mark.parametrize(("forget_bias", "expected"), [(None, 1.0), (0.0, 0.0), (3.0, 3.0)])
def test_forget_bias_is_that_of_the_second_block(forget_bias, expected):
    options = {} if forget_bias is None else {"forget_bias": forget_bias}
    b = weights_of(LSTMCell(3, 2, rngs=nnx.Rngs(0), **options))["b"]
    np.testing.assert_array_equal(b, [0, 0, expected, expected, 0, 0, 0, 0])
