"""What holds for every entry of `CELLS`."""

import functools
import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import CELLS, cell_options, parameter_count
from jaxrnn.cells.base import DEFAULT_KERNEL_INIT
from jaxrnn.cells.table import GATE_BIASES
from jaxrnn.engines import unroll
from tests.reference.gru import gru_step
from tests.reference.gru_reset_before import gru_reset_before_step
from tests.reference.lstm import lstm_step
from tests.reference.lstm_peephole import full_peephole_lstm_step, peephole_lstm_step
from tests.reference.lstm_variants import layer_norm_lstm_step, multiplicative_lstm_step
from tests.reference.random_cell import (
    params_of,
    quick_jit,
    random_carry,
    random_cell,
    random_window,
    unroll_with,
    weighted_sum,
    weights_of,
)
from tests.reference.steps import unroll_steps
from tests.reference.temporal_gate_lstm import temporal_gate_lstm_step
from tests.reference.vanilla import unroll_vanilla
from tests.trees import assert_trees_close

pytestmark = pytest.mark.usefixtures("strict_dtypes")

FEATURES, HIDDEN, STEPS, BATCH = 5, 4, 6, 3
NAMES = list(CELLS)


def vanilla_step(weights, x, carry):
    return (unroll_vanilla({"b": 0.0, **weights}, x[None], carry[0])[0],)


# Called as (weights, x, carry): NumPy's new carry.
NUMPY_STEPS = {
    "vanilla": vanilla_step,
    "lstm": lstm_step,
    "lstm-peephole": peephole_lstm_step,
    "lstm-peephole-full": full_peephole_lstm_step,
    "gru": gru_step,
    "gru-flax": gru_step,
    "gru-reset-before": gru_reset_before_step,
    "temporal-gate-lstm": temporal_gate_lstm_step,
    "lstm-multiplicative": multiplicative_lstm_step,
    "lstm-layer-norm": layer_norm_lstm_step,
}
# A cell's options that change its formula, with the NumPy step that has them too.
VARIANTS: list[tuple] = [(name, {}, step) for name, step in NUMPY_STEPS.items()]
old = functools.partial(peephole_lstm_step, output_sees="old")
leaky = functools.partial(temporal_gate_lstm_step, leak=0.3)
outside = functools.partial(multiplicative_lstm_step, output_gate="outside")
VARIANTS += [("lstm-peephole", {"output_sees": "old"}, old), ("temporal-gate-lstm", {"leak": 0.3}, leaky)]
VARIANTS += [("lstm-multiplicative", {"output_gate": "outside"}, outside)]
WITHOUT_BIAS = [(name, {"use_bias": False}, step) for name, step in NUMPY_STEPS.items()]


def test_every_cell_has_a_numpy_loop():
    assert list(NUMPY_STEPS) == NAMES


def numpy_state(carry):
    return tuple(np.array(state) for state in carry)


@pytest.mark.parametrize(("name", "options", "step"), VARIANTS + WITHOUT_BIAS)
def test_one_step_equals_numpy(name, options, step, float64, rng):
    cell = random_cell(functools.partial(CELLS[name], **options), FEATURES, HIDDEN, rng, jnp.float64)
    carry, x = random_carry(cell, BATCH, rng), random_window(cell, "dense", 1, BATCH, rng)[0]
    new, y = cell(carry, x)
    for ours, numpys in zip(new, step(weights_of(cell), np.array(x), numpy_state(carry)), strict=True):
        np.testing.assert_allclose(ours, numpys, rtol=1e-10, atol=1e-14)
    np.testing.assert_array_equal(y, new.h)


@pytest.mark.parametrize(("name", "options", "step"), VARIANTS)
def test_many_steps_equal_numpy(name, options, step, float64, rng):
    cell = random_cell(functools.partial(CELLS[name], **options), FEATURES, HIDDEN, rng, jnp.float64)
    carry, xs = random_carry(cell, BATCH, rng), random_window(cell, "dense", STEPS, BATCH, rng)
    last, ys = quick_jit(unroll_with(cell, engine="scan"))(params_of(cell), xs, carry)
    carries = unroll_steps(step, weights_of(cell), np.array(xs), numpy_state(carry))
    hidden = type(carry)._fields.index("h")
    np.testing.assert_allclose(ys, np.stack([state[hidden] for state in carries]), rtol=1e-10, atol=1e-14)
    for ours, numpys in zip(last, carries[-1], strict=True):
        np.testing.assert_allclose(ours, numpys, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_an_early_output_does_not_depend_on_a_later_input(name, float64, rng):
    cell = random_cell(CELLS[name], FEATURES, HIDDEN, rng, jnp.float64)
    carry, xs = random_carry(cell, BATCH, rng), random_window(cell, "dense", STEPS, BATCH, rng)

    def early_loss(xs):
        return weighted_sum(unroll(cell, xs, carry, engine="scan")[1][:3])

    d_xs = quick_jit(jax.grad(early_loss))(xs)
    assert not d_xs[3:].any() and d_xs[:3].all()


@pytest.mark.parametrize("name", NAMES)
def test_sums_products_is_true_of_every_cell_that_says_so_and_of_no_other(name, float64, rng):
    cell = random_cell(CELLS[name], FEATURES, HIDDEN, rng, jnp.float64)
    carry, t = random_carry(cell, BATCH, rng), jnp.asarray(2, jnp.int32)
    p, r = (jnp.asarray(rng.normal(size=(BATCH, W.shape[1]))) for W in (cell.W_x, cell.W_h))
    apart = cell.update(p, r, carry, cell.pointwise(), t)
    if cell.sums_products:
        together = cell.update(p + r, jnp.zeros_like(r), carry, cell.pointwise(), t)
        assert_trees_close(apart, together, rtol=1e-12)
    elif p.shape == r.shape:
        together = cell.update(p + r, jnp.zeros_like(r), carry, cell.pointwise(), t)
        assert (np.abs(np.asarray(apart[1] - together[1])) > 1e-3).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_start_is_zero_in_the_parameters_dtype(name, float64):
    for dtype in (jnp.float32, jnp.float64):
        carry = CELLS[name](FEATURES, HIDDEN, param_dtype=dtype, rngs=nnx.Rngs(0)).initial_carry(BATCH)
        for field, leaf in carry._asdict().items():
            assert leaf.shape == (BATCH, 1 if field == "steps" else HIDDEN)
            assert leaf.dtype == dtype and not leaf.any()


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_as_many_as_the_formula_says(name, use_bias):
    for in_features, hidden_features in ((5, 4), (3, 7)):
        make = functools.partial(CELLS[name], in_features, hidden_features, use_bias=use_bias)
        params = nnx.state(nnx.eval_shape(lambda make=make: make(rngs=nnx.Rngs(0))), nnx.Param)
        counted = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
        assert counted == parameter_count(name, in_features, hidden_features, use_bias)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_gate_that_keeps_the_state_starts_with_a_bias(name):
    options = {option: 2.5 for option in GATE_BIASES if option in cell_options(name)}
    cell = CELLS[name](FEATURES, HIDDEN, rngs=nnx.Rngs(0), **options)
    biases = weights_of(cell)
    b = biases["bias"] if "bias" in biases else biases["b"]
    expected = np.zeros_like(b)
    if options:
        expected[HIDDEN : 2 * HIDDEN] = -2.5 if name == "gru-reset-before" else 2.5
    np.testing.assert_array_equal(b, expected)
    assert not biases.get("b_h", np.zeros(1)).any()
    without = weights_of(CELLS[name](FEATURES, HIDDEN, use_bias=False, rngs=nnx.Rngs(0)))
    assert not {"b", "b_h", "bias"} & set(without)


@pytest.mark.parametrize("name", NAMES)
def test_every_matrix_is_drawn_by_kernel_init_in_param_dtype(name):
    drawn = []

    def kernel_init(key, shape, dtype):
        drawn.append(math.prod(shape))
        return jnp.full(shape, 0.125, dtype)

    cell = CELLS[name](FEATURES, HIDDEN, kernel_init=kernel_init, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    matrices = {key: value for key, value in weights_of(cell).items() if value.ndim == 2}
    assert sum(value.size for value in matrices.values()) == sum(drawn)
    for value in matrices.values():
        assert value.dtype == jnp.bfloat16 and (value == 0.125).all()


@pytest.mark.parametrize("name", NAMES)
def test_recurrent_init_draws_each_block_of_what_multiplies_a_state(name):
    orthogonal = jax.nn.initializers.orthogonal()
    cell = CELLS[name](FEATURES, HIDDEN, recurrent_init=orthogonal, rngs=nnx.Rngs(0))
    weights = weights_of(cell)
    recurrent = {key: weights.pop(key) for key in ("W_h", "W_hn", "W_m", "W_c") if key in weights}
    blocks = [block for value in recurrent.values() for block in np.split(value, value.shape[1] // HIDDEN, axis=1)]
    for block in blocks:
        np.testing.assert_allclose(np.linalg.svd(block, compute_uv=False), np.ones(HIDDEN), rtol=1e-5)
    assert len({block.tobytes() for block in blocks}) == len(blocks)
    assert 0 < np.abs(weights["W_x"]).max() < 0.06  # by `kernel_init`, normal with 0.01
    if recurrent["W_h"].shape[1] == weights["W_x"].shape[1]:  # without it both are one draw, as they always were
        plain = CELLS[name](FEATURES, HIDDEN, rngs=nnx.Rngs(0))
        rows = DEFAULT_KERNEL_INIT(nnx.Rngs(0).params(), (FEATURES + HIDDEN, plain.W_h.shape[1]), jnp.float32)
        np.testing.assert_array_equal(np.concatenate([plain.W_x[...], plain.W_h[...]]), rows)


@pytest.mark.parametrize("name", NAMES)
def test_cell_options_are_those_the_cell_takes(name):
    cell_type: Any = getattr(CELLS[name], "func", CELLS[name])  # past a functools.partial
    named = {name for kind in cell_type.__mro__ for name in inspect.signature(kind.__init__).parameters}
    assert cell_options(name) == {"use_bias"} | ({*GATE_BIASES} & named)


@pytest.mark.parametrize("function", [cell_options, lambda name: parameter_count(name, 3, 4)])
def test_an_unknown_cell_is_refused_by_name(function):
    with pytest.raises(ValueError, match="expects a cell out of vanilla, lstm, .*; got 'elman'"):
        function("elman")
