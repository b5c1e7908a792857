"""Cells with products of their own: dropout of h and the limit of the backward loop reach those products too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from jaxrnn.cells import CELLS, InnerProduct, ResetBeforeGRUCell
from jaxrnn.engines import engines_of, unroll
from tests.reference.gru_reset_before import gru_reset_before_step
from tests.reference.lstm_peephole import full_peephole_lstm_step
from tests.reference.lstm_variants import multiplicative_lstm_step
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
from tests.trees import assert_trees_close

pytestmark = pytest.mark.usefixtures("strict_dtypes", "float64")

FEATURES, HIDDEN, STEPS, BATCH = 4, 3, 4, 2


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def limited(x, limit):
    """x, whose gradient is clipped: the tests' own."""
    return x


limited.defvjp(lambda x, limit: (x, None), lambda limit, kept, d: (jnp.minimum(jnp.maximum(d, -limit), limit),))


# One step by hand: every product's gradient is clipped, and h counts masked in the products that read it.


def lstm_of(a, c):
    a_i, a_f, a_g, a_o = jnp.split(a, 4, axis=1)
    c = jax.nn.sigmoid(a_f) * c + jax.nn.sigmoid(a_i) * jnp.tanh(a_g)
    return c, jax.nn.sigmoid(a_o)


def gru_reset_before(w, x, carry, mask, clip):
    (h,) = carry
    p, q = clip(x @ w["W_x"] + w["b"][None, :]), clip((mask * h) @ w["W_h"])
    r, z = (jax.nn.sigmoid(p[:, k * HIDDEN : (k + 1) * HIDDEN] + q[:, k * HIDDEN : (k + 1) * HIDDEN]) for k in (0, 1))
    n = jnp.tanh(p[:, 2 * HIDDEN :] + clip((r * (mask * h)) @ w["W_hn"]))
    return ((1 - z) * h + z * n,)


def multiplicative_lstm(w, x, carry, mask, clip):
    c, h = carry
    p, q = clip(x @ w["W_x"]), clip((mask * h) @ w["W_h"])
    a = p[:, HIDDEN:] + clip((p[:, :HIDDEN] * q) @ w["W_m"]) + w["bias"][None, :]
    c, o = lstm_of(a, c)
    return c, jnp.tanh(o * c)


def full_peephole_lstm(w, x, carry, mask, clip):
    c, h = carry
    seen = clip(c @ w["W_c"])
    a = clip(x @ w["W_x"] + w["b"][None, :]) + clip((mask * h) @ w["W_h"])
    gates = [seen[:, :HIDDEN], seen[:, HIDDEN : 2 * HIDDEN], jnp.zeros_like(c), seen[:, 2 * HIDDEN :]]
    c, o = lstm_of(a + jnp.concatenate(gates, axis=1), c)
    return c, o * jnp.tanh(c)


BY_HAND = {
    "gru-reset-before": (gru_reset_before, gru_reset_before_step),
    "lstm-multiplicative": (multiplicative_lstm, multiplicative_lstm_step),
    "lstm-peephole-full": (full_peephole_lstm, full_peephole_lstm_step),
}


def test_every_cell_with_inner_products_is_here():
    cells = {name: random_cell(make, 3, 2, np.random.default_rng(2), jnp.float64) for name, make in CELLS.items()}
    assert set(BY_HAND) == {name for name, cell in cells.items() if cell.inner_products}


@pytest.mark.parametrize("name", list(BY_HAND))
def test_masks_and_limits_reach_the_inner_products(name, rng):
    by_hand, numpy_step = BY_HAND[name]
    cell = random_cell(CELLS[name], FEATURES, HIDDEN, rng, jnp.float64)
    carry, xs = random_carry(cell, BATCH, rng), random_window(cell, "dense", STEPS, BATCH, rng)
    masks = rng.choice([0.0, 1.5], (STEPS, BATCH, HIDDEN))
    window_mask = jnp.asarray(masks[:1])

    def value_and_gradients(run, mask):
        def loss(params, carry, mask):
            hs, last = run(params, carry, mask)
            return weighted_sum((hs, tuple(last))), (hs, tuple(last))

        return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(params_of(cell), carry, mask)

    def loop(limit, params, carry, mask):
        clip, hs, state = functools.partial(limited, limit=limit), [], tuple(carry)
        for t in range(STEPS):
            state = by_hand(params, xs[t], state, mask[t % len(mask)], lambda x: clip(x, limit=limit))
            hs.append(state[-1])
        return jnp.stack(hs), state

    def engine(name, limit, params, carry, mask):
        limit = None if np.isinf(limit) else jnp.asarray(limit)
        run = unroll_with(cell, engine=name, recurrent_mask=mask, clip_backward=limit)
        return run(params, xs, carry)[::-1]

    # A mask a step with a limit, and one mask a window without.
    cases = [(masks, jnp.asarray(masks), 0.05), (np.repeat(masks[:1], STEPS, 0), window_mask, np.inf)]

    @quick_jit
    def all_of_them():
        return [
            [value_and_gradients(functools.partial(loop, limit), mask)]
            + [value_and_gradients(functools.partial(engine, e, limit), mask) for e in engines_of(cell)]
            for _, mask, limit in cases
        ]

    for (each, _, _), (expected, *ours) in zip(cases, all_of_them(), strict=True):
        by_numpy = unroll_steps(numpy_step, weights_of(cell), np.array(xs), tuple(map(np.array, carry)), masks=each)
        np.testing.assert_allclose(expected[1][0], [state[-1] for state in by_numpy], rtol=1e-10)
        for actual in ours:
            assert_trees_close(actual, expected, rtol=1e-10)


@pytest.mark.parametrize("name", list(BY_HAND))
def test_no_matrix_is_kept_or_added_up_in_every_step(name, rng):
    cell = random_cell(CELLS[name], FEATURES, HIDDEN, rng, jnp.float64)
    carry, xs = random_carry(cell, BATCH, rng), random_window(cell, "dense", STEPS, BATCH, rng)
    run = unroll_with(cell, engine="recompute")
    program = jax.make_jaxpr(jax.grad(lambda params: weighted_sum(run(params, xs, carry))))(params_of(cell)).jaxpr
    matrices = {param.shape for path, param in params_of(cell).items() if path.startswith("W_") and path != "W_x"}
    assert len(matrices) == 2
    shapes = {leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(lambda: carry))}

    def look(jaxpr):
        for e in jaxpr.eqns:
            assert not {(STEPS, *shape) for shape in matrices} & {v.aval.shape for v in e.outvars}, e
            if e.primitive.name == "scan":
                loops.append({v.aval.shape for v in e.outvars[: e.params["num_carry"]]})
            for inner in jaxprs_in_params(e.params):
                look(inner)

    loops: list[set[tuple[int, ...]]] = []
    look(program)
    assert loops == [shapes, shapes]


def test_a_cell_with_an_inner_product_that_does_not_say_so_is_refused_where_its_mask_would_be_lost(rng):
    class Silent(ResetBeforeGRUCell):
        inner_products = False

    cell = random_cell(Silent, FEATURES, HIDDEN, rng, jnp.float64)
    assert isinstance(cell.pointwise(), InnerProduct)
    with pytest.raises(ValueError, match="Silent.pointwise.* holds an InnerProduct; set `inner_products = True`"):
        unroll(cell, random_window(cell, "dense", STEPS, 1, rng), cell.initial_carry(1))
