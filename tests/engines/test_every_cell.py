"""Every cell on each engine that can run it: under jit, under vmap over members, and split over two devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxrnn.cells import CELLS
from jaxrnn.devices.mesh import BATCH_AXIS, Layout, mesh_of
from jaxrnn.engines import engines_of
from tests.reference.random_cell import params_of, quick_jit, random_carry, random_cell, random_window, unroll_with
from tests.trees import assert_trees_close

pytestmark = pytest.mark.usefixtures("strict_dtypes")

FEATURES, HIDDEN, STEPS, BATCH, MEMBERS = 4, 3, 5, 4, 2
NAMES = list(CELLS)


def draw(name, kind, dtype, rng):
    """A cell and the arguments of a run: parameters, xs, carry, resets, lengths, weights of a loss."""
    cell = random_cell(CELLS[name], FEATURES, HIDDEN, rng, dtype)
    carry, xs = random_carry(cell, BATCH, rng), random_window(cell, kind, STEPS, BATCH, rng)
    resets = jnp.zeros((STEPS, BATCH), bool).at[jnp.asarray([0, 3, 2]), jnp.asarray([0, 2, 1])].set(True)
    lengths = jnp.asarray([STEPS, 2, 4, STEPS], jnp.int32)
    d_ys = jnp.asarray(rng.normal(size=(STEPS, BATCH, HIDDEN)), dtype)
    d_last = jax.tree.map(lambda c: jnp.asarray(rng.normal(size=c.shape), c.dtype), carry)
    return cell, (params_of(cell), xs, carry, resets, lengths, d_ys, d_last)


def values_and_gradients(cell, engine):
    """A function of those arguments: all results, and the gradients by parameters, carry and dense inputs."""

    def run(params, xs, carry, resets, lengths, d_ys, d_last):
        dense = not jnp.issubdtype(xs.dtype, jnp.integer)

        def loss(params, carry, features):
            window = features if dense else xs
            last, ys = unroll_with(cell, engine=engine, lengths=lengths)(params, window, carry, resets)
            total = jnp.sum(ys * d_ys)
            return sum((jnp.sum(c * d) for c, d in zip(last, d_last, strict=True)), total), (ys, last)

        gradients, (ys, last) = jax.grad(loss, (0, 1, 2) if dense else (0, 1), has_aux=True)(params, carry, xs)
        by_params, by_carry, *by_xs = gradients
        return {"params": by_params, "steps": [ys, *by_xs], "rows": [last, by_carry]}

    return run


def split_over_devices(run):
    """The same with the batch split over two devices; what a loss has for gradients there is added up."""

    def on_each(*arguments):
        results = run(*arguments)
        return {**results, "params": jax.lax.psum(results["params"], BATCH_AXIS)}

    steps, rows = P(None, BATCH_AXIS), P(BATCH_AXIS)
    in_specs = (P(), steps, rows, steps, rows, steps, rows)
    out_specs = {"params": P(), "steps": steps, "rows": rows}
    mesh = mesh_of(Layout(share=2))
    return jax.shard_map(on_each, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


@functools.cache
def drawn(name, kind, dtype):
    return draw(name, kind, dtype, np.random.default_rng(7))


@functools.cache
def by_reference(name):
    cell, arguments = drawn(name, "ids", jnp.float64)
    return quick_jit(values_and_gradients(cell, "reference"))(*arguments)


@pytest.mark.parametrize("name", NAMES)
def test_engines_equal_reference_under_jit(name, float64):
    cell, arguments = drawn(name, "ids", jnp.float64)
    for path, leaf in jax.tree_util.tree_leaves_with_path(by_reference(name)["params"]):
        assert np.abs(leaf).max() > 1e-6, f"nothing depends on {jax.tree_util.keystr(path)}"
    for engine in set(engines_of(cell)) - {"reference"}:
        ours = quick_jit(values_and_gradients(cell, engine))(*arguments)
        assert_trees_close(ours, by_reference(name), rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_engines_equal_reference_split_over_devices(name, float64):
    cell, arguments = drawn(name, "ids", jnp.float64)
    for engine in set(engines_of(cell)) - {"reference"}:
        split = quick_jit(split_over_devices(values_and_gradients(cell, engine)))(*arguments)
        assert_trees_close(jax.device_get(split), by_reference(name), rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_members_under_vmap_equal_each_member_by_the_reference(name, float64, rng):
    each = [draw(name, "dense", jnp.float64, rng) for _ in range(MEMBERS)]
    cell = each[0][0]
    reference = quick_jit(values_and_gradients(cell, "reference"))
    expected = [reference(*arguments) for _, arguments in each]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(arguments for _, arguments in each))
    for engine in set(engines_of(cell)) - {"reference"}:
        together = quick_jit(jax.vmap(values_and_gradients(cell, engine)))(*stacked)
        for member in range(MEMBERS):
            mine = jax.tree.map(lambda leaf, m=member: leaf[m], together)
            assert_trees_close(mine, expected[member], rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_engines_equal_reference_in_float32(name):
    cell, arguments = drawn(name, "ids", jnp.float32)
    expected, *others = (
        quick_jit(values_and_gradients(cell, engine))(*arguments) for engine in reversed(engines_of(cell))
    )
    for actual in others:
        assert_trees_close(actual, expected, rtol=1e-5)
