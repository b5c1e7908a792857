"""The resident engine of a GPU, interpreted: the kernels that a GPU runs, step by step on a CPU.

Sizes of one warpgroup only: with two the interpreter can wait for itself where there are few cores.
"""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxrnn.cells import GRUCell, LSTMCell, PeepholeLSTMCell, VanillaCell
from jaxrnn.engines import unroll
from jaxrnn.engines.blockwise import blockwise, traced
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

resident_gpu = pytest.importorskip("jaxrnn.engines.resident_gpu", reason="this JAX has no Mosaic GPU")
interpreter = pytest.importorskip("jax._src.pallas.mosaic_gpu.interpret.params", reason="no interpreter of Mosaic GPU")


def engine(**setting):
    def run(cell, window, carry, fresh, clip_backward):
        made = resident_gpu.Setting(**setting)
        return resident_gpu.unroll_resident(cell, window, carry, fresh, clip_backward, setting=made)

    return run


@pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="jax 0.10 cannot interpret a kernel that transposes")
@pytest.mark.parametrize(
    "kind, early",
    [
        (LSTMCell, False),
        (LSTMCell, True),
        pytest.param(GRUCell, False, marks=pytest.mark.slow),
        pytest.param(GRUCell, True, marks=pytest.mark.slow),
    ],
)
def test_values_and_gradients_are_those_of_reference(kind, early, rng):
    cell = random_cell(kind, 5, 24, rng, jnp.float32)
    xs, carry = random_window(cell, "features", 3, 11, rng), random_carry(cell, 11, rng)

    def results(engine):
        def loss(params, xs, carry):
            out = unroll_with(cell, engine=engine)(params, xs, carry)
            return weighted_sum(out), out

        return quick_jit(jax.grad(loss, (0, 1, 2), has_aux=True))(params_of(cell), xs, carry)

    found = results(engine(interpret=interpreter.InterpretGPUParams(), ahead=1, tiled=early, early=early))
    assert_trees_close(found, results("reference"), rtol=1e-5)


@pytest.mark.parametrize("kind", [LSTMCell, GRUCell, VanillaCell])
def test_a_pullback_in_two_parts_is_the_whole_one(kind, rng):
    cell = random_cell(kind, 4, 16, rng, jnp.float32)
    carry, gates = random_carry(cell, 8, rng), cell.W_h.shape[1] // 16
    _, pullback, _ = traced(cell, carry, 8, "exact")

    def blocks(number):
        return [jnp.asarray(rng.normal(size=(16, 8)), jnp.float32) for _ in range(number)]

    late = type(carry)(*[blocks(1) for _ in carry]), blocks(1)
    soon = *[blocks(gates) for _ in range(2 - cell.sums_products)], type(carry)(*[blocks(1) for _ in carry]), 3
    found = pullback.finish(pullback.early(len(carry) + 1, *soon), *late)
    assert_trees_close(found, pullback(*late, *soon), rtol=0)


def test_columns_of_held_weights_are_in_the_order_of_the_registers():
    order = list(resident_gpu.order_of_columns(jnp.arange(16)))
    assert order == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]


@pytest.mark.parametrize(
    "hidden, gates, dtype, held", [(112, 4, "float32", True), (128, 4, "float32", False), (160, 4, "bfloat16", True)]
)
def test_it_says_what_fits_into_one_program(hidden, gates, dtype, held):
    assert resident_gpu.fits(hidden, gates, resident_gpu.Setting(jnp.dtype(dtype))) == held


@pytest.mark.parametrize(
    "kind, hidden, options, named",
    [
        (
            LSTMCell,
            8,
            {"resets": jnp.zeros((2, 3), bool), "clip_backward": jnp.ones(())},
            "resets and no clip_backward",
        ),
        (LSTMCell, 8, {"lengths": jnp.ones((3,), jnp.int32)}, "lengths"),
        (LSTMCell, 8, {"recurrent_mask": jnp.ones((1, 3, 8))}, "recurrent_mask"),
        (PeepholeLSTMCell, 8, {}, "PeepholeLSTMCell"),
        (LSTMCell, 256, {}, "256 units"),
    ],
)
def test_what_it_does_not_do_is_refused_by_name(kind, hidden, options, named):
    cell = kind(4, hidden, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=named):
        unroll(cell, jnp.zeros((2, 3), jnp.int32), cell.initial_carry(3), engine=engine(), **options)


def test_weights_in_registers_leave_room_for_128_units_of_float32():
    assert [resident_gpu.fits(128, 4, resident_gpu.Setting(held=held)) for held in (0, 1, 2, 3)] == [
        False,
        True,
        True,
        False,
    ]


def test_an_update_that_is_not_elementwise_is_refused():
    shape = jax.ShapeDtypeStruct((8, 16), jnp.float32)
    with pytest.raises(ValueError, match="elementwise update; it has cumsum"):
        blockwise(lambda p: jnp.cumsum(p, axis=1), 16, 8, "exact", shape)([jnp.zeros((16, 8))])
