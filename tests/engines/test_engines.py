"""Every engine against the plain reference, and the reference against NumPy."""

import functools
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import GRUCell, LSTMCell, ResetBeforeGRUCell, VanillaCarry, VanillaCell
from jaxrnn.engines import ENGINES, choose_engine, engines_of, unroll
from jaxrnn.engines.choose import _unroll_compiled, unable
from jaxrnn.engines.platforms import tracing_for
from tests.reference.peephole import OtherOutputCell, PeepholeCell, unroll_peephole
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
from tests.reference.vanilla import unroll_vanilla, vanilla_gradients
from tests.trees import assert_trees_close, assert_trees_equal

pytestmark = pytest.mark.usefixtures("strict_dtypes")

FAST_ENGINES = ["scan", "hoisted", "recompute"]
STEPS, FEATURES, HIDDEN = 6, 5, 4
# Which kind of input, how many streams, and whether some of them start afresh inside the window.
WINDOWS = [("ids", 3, True), ("dense", 1, False), ("ids", 1, True), ("dense", 3, True), ("ids", 1, False)]
WINDOWS += [("ids", 3, False)]
CASES: list[tuple] = [(VanillaCell, *window) for window in WINDOWS]
CASES += [(PeepholeCell, *window) for window in WINDOWS[:4]] + [(OtherOutputCell, *window) for window in WINDOWS[:2]]


def case(cell_type, kind, batch_size, with_resets, dtype):
    rng = np.random.default_rng(7)
    cell = random_cell(cell_type, FEATURES, HIDDEN, rng, dtype)
    carry, xs = random_carry(cell, batch_size, rng), random_window(cell, kind, STEPS, batch_size, rng)
    resets = np.zeros((STEPS, batch_size), bool)
    resets[0, 0] = resets[3, -1] = resets[4, 0] = True
    return cell, xs, carry, jnp.asarray(resets) if with_resets else None


def values_and_gradients(run, params, xs, carry, resets):
    """All results of a run, and the gradients of a scalar of them by parameters, carry and dense inputs."""
    dense = not jnp.issubdtype(xs.dtype, jnp.integer)

    def loss(params, carry, features):
        results = run(params, features if dense else xs, carry, resets)
        return weighted_sum(results), results

    argnums = (0, 1, 2) if dense else (0, 1)
    gradients, results = quick_jit(jax.grad(loss, argnums, has_aux=True))(params, carry, xs)
    return {"results": results, "gradients": gradients}


@functools.cache
def by_reference(*key):
    cell, xs, carry, resets = case(*key)
    return values_and_gradients(unroll_with(cell, engine="reference"), params_of(cell), xs, carry, resets)


@pytest.mark.parametrize(
    ("engine", "cell_type", "kind", "batch_size", "with_resets"),
    [(engine, *case) for engine in FAST_ENGINES for case in CASES],
)
def test_engine_equals_reference(engine, cell_type, kind, batch_size, with_resets, float64):
    key = (cell_type, kind, batch_size, with_resets, jnp.float64)
    cell, xs, carry, resets = case(*key)
    ours = values_and_gradients(unroll_with(cell, engine=engine), params_of(cell), xs, carry, resets)
    assert_trees_close(ours, by_reference(*key), rtol=1e-10)


@pytest.mark.parametrize("cell_type", [LSTMCell, GRUCell])
@pytest.mark.parametrize("engine", FAST_ENGINES)
def test_gradients_as_one_product_equal_those_of_reference(engine, cell_type, float64):
    """What a GPU runs, on a CPU: the gradients of looked-up rows and of the biases by products with one-hot rows."""
    key = (cell_type, "ids", 3, True, jnp.float64)
    cell, xs, carry, resets = case(*key)
    run = unroll_with(cell, engine=engine)
    with tracing_for("gpu"):
        ours = values_and_gradients(run, params_of(cell), xs, carry, resets)
    assert_trees_close(ours, by_reference(*key), rtol=1e-10)


def test_the_tangents_of_one_product_are_those_of_reference(float64):
    cell, xs, carry, resets = case(LSTMCell, "ids", 3, True, jnp.float64)
    params = params_of(cell)

    def tangents(engine):
        run = unroll_with(cell, engine=engine)
        return jax.jvp(lambda params: run(params, xs, carry, resets), (params,), (params,))[1]

    with tracing_for("gpu"):
        ours = tangents("scan")
    assert_trees_close(ours, tangents("reference"), rtol=1e-10)


IN_FLOAT32 = [(engine, *case) for engine in FAST_ENGINES for case in ((VanillaCell, "ids"), (OtherOutputCell, "dense"))]


@pytest.mark.parametrize(("engine", "cell_type", "kind"), IN_FLOAT32)
def test_engine_equals_reference_in_float32(engine, cell_type, kind):
    key = (cell_type, kind, 3, True, jnp.float32)
    cell, xs, carry, resets = case(*key)
    ours = values_and_gradients(unroll_with(cell, engine=engine), params_of(cell), xs, carry, resets)
    assert_trees_close(ours, by_reference(*key), rtol=1e-5)


BY_NUMPY = [(engine, *window) for engine in (*FAST_ENGINES, "reference") for window in WINDOWS[:2]]


@pytest.mark.parametrize(("engine", "kind", "batch_size", "with_resets"), BY_NUMPY)
def test_vanilla_equals_the_chain_rule_in_numpy(engine, kind, batch_size, with_resets, float64):
    cell, xs, carry, resets = case(VanillaCell, kind, batch_size, with_resets, jnp.float64)
    draw = np.random.default_rng(3)
    d_hs, d_last = draw.normal(size=(STEPS, batch_size, HIDDEN)), draw.normal(size=(batch_size, HIDDEN))

    def loss(params, carry, features):
        window = xs if kind == "ids" else features
        last, ys = unroll_with(cell, engine=engine)(params, window, carry, resets)
        return jnp.sum(ys * d_hs) + jnp.sum(last.h * d_last), ys

    argnums = (0, 1) if kind == "ids" else (0, 1, 2)
    gradients, ys = jax.jit(jax.grad(loss, argnums, has_aux=True))(params_of(cell), carry, xs)
    weights, h = weights_of(cell), np.array(carry.h)
    np.testing.assert_allclose(ys, unroll_vanilla(weights, np.array(xs), h, resets), rtol=1e-10)
    by_weight, d_h, d_xs = vanilla_gradients(weights, np.array(xs), h, d_hs, d_last, resets)
    expected = ({name: by_weight[name] for name in sorted(by_weight)}, VanillaCarry(d_h), d_xs)[: len(argnums)]
    assert_trees_close(gradients, expected, rtol=1e-10)


@pytest.mark.parametrize(("kind", "batch_size", "with_resets"), [("ids", 1, True), ("dense", 3, False)])
def test_a_users_cell_equals_numpy(kind, batch_size, with_resets, float64):
    cell, xs, carry, resets = case(PeepholeCell, kind, batch_size, with_resets, jnp.float64)
    last, ys = unroll(cell, xs, carry, resets=resets)
    cs, hs = unroll_peephole(weights_of(cell), np.array(xs), (np.array(carry.c), np.array(carry.h)), resets)
    np.testing.assert_allclose(ys, hs, rtol=1e-10)
    np.testing.assert_allclose(last.c, cs[-1], rtol=1e-10)


@pytest.mark.parametrize("engine", FAST_ENGINES)
def test_without_jit_the_values_are_the_same(engine, float64):
    key = (PeepholeCell, "ids", 1, True, jnp.float64)
    cell, xs, carry, resets = case(*key)
    results = unroll(cell, xs, carry, engine=engine, resets=resets)
    assert_trees_close(results, by_reference(*key)["results"], rtol=1e-10)


# An LSTM on all engines: `test_every_cell.py`.
@pytest.mark.parametrize("engine", FAST_ENGINES)
def test_vmap_over_members_equals_each_member(engine, float64):
    """Members with their own parameters, windows, carries and resets, as a population has."""
    members, rng = 3, np.random.default_rng(11)
    cell = random_cell(PeepholeCell, FEATURES, HIDDEN, rng, jnp.float64)
    each = [
        (
            params_of(random_cell(PeepholeCell, FEATURES, HIDDEN, rng, jnp.float64)),
            random_window(cell, "ids", STEPS, 2, rng),
            random_carry(cell, 2, rng),
            jnp.asarray(rng.random((STEPS, 2)) < 0.2),
        )
        for _ in range(members)
    ]
    run = unroll_with(cell, engine=engine)

    def both(params, xs, carry, resets):
        def loss(params, carry):
            results = run(params, xs, carry, resets)
            return weighted_sum(results), results

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, carry)

    together = quick_jit(jax.vmap(both))(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))
    one_by_one = quick_jit(both)
    for member in range(members):
        mine = jax.tree.map(lambda leaf, m=member: leaf[m], together)
        assert_trees_close(mine, one_by_one(*each[member]), rtol=1e-10)


class TimelessCell(OtherOutputCell):
    """Without t, which starts again in each window."""

    def update(self, p, r, carry, pointwise, t):
        return super().update(p, r, carry, pointwise, jnp.zeros_like(t))


@pytest.mark.parametrize("cell_type", [VanillaCell, TimelessCell])
@pytest.mark.parametrize("engine", FAST_ENGINES)
def test_two_windows_with_carry_equal_one_twice_as_long(engine, cell_type, float64, rng):
    cell, xs, carry, _ = case(cell_type, "ids", 3, False, jnp.float64)
    half, run = STEPS // 2, quick_jit(functools.partial(unroll, cell, engine=engine))
    last, ys = run(xs, carry)
    middle, first_ys = run(xs[:half], carry)
    end, second_ys = run(xs[half:], middle)
    assert_trees_close((end, jnp.concatenate([first_ys, second_ys])), (last, ys), rtol=1e-12)


@pytest.mark.parametrize("kind", ["ids", "dense"])
@pytest.mark.parametrize("engine", FAST_ENGINES)
def test_a_batch_equals_its_streams_one_by_one(engine, kind, float64):
    cell, xs, carry, resets = case(PeepholeCell, kind, 3, True, jnp.float64)
    run = quick_jit(functools.partial(unroll, cell, engine=engine))
    together = run(xs, carry, resets=resets)
    for b in range(3):
        own = slice(b, b + 1)
        own_carry = jax.tree.map(lambda c, own=own: c[own], carry)
        last, ys = run(xs[:, own], own_carry, resets=resets[:, own])
        mine = (jax.tree.map(lambda c, own=own: c[own], together[0]), together[1][:, own])
        assert_trees_close((last, ys), mine, rtol=1e-12)


@pytest.mark.parametrize("engine", [*FAST_ENGINES, "reference"])
def test_a_reset_is_a_fresh_start_exactly(engine, float64, rng):
    cell, xs, carry, _ = case(VanillaCell, "ids", 3, False, jnp.float64)
    resets = jnp.zeros((STEPS, 3), bool).at[2].set(True)
    run = quick_jit(lambda xs, carry, resets: unroll(cell, xs, carry, engine=engine, resets=resets))
    last, ys = run(xs, carry, resets)
    # Nothing of what came before is left, to the last bit ...
    other_past = xs.at[:2].set((xs[:2] + 1) % FEATURES)
    fresh = jax.tree.map(jnp.zeros_like, carry)
    other_last, other_ys = run(other_past, fresh, resets)
    assert_trees_equal((other_last, other_ys[2:]), (last, ys[2:]))
    assert (np.asarray(other_ys[:2]) != np.asarray(ys[:2])).all()
    # ... and what follows is what a zero carry gives (in another program, hence to rounding).
    assert_trees_close((last, ys[2:]), unroll(cell, xs[2:], fresh, engine=engine), rtol=1e-14)
    at_once = jnp.zeros((STEPS, 3), bool).at[0].set(True)
    assert_trees_equal(run(xs, carry, at_once), run(xs, fresh, jnp.zeros((STEPS, 3), bool)))


@pytest.mark.parametrize("engine", [*FAST_ENGINES, "reference"])
def test_no_gradient_flows_past_a_reset(engine, float64):
    cell, xs, carry, _ = case(PeepholeCell, "dense", 3, False, jnp.float64)
    resets = jnp.zeros((STEPS, 3), bool).at[2].set(True)

    def late_loss(xs, carry):
        return weighted_sum(unroll(cell, xs, carry, engine=engine, resets=resets)[1][2:])

    d_xs, d_carry = quick_jit(jax.grad(late_loss, argnums=(0, 1)))(xs, carry)
    assert not d_xs[:2].any() and d_xs[2:].all()
    assert not any(leaf.any() for leaf in jax.tree.leaves(d_carry))


@pytest.mark.parametrize("engine", [*FAST_ENGINES, "reference"])
def test_an_early_output_does_not_depend_on_a_later_input(engine, float64):
    cell, xs, carry, _ = case(PeepholeCell, "dense", 3, False, jnp.float64)

    def early_loss(xs):
        return weighted_sum(unroll(cell, xs, carry, engine=engine)[1][:3])

    d_xs = quick_jit(jax.grad(early_loss))(xs)
    assert not d_xs[3:].any() and d_xs[:3].all()


CHOICES = [
    (VanillaCell, 1, "hoisted"),
    (VanillaCell, 64, "hoisted"),
    (GRUCell, 1, "hoisted"),
    (GRUCell, 64, "scan"),
    (ResetBeforeGRUCell, 1, "scan"),
]
ON_A_GPU = [(VanillaCell, 64, "recompute"), (LSTMCell, 64, "recompute"), (ResetBeforeGRUCell, 64, "recompute")]


@pytest.mark.parametrize(("cell_type", "batch_size", "engine"), CHOICES)
def test_one_rule_chooses_the_engine_and_says_why_not_the_others(cell_type, batch_size, engine):
    choice = choose_engine(cell_type(3, 2, rngs=nnx.Rngs(0)), batch_size)
    assert choice.engine == engine
    assert set(choice.rejected) == set(ENGINES) - {engine} and all(choice.rejected.values())
    foreign = choose_engine(nnx.SimpleCell(3, 2, rngs=nnx.Rngs(0)), batch_size)
    assert foreign.engine == "reference"
    assert all("SimpleCell is not a jaxrnn Cell" in why for why in foreign.rejected.values())


@pytest.mark.parametrize(("cell_type", "batch_size", "engine"), ON_A_GPU)
def test_the_choice_is_the_platforms_that_is_traced_for(cell_type, batch_size, engine):
    cell = cell_type(3, 2, rngs=nnx.Rngs(0))
    with tracing_for("gpu"), jax.default_matmul_precision("float32"):
        assert choose_engine(cell, batch_size).engine == engine
        assert ("cudnn" in engines_of(cell)) == (cell_type is LSTMCell)
    assert "it needs an NVIDIA GPU" in choose_engine(cell, batch_size).rejected["cudnn"]


def test_the_card_that_is_here_says_nothing_of_one_that_is_compiled_for(monkeypatch):
    cell = LSTMCell(3, 2, rngs=nnx.Rngs(0))
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(compute_capability="8.0")])
    with tracing_for("gpu"):
        assert "8.0" not in str(unable(cell).get("resident"))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert unable(cell)["resident"] == "it needs a GPU of compute capability 9.0; this one has 8.0"


def test_the_library_is_not_asked_for_products_that_it_does_not_make():
    with tracing_for("gpu"), jax.default_matmul_precision("bfloat16"):
        assert "the precision asked for is bf16" in unable(LSTMCell(3, 2, rngs=nnx.Rngs(0)))["cudnn"]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_auto_is_the_chosen_engine(batch_size, float64):
    cell, xs, carry, _ = case(VanillaCell, "ids", batch_size, False, jnp.float64)
    programs = [
        str(jax.make_jaxpr(lambda xs, e=engine: unroll(cell, xs, carry, engine=e))(xs))
        for engine in ("auto", choose_engine(cell, batch_size).engine, "reference")
    ]
    assert programs[0] == programs[1] != programs[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"engine": "best"},
            r"out of auto, scan, hoisted, recompute, resident, resident-output, cudnn, reference; got 'best'",
        ),
        ({"engine": "cudnn"}, "cannot use the engine 'cudnn': it needs an NVIDIA GPU"),
        ({"xs": np.zeros(6, np.uint8)}, r"ids of shape \(steps, batch\), got \(6,\); add or drop the batch axis"),
        ({"xs": np.zeros((6, 2, 1), np.int32)}, r"ids of shape \(steps, batch\), got \(6, 2, 1\)"),
        (
            {"xs": np.zeros((6, 2, 4), np.float32)},
            r"x of shape \(steps, batch, 5\), got \(6, 2, 4\).*another vocabulary",
        ),
        ({"xs": np.zeros((2, 5), np.float32)}, r"x of shape \(steps, batch, 5\), got \(2, 5\)"),
        (
            {"carry": VanillaCarry(jnp.zeros((3, 4)))},
            r"carry of shape \(2, 4\), got \(3, 4\); make it by cell.initial_carry\(2\)",
        ),
        ({"resets": np.zeros((6, 3), bool)}, r"resets of shape \(6, 2\), got \(6, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, message):
    cell = VanillaCell(FEATURES, HIDDEN, rngs=nnx.Rngs(0))
    arguments = {"xs": np.zeros((6, 2), np.uint8), "carry": cell.initial_carry(2), **changes}
    with pytest.raises(ValueError, match=message):
        unroll(cell, **arguments)


# ---- calls that are not inside jit ----


class ScaledCell(VanillaCell):
    """A cell with a number that is no parameter."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.scale = nnx.BatchStat(jnp.ones(()))

    def update(self, p, r, carry, pointwise, t):
        return super().update(p * self.scale[...], r, carry, pointwise, t)


@pytest.mark.parametrize(("cell_type", "compiled"), [(VanillaCell, 1), (ScaledCell, 0)])
def test_a_loop_outside_of_jit_is_compiled_once_for_cells_of_one_structure(cell_type, compiled, float64):
    """JAX alone compiles it anew at each call. What a cell holds is that of now, parameters and other variables."""
    program: Any = _unroll_compiled
    program.clear_cache()
    rng = np.random.default_rng(7)
    for factor in (1.0, 1.0, 0.5):
        cell = random_cell(cell_type, FEATURES, HIDDEN, rng, jnp.float64)
        xs, carry = random_window(cell, "ids", STEPS, 3, rng), random_carry(cell, 3, rng)
        weights = weights_of(cell)
        unroll(cell, xs, carry, engine="scan")
        for changed in (cell.W_x, cell.W_h, cell.b) if compiled else (cell.scale,):
            changed[...] = changed[...] * factor
        weights = {name: weight * factor for name, weight in weights.items()}
        np.testing.assert_allclose(
            unroll(cell, xs, carry, engine="scan")[1],
            unroll_vanilla(weights, np.asarray(xs), np.asarray(carry.h)),
            rtol=1e-12,
        )
    assert program._cache_size() == compiled


@pytest.mark.parametrize("engine", ["scan", "hoisted"])
def test_an_eager_gradient_compiles_nothing_at_its_second_call(engine, caplog):
    """Each call compiled every loop of it anew. Inside of `jit` or `vmap` nothing is put into a program of its own."""
    cell, xs, carry, _ = case(VanillaCell, "dense", 3, False, jnp.float32)
    run, params, plain = unroll_with(cell, engine=engine), params_of(cell), unroll_with(cell, engine="reference")

    def gradient_of(unrolled):
        return jax.grad(lambda params, carry, xs: weighted_sum(unrolled(params, xs, carry)), (0, 1, 2))

    first, others = gradient_of(run)(params, carry, xs), jax.tree.map(jnp.copy, params)
    with jax.log_compiles():
        second = gradient_of(run)(others, carry, xs)
    assert [said for said in caplog.messages if "ompil" in said] == []
    assert_trees_equal(first, second)
    assert_trees_close(first, quick_jit(gradient_of(plain))(params, carry, xs), rtol=1e-5)
    rows = jax.vmap(lambda *of: run(*of)[1], in_axes=(None, 1, 0))
    one_by_one = jax.tree.map(lambda leaf: leaf[:, None], carry)
    for staged, given in ((gradient_of(run), (params, carry, xs)), (rows, (params, xs[:, :, None], one_by_one))):
        assert "_unroll_compiled" not in str(jax.make_jaxpr(staged)(*given))
