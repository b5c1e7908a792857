"""The resident engine of a GPU, interpreted: the kernels that a GPU runs, step by step on a CPU.

Sizes of one warpgroup only: with two the interpreter can wait for itself where there are few cores.
"""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxrnn.cells import GRUCell, LSTMCell, PeepholeLSTMCell, VanillaCell
from jaxrnn.engines import unroll
from jaxrnn.engines.blockwise import blockwise, traced
from jaxrnn.engines.choose import choose_engine, unable
from jaxrnn.engines.platforms import tracing_for
from jaxrnn.engines.resident import FEWEST_STEPS
from jaxrnn.engines.window import make_window
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
copies = pytest.importorskip("jaxrnn.engines.resident_gpu.copies", reason="this JAX has no Mosaic GPU")
settings = pytest.importorskip("jaxrnn.engines.resident_gpu.settings", reason="this JAX has no Mosaic GPU")
interpreter = pytest.importorskip("jax._src.pallas.mosaic_gpu.interpret.params", reason="no interpreter of Mosaic GPU")


def engine(**setting):
    def run(cell, window, carry, fresh, clip_backward):
        made = settings.Setting(**setting) if setting else None
        return resident_gpu.unroll_resident(cell, window, carry, fresh, clip_backward, setting=made)

    return run


STEPS, ROWS, UNITS = 3, 11, 24


def options_of(names, cell, rng):
    """Of each name what `unroll` takes, random; a fresh start goes with resets."""
    made = {
        "resets": jnp.asarray(rng.random((STEPS, ROWS)) < 0.4),
        "fresh": random_carry(cell, ROWS, rng),
        "lengths": jnp.asarray(rng.integers(0, STEPS + 1, ROWS), jnp.int32),
        "recurrent_mask": jnp.asarray(2.0 * (rng.random((STEPS, ROWS, UNITS)) < 0.5), jnp.float32),
        "clip_backward": jnp.float32(0.3),
    }
    return {name: made[name] for name in names}


@pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="jax 0.10 cannot interpret a kernel that transposes")
@pytest.mark.parametrize(
    "kind, names",
    [
        (LSTMCell, []),
        (LSTMCell, ["resets", "fresh", "lengths", "recurrent_mask", "clip_backward"]),
        (GRUCell, ["resets", "lengths"]),
        pytest.param(GRUCell, [], marks=pytest.mark.slow),
        pytest.param(GRUCell, ["recurrent_mask", "clip_backward"], marks=pytest.mark.slow),
        pytest.param(VanillaCell, ["resets", "fresh"], marks=pytest.mark.slow),
    ],
)
def test_values_and_gradients_are_those_of_reference(kind, names, rng):
    cell = random_cell(kind, 5, UNITS, rng, jnp.float32)
    xs, carry = random_window(cell, "features", STEPS, ROWS, rng), random_carry(cell, ROWS, rng)
    options = options_of(names, cell, rng)
    resets = options.pop("resets", None)
    differentiable = {name: options[name] for name in ("fresh", "recurrent_mask") if name in options}

    def results(engine):
        def loss(params, xs, carry, given):
            out = unroll_with(cell, engine=engine, **{**options, **given})(params, xs, carry, resets)
            return weighted_sum(out), out

        return quick_jit(jax.grad(loss, (0, 1, 2, 3), has_aux=True))(params_of(cell), xs, carry, differentiable)

    found = results(engine(interpret=interpreter.InterpretGPUParams()))
    assert_trees_close(found, results("reference"), rtol=1e-5)


@pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="jax 0.10 cannot interpret a kernel that transposes")
@pytest.mark.parametrize("members, names", [(3, ["resets", "fresh"]), pytest.param(1, [], marks=pytest.mark.slow)])
def test_members_under_vmap_are_those_alone(members, names, rng):
    cell = random_cell(LSTMCell, 5, UNITS, rng, jnp.float32)
    options = options_of(names, cell, rng)
    resets = options.pop("resets", None)
    run = unroll_with(cell, engine=engine(interpret=interpreter.InterpretGPUParams()), **options)

    def gradients(member):
        def loss(*given):
            out = run(*given, resets)
            return weighted_sum(out), out

        return jax.grad(loss, (0, 1, 2), has_aux=True)(*member)

    of_each = [
        (params_of(one), random_window(one, "features", STEPS, ROWS, rng), random_carry(one, ROWS, rng))
        for one in [random_cell(LSTMCell, 5, UNITS, rng, jnp.float32) for _ in range(members)]
    ]
    together = quick_jit(jax.vmap(gradients))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *of_each))
    for number, member in enumerate(of_each):
        alone = quick_jit(gradients)(member)
        assert_trees_close(jax.tree.map(lambda leaf, k=number: leaf[k], together), alone, rtol=1e-6)


@pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="the kernels were made for JAX 0.11")
def test_a_window_with_more_than_inputs_is_run_if_asked_but_not_chosen_unmeasured(rng):
    cell = LSTMCell(5, UNITS, rngs=nnx.Rngs(0))
    xs, lengths = jnp.zeros((FEWEST_STEPS, ROWS, 5)), jnp.ones((ROWS,), jnp.int32)
    with tracing_for("gpu"):
        window = make_window(cell, xs, cell.initial_carry(ROWS), None, None, lengths, None, None)
        assert "resident" not in unable(cell, window)
        choice = choose_engine(cell, ROWS, window)
    assert choice.engine == "recompute" and "not measured with resets, lengths" in choice.rejected["resident"]


@pytest.mark.parametrize("kind", [LSTMCell, GRUCell, VanillaCell])
def test_a_pullback_in_two_parts_is_the_whole_one(kind, rng):
    cell = random_cell(kind, 4, 16, rng, jnp.float32)
    carry, gates = random_carry(cell, 8, rng), cell.W_h.shape[1] // 16
    _, pullback, _ = traced(cell, 8, "exact")

    def blocks(number):
        return [jnp.asarray(rng.normal(size=(16, 8)), jnp.float32) for _ in range(number)]

    late = type(carry)(*[blocks(1) for _ in carry]), blocks(1)
    soon = *[blocks(gates) for _ in range(2 - cell.sums_products)], type(carry)(*[blocks(1) for _ in carry]), 3
    found = pullback.finish(pullback.early(len(carry) + 1, *soon), *late)
    assert_trees_close(found, pullback(*late, *soon), rtol=0)


def test_columns_of_held_weights_are_in_the_order_of_the_registers():
    order = list(settings.order_of_columns(jnp.arange(16)))
    assert order == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]


@pytest.mark.parametrize(
    "hidden, gates, dtype, found",
    [
        (112, 4, "float32", (2, 2)),
        (96, 3, "bfloat16", (1, 3)),
        (128, 1, "float32", (1, 1)),
        (200, 4, "float32", (4, 1)),
        (256, 4, "bfloat16", (4, 2)),
        (257, 4, "float32", None),
        (1024, 3, "bfloat16", None),
    ],
)
def test_the_programs_and_the_gates_in_registers_of_a_cell(hidden, gates, dtype, found):
    setting = settings.best_setting(hidden, gates, dtype)
    assert (setting and (setting.programs, setting.held)) == found


def test_without_registers_an_lstm_of_112_units_fits_into_one_program():
    assert [settings.fits(hidden, 4, settings.Setting()) for hidden in (112, 113)] == [True, False]


@pytest.mark.parametrize("hidden, precision, fills_twice", [(64, None, 2112), (256, None, 528), (512, "bfloat16", 264)])
def test_it_pays_for_batches_that_fill_a_card_twice_at_most(hidden, precision, fills_twice):
    cell = LSTMCell(4, hidden, rngs=nnx.Rngs(0))
    with jax.default_matmul_precision(precision):
        assert [resident_gpu.pays(cell, size) for size in (fills_twice, fills_twice + 1)] == [True, False]


@pytest.mark.parametrize(
    "hidden, gates, dtype, forward, backward",
    [
        (64, 4, "float32", (4, 2), (4, 2)),
        (128, 4, "float32", (4, 2), (4, 2)),
        (256, 3, "float32", (4, 2), (2, 2)),
        (256, 4, "float32", (0, 1), (0, 0)),  # the weights leave room for what is written forward
        (512, 4, "bfloat16", (0, 1), (0, 0)),
    ],
)
def test_what_a_step_reads_and_writes_goes_through_shared_memory_where_there_is_room(
    hidden, gates, dtype, forward, backward
):
    setting = settings.best_setting(hidden, gates, dtype)
    sizes = settings.Sizes(hidden, gates, setting)
    of_forward = copies.plan_of(sizes, setting, 1, [gates], [gates, 1, 1])
    of_backward = copies.plan_of(sizes, setting, gates, [gates, 1, 1], [gates])
    assert (of_forward.slots, of_forward.buffers) == forward
    assert (of_backward.slots, of_backward.buffers) == backward
    without = copies.plan_of(sizes, dataclasses.replace(setting, copies=False), 1, [gates], [gates, 1, 1])
    assert (without.slots, without.buffers) == (0, 0) and not without.scratch(sizes)


def test_the_early_part_of_a_derivative_says_what_it_reads(rng):
    """An LSTM's derivative makes nothing of h before the step, a GRU's does."""
    for kind, reads in ((LSTMCell, [True, True, False]), (GRUCell, [True, True, True])):
        _, pullback, _ = traced(random_cell(kind, 4, 16, rng, jnp.float32), 8, "exact")
        carries = 2 if kind is LSTMCell else 1
        assert pullback.reads(carries + 1)[:3] == reads


@pytest.mark.parametrize(
    "kind, hidden, options, named",
    [
        (LSTMCell, 8, {"times": jnp.zeros((2, 3), jnp.int32)}, "times"),
        (PeepholeLSTMCell, 8, {}, "PeepholeLSTMCell"),
        (LSTMCell, 257, {}, "257 units"),
    ],
)
def test_what_it_does_not_do_is_refused_by_name(kind, hidden, options, named):
    cell = kind(4, hidden, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=named):
        unroll(cell, jnp.zeros((2, 3), jnp.int32), cell.initial_carry(3), engine=engine(), **options)


def test_an_update_that_is_not_elementwise_is_refused():
    shape = jax.ShapeDtypeStruct((8, 16), jnp.float32)
    with pytest.raises(ValueError, match="elementwise update; it has cumsum"):
        blockwise(lambda p: jnp.cumsum(p, axis=1), 16, 8, "exact", shape)([jnp.zeros((16, 8))])
