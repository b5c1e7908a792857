"""The kernels that keep W_h on a TPU's chip: their numbers in interpret mode, and that they compile for a v5e."""

import functools
import importlib.util
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.benchmark.compiled_program import TARGETS, described_device
from jaxrnn.cells import CELLS, GRUCell, LSTMCell, ResetBeforeGRUCell, TemporalGateLSTMCell, VanillaCell
from jaxrnn.engines import choose_engine, engines_of, unroll
from jaxrnn.engines.platforms import tracing_for
from jaxrnn.engines.resident_tpu import fits, unroll_resident_tpu
from tests.engines.test_users_cell import LeakyCell
from tests.reference.peephole import OtherOutputCell
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

pytestmark = pytest.mark.usefixtures("strict_dtypes")

INTERPRETED = functools.partial(unroll_resident_tpu, interpret=True)
T, B, F, H = 5, 3, 4, 6


def case(cell_type, kind, options, rng):
    """A cell, and the arguments of `results`: the last two hold options with a gradient and without."""
    cell = random_cell(cell_type, F, H, rng, jnp.float32)
    resets = jnp.asarray(rng.random((T, B)) < 0.4).at[0, 0].set(True).at[2, 1].set(True)
    fixed = {
        "resets": {"resets": resets},
        "fresh": {"resets": resets},
        "lengths": {"lengths": jnp.asarray([5, 2, 4])},
        "clip": {"clip_backward": jnp.asarray(0.05, jnp.float32)},
        "times": {"times": jnp.asarray(10 * rng.random((T, B)), jnp.float32)},
    }
    arrays = {
        "fresh": {"fresh": random_carry(cell, B, rng)},
        "mask": {"recurrent_mask": jnp.asarray(rng.random((T, B, H)), jnp.float32)},
        "window mask": {"recurrent_mask": jnp.asarray(rng.random((1, B, H)), jnp.float32)},
    }
    xs = random_window(cell, kind, T, B, rng)
    given = [{k: v for name in options for k, v in table.get(name, {}).items()} for table in (arrays, fixed)]
    return cell, (params_of(cell), random_carry(cell, B, rng), xs, *given)


def results(cell, engine):
    """All results of a run, and the gradients of a scalar of them by all that has one."""

    def run(params, carry, xs, arrays, fixed):
        def loss(params, carry, arrays, features):
            window = xs if features is None else features
            out = unroll_with(cell, engine=engine, **arrays, **{k: v for k, v in fixed.items() if k != "resets"})(
                params, window, carry, fixed.get("resets")
            )
            return weighted_sum(out), out

        features = None if jnp.issubdtype(xs.dtype, jnp.integer) else xs
        argnums = (0, 1, 2) if features is None else (0, 1, 2, 3)
        return jax.grad(loss, argnums, has_aux=True)(params, carry, arrays, features)

    return run


CASES = [
    ("lstm", "ids", ("fresh", "lengths", "mask", "clip")),
    ("gru", "dense", ("resets", "lengths", "window mask", "clip")),
]
MORE = [
    ("vanilla", "dense", ()),
    ("lstm", "dense", ("resets",)),
    ("gru", "ids", ("fresh", "lengths", "mask")),
    ("gru-flax", "ids", ("resets",)),
    ("lstm-peephole", "dense", ("fresh", "lengths")),
    ("lstm-peephole", "ids", ("resets", "window mask", "clip")),
    ("temporal-gate-lstm", "ids", ("times", "resets", "lengths")),
    ("temporal-gate-lstm", "dense", ("fresh", "lengths")),
    ("lstm-layer-norm", "dense", ("resets", "lengths")),
    (LeakyCell, "dense", ("resets", "lengths", "clip")),
    (OtherOutputCell, "ids", ("fresh", "lengths", "mask", "clip")),
]
MORE_CASES = [pytest.param(*more, marks=pytest.mark.slow) for more in MORE]


@pytest.mark.parametrize(("cell_type", "kind", "options"), [*CASES, *MORE_CASES])
def test_values_and_all_gradients_equal_the_reference(cell_type, kind, options, rng):
    cell, arguments = case(CELLS.get(cell_type, cell_type), kind, options, rng)
    ours, expected = (quick_jit(results(cell, engine))(*arguments) for engine in (INTERPRETED, "reference"))
    assert_trees_close(ours, expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("lstm", ("resets", "lengths", "mask", "clip")), ("gru", ("fresh",))])
def test_on_an_imitated_chip_nothing_is_read_before_it_is_written(name, options, rng):
    """Memory of the chip starts as NaN there, and arrays that share their place overwrite each other."""
    cell, arguments = case(CELLS[name], "dense", options, rng)
    chip = functools.partial(unroll_resident_tpu, interpret=pltpu.InterpretParams(uninitialized_memory="nan"))
    ours, expected = (jax.jit(results(cell, engine))(*arguments) for engine in (chip, "reference"))
    assert_trees_close(ours, expected, rtol=1e-5)


@pytest.mark.parametrize("cell_type", [LSTMCell, OtherOutputCell])
def test_without_gradients_the_values_are_the_same(cell_type, rng):
    cell, (_, carry, xs, *_) = case(cell_type, "ids", (), rng)
    lengths = jnp.asarray([5, 2, 4])
    ours, expected = (unroll(cell, xs, carry, engine=e, lengths=lengths) for e in (INTERPRETED, "reference"))
    assert_trees_close(ours, expected, rtol=1e-5)


def test_vmap_over_members_split_over_two_devices_equals_each_member(rng):
    cell, first = case(LeakyCell, "ids", ("fresh", "lengths"), rng)
    others = [case(LeakyCell, "ids", ("fresh", "lengths"), rng)[1] for _ in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), first, *others)
    mesh = Mesh(np.array(jax.devices()[:2]), ("member",))
    run, expected = (jax.vmap(results(cell, engine)) for engine in (INTERPRETED, "reference"))
    run = jax.shard_map(run, mesh=mesh, in_specs=P("member"), out_specs=P("member"), check_vma=False)
    assert_trees_close(jax.device_get(quick_jit(run)(*stacked)), quick_jit(expected)(*stacked), rtol=1e-5)


def test_it_is_refused_by_name_and_never_chosen_unmeasured():
    cell = LSTMCell(F, H, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="cannot use the engine 'resident': it needs a TPU, or an NVIDIA GPU"):
        unroll(cell, jnp.zeros((T, B), jnp.uint8), cell.initial_carry(B), engine="resident")
    with tracing_for("tpu"):
        choice = choose_engine(cell, B)
        assert choice.engine == "recompute" and "not measured" in choice.rejected["resident"]
        own_product = choose_engine(ResetBeforeGRUCell(F, H, rngs=nnx.Rngs(0)), B)
        assert "products of its own" in own_product.rejected["resident"]


def test_a_cell_or_batch_larger_than_the_chip_is_refused():
    found = []

    def look(hidden, batch_size):
        cell = VanillaCell(F, hidden, rngs=nnx.Rngs(0))
        found.append((fits(cell, batch_size), "resident" in engines_of(cell)))
        return unroll(cell, jnp.zeros((T, batch_size), jnp.uint8), cell.initial_carry(batch_size), engine=INTERPRETED)

    with tracing_for("tpu"):
        jax.eval_shape(functools.partial(look, 1024, 128))
        for hidden, batch_size in ((8192, 1), (1024, 4096)):
            with pytest.raises(ValueError, match=r"'resident' needs \d+ MiB on the chip for VanillaCell, and 100 MiB"):
                jax.eval_shape(functools.partial(look, hidden, batch_size))
    assert found == [(True, True), (False, False), (False, True)]


def compile_for(target, cell_type, hidden, batch_size, steps, precision, members=None):
    """Compiles the values and gradients of a run with all options, for chips that need not be there."""
    graph = nnx.split(nnx.eval_shape(lambda: cell_type(F, hidden, rngs=nnx.Rngs(0))))[0]

    def drawn():
        cell = cell_type(F, hidden, rngs=nnx.Rngs(0))
        carry, ids = cell.initial_carry(batch_size), jnp.zeros((steps, batch_size), jnp.uint8)
        mask, clip = jnp.ones((1, batch_size, hidden)), jnp.ones(())
        return nnx.state(cell), carry, carry, mask, ids, ids == 1, ids[0].astype(jnp.int32), clip

    def run(state, carry, fresh, mask, ids, resets, lengths, clip):
        def loss(state, carry, fresh, mask):
            options = {"resets": resets, "fresh": fresh, "lengths": lengths, "recurrent_mask": mask}
            cell = nnx.merge(graph, state)
            last, ys = unroll(cell, ids, carry, engine="resident", clip_backward=clip, **options)
            return jnp.sum(ys * ys) + sum(leaf.sum() for leaf in jax.tree.leaves(last))

        return jax.value_and_grad(loss, (0, 1, 2, 3))(state, carry, fresh, mask)

    mesh = Mesh(np.array([described_device(target)]), ("member",))
    spec = P() if members is None else P("member")
    if members is not None:
        run = jax.shard_map(jax.vmap(run), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    sharding = NamedSharding(mesh, spec)
    axes = () if members is None else (members,)
    arguments = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype, sharding=sharding), jax.eval_shape(drawn)
    )
    with tracing_for("tpu"), jax.default_matmul_precision(precision):
        lowered = jax.jit(run).lower(*arguments)
    return lowered.compile().as_text()


SIZES = [
    (LSTMCell, 512, 104, 100, "default", None),
    (LSTMCell, 512, 104, 100, "float32", None),
    (LSTMCell, 1024, 104, 100, "default", None),
    (LSTMCell, 100, 50, 20, "float32", 3),
    (GRUCell, 512, 100, 100, "default", None),
    (TemporalGateLSTMCell, 128, 1, 25, "default", None),
    (LeakyCell, 100, 100, 100, "float32", None),
]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_it_compiles_for_a_tpu_that_is_not_there(size):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip(f"no compiler for a TPU: pip install {TARGETS['v5e'].install}")
    started = time.process_time()
    program = compile_for("v5e", *size)
    assert time.process_time() - started < 30
    # Two kernels, and no loop over time.
    assert program.count('custom_call_target="tpu_custom_call"') == 2 and " while(" not in program
