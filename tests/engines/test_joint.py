"""One product for all weight gradients of a layer, as a GPU makes it, on a CPU."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxrnn.cells import GRUCell, LSTMCell, VanillaCell
from jaxrnn.engines.joint import Inputs, inputs_of
from jaxrnn.engines.platforms import tracing_for
from jaxrnn.engines.products import pieces_of
from jaxrnn.engines.window import input_weights, make_window
from tests.reference.random_cell import (
    params_of,
    quick_jit,
    random_carry,
    random_cell,
    random_window,
    unroll_with,
    weighted_sum,
)
from tests.trees import assert_trees_close

STEPS, ROWS, FEATURES, UNITS = 6, 3, 5, 4


def inputs(cell, kind, rng):
    """Features, ids, or both side by side, of which the ids may be scaled, as dropout does."""
    ids = jnp.asarray(rng.integers(0, 3, (STEPS, ROWS)), jnp.uint8)
    if kind == "ids":
        return random_window(cell, "ids", STEPS, ROWS, rng), {}
    if kind == "dense":
        return random_window(cell, "dense", STEPS, ROWS, rng), {}
    scale = {"input_scale": jnp.asarray(rng.integers(0, 2, (STEPS, ROWS)) * 2.0)} if kind == "scaled" else {}
    return (random_window(cell, "dense", STEPS, ROWS, rng)[..., : FEATURES - 3], ids), scale


@pytest.mark.parametrize("kind", ["ids", "dense", "both", "scaled"])
@pytest.mark.parametrize("masked", [False, True])
def test_its_gradients_are_those_of_reference(kind, masked, rng, float64):
    cell = random_cell(LSTMCell, FEATURES, UNITS, rng, jnp.float64)
    (xs, options), carry = inputs(cell, kind, rng), random_carry(cell, ROWS, rng)
    if masked:
        options["recurrent_mask"] = jnp.asarray(2.0 * (rng.random((STEPS, ROWS, UNITS)) < 0.5))

    def found(engine):
        def loss(params, carry):
            out = unroll_with(cell, engine=engine, **options)(params, xs, carry)
            return weighted_sum(out), out

        return quick_jit(jax.grad(loss, (0, 1), has_aux=True))(params_of(cell), carry)

    with tracing_for("gpu"):
        ours = found("recompute")
    assert_trees_close(ours, found("reference"), rtol=1e-10)


@pytest.mark.parametrize("interpreted", [False, True])
def test_the_gradient_by_features_is_that_of_reference(interpreted, rng):
    cell = random_cell(LSTMCell, FEATURES, UNITS, rng, jnp.float32)
    xs, carry = random_window(cell, "dense", STEPS, ROWS, rng), random_carry(cell, ROWS, rng)
    engine: Any = "recompute"
    if interpreted:
        settings = pytest.importorskip("jaxrnn.engines.resident_gpu.settings", reason="this JAX has no Mosaic GPU")
        params = pytest.importorskip("jax._src.pallas.mosaic_gpu.interpret.params", reason="no interpreter")
        if jax.__version_info__ < (0, 11):
            pytest.skip("jax 0.10 cannot interpret a kernel that transposes")
        from jaxrnn.engines.resident_gpu import unroll_resident

        setting = settings.Setting(interpret=params.InterpretGPUParams())

        def engine(*given):
            return unroll_resident(*given, setting=setting)

    def found(engine):
        def loss(params, xs):
            return weighted_sum(unroll_with(cell, engine=engine)(params, xs, carry))

        return quick_jit(jax.grad(loss, (0, 1)))(params_of(cell), xs)

    with tracing_for("gpu"):
        ours = found(engine)
    assert_trees_close(ours, found("reference"), rtol=1e-5)


@pytest.mark.parametrize(("engine", "cell_type"), [("recompute", LSTMCell), ("recompute", GRUCell), ("scan", LSTMCell)])
def test_the_row_of_a_symbol_that_a_window_lacks_has_a_gradient_of_exactly_zero(engine, cell_type, rng):
    """RMSprop and Adam divide a gradient by its usual size: of rounding they would make whole steps."""
    cell = random_cell(cell_type, FEATURES, UNITS, rng, jnp.float32)
    ids, carry = jnp.asarray(rng.integers(0, FEATURES - 2, (4, 64)), jnp.uint8), random_carry(cell, 64, rng)
    with tracing_for("gpu"):
        assert pieces_of(ids.size, 16, 16) > 1
        run = unroll_with(cell, engine=engine)
        d_W_x = quick_jit(jax.grad(lambda params: weighted_sum(run(params, ids, carry))))(params_of(cell))["W_x"]
    assert not d_W_x[-2:].any() and d_W_x[:-2].all()


def test_it_is_made_where_the_update_adds_what_the_products_give(rng):
    for kind, joins in ((LSTMCell, True), (VanillaCell, True), (GRUCell, False)):
        cell = random_cell(kind, FEATURES, UNITS, rng, jnp.float32)
        xs, carry = random_window(cell, "ids", STEPS, ROWS, rng), random_carry(cell, ROWS, rng)
        window = make_window(cell, xs, carry, None, None, None, None, None)
        with tracing_for("gpu"):
            assert isinstance(inputs_of(cell, input_weights(cell, window), window), Inputs) == joins
        with tracing_for("cpu"):
            assert not isinstance(inputs_of(cell, input_weights(cell, window), window), Inputs)
