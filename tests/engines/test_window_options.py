"""What a window may hold beside its inputs, and clipping in the loop: every engine against the reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.cells import GRUCell, LSTMCell, ResetBeforeGRUCell, VanillaCell
from jaxrnn.engines import engines_of, unroll
from tests.reference.random_cell import params_of, quick_jit, random_carry, random_cell, unroll_with, weighted_sum
from tests.trees import assert_trees_close, assert_trees_equal

pytestmark = pytest.mark.usefixtures("strict_dtypes", "float64")

KINDS = ("ids", "features", "pair")
T, V, H, F = 8, 5, 3, 2  # T has blocks of 8, 97 would have none: see test_blocks
DTYPE = jnp.float64


def draw_options(rng, batch_size, cell):
    """One entry a feature; each is tried alone, and all at once."""
    fresh = random_carry(cell, batch_size, rng)
    resets = jnp.asarray(rng.random((T, batch_size)) < 0.3)
    return {
        "resets": {"resets": resets},
        "fresh": {"resets": resets, "fresh": fresh},
        "lengths": {"lengths": jnp.asarray(rng.integers(1, T + 1, batch_size))},
        "scale": {"input_scale": jnp.asarray(rng.random((T, batch_size)))},
        "mask": {"recurrent_mask": jnp.asarray(rng.random((T, batch_size, H)))},
        "window mask": {"recurrent_mask": jnp.asarray(rng.random((1, batch_size, H)))},
        "clip": {"clip_backward": jnp.asarray(0.05)},
    }


def value_and_gradients(cell, engine, inputs, carry, options, compile=quick_jit):
    """Outputs, last carry and the gradients of all that has one."""
    arrays = {k: v for k, v in options.items() if k in ("fresh", "recurrent_mask")}
    fixed = {k: v for k, v in options.items() if k not in ("resets", *arrays)}
    resets = options.get("resets")
    features, ids = inputs

    def loss(params, features, carry, arrays):
        xs = tuple(part for part in (features, ids) if part is not None)
        run = unroll_with(cell, engine=engine, **fixed, **arrays)
        out = run(params, xs if len(xs) > 1 else xs[0], carry, resets)
        return weighted_sum(out), out

    argnums = (0, 2, 3) if features is None else (0, 1, 2, 3)
    compute = compile(jax.grad(loss, argnums=argnums, has_aux=True))
    return compute(params_of(cell), features, carry, arrays)


def draw(cell_type, batch_size, kind):
    rng = np.random.default_rng(7)
    symbols = {"ids": V, "features": 0, "pair": V}[kind]
    width = {"ids": 0, "features": F, "pair": F}[kind]
    cell = random_cell(cell_type, symbols + width, H, rng, DTYPE)
    features = jnp.asarray(rng.normal(size=(T, batch_size, width)), DTYPE) if width else None
    ids = jnp.asarray(rng.integers(0, V, (T, batch_size)), jnp.uint8) if symbols else None
    return cell, (features, ids), random_carry(cell, batch_size, rng), draw_options(rng, batch_size, cell)


def check_against_reference(cell_type, batch_size, kind, names):
    cell, inputs, carry, by_name = draw(cell_type, batch_size, kind)
    options = {key: value for name in names for key, value in by_name[name].items()}
    if kind == "features":
        options.pop("input_scale", None)
    expected = value_and_gradients(cell, "reference", inputs, carry, options)
    for engine in set(engines_of(cell)) - {"reference"}:
        actual = value_and_gradients(cell, engine, inputs, carry, options)
        assert_trees_close(actual, expected, rtol=1e-10)


# Each kind of window for the two ways of the products: added up (vanilla), and apart with a bias (GRU). The other cells
# go through `test_every_cell.py`; here the one with a product of its own, once with and once without a batch.
ALL_AT_ONCE: list[tuple[type, int, str]] = [
    (cell, batch, kind) for cell in (VanillaCell, GRUCell) for batch in (1, 3) for kind in KINDS
]
ALL_AT_ONCE += [(ResetBeforeGRUCell, 3, "pair"), (ResetBeforeGRUCell, 1, "ids"), (LSTMCell, 3, "pair")]


@pytest.mark.parametrize(("cell_type", "batch_size", "kind"), ALL_AT_ONCE)
def test_all_at_once_equal_the_reference(cell_type, batch_size, kind):
    check_against_reference(cell_type, batch_size, kind, ("fresh", "lengths", "scale", "mask", "clip"))


def test_resets_to_zeros_and_one_mask_a_window_equal_the_reference():
    """What the test above has otherwise: with a fresh start, and a mask a step."""
    check_against_reference(GRUCell, 3, "pair", ("resets", "window mask"))


@pytest.mark.parametrize("name", ["resets", "fresh", "lengths", "scale", "mask", "window mask", "clip"])
def test_each_alone_equals_the_reference(name):
    check_against_reference(GRUCell, 3, "pair", (name,))


def test_features_beside_ids_equal_one_hot_features():
    cell, (features, ids), carry, _ = draw(LSTMCell, 3, "pair")
    dense = jnp.concatenate([features, jax.nn.one_hot(ids, V, dtype=DTYPE)], axis=-1)
    assert_trees_close(unroll(cell, (features, ids), carry), unroll(cell, dense, carry), rtol=1e-12)


@pytest.mark.parametrize("engine", ["scan", "hoisted", "reference"])
def test_a_shorter_sequence_equals_itself_alone(engine):
    cell, (_, ids), carry, _ = draw(LSTMCell, 3, "ids")
    lengths = np.array([2, T, 5])
    resets = np.zeros((T, 3), bool)
    resets[[3, 2, 6], [2, 0, 2]] = True  # one inside its sequence, and two past the end: the carry stays there
    run = quick_jit(functools.partial(unroll, cell, engine=engine))
    last, ys = run(ids, carry, lengths=jnp.asarray(lengths), resets=jnp.asarray(resets))
    for row, length in enumerate(lengths):
        alone = jax.tree.map(lambda c, row=row: c[row : row + 1], carry)
        own = (slice(length), slice(row, row + 1))
        alone_last, alone_ys = run(ids[own], alone, resets=jnp.asarray(resets[own]))
        assert_trees_close(
            jax.tree.map(lambda c, row=row: c[row], last), jax.tree.map(lambda c: c[0], alone_last), rtol=1e-12
        )
        np.testing.assert_allclose(ys[:length, row], alone_ys[:, 0], rtol=1e-12)
        assert not ys[length:, row].any()


def test_a_reset_puts_in_the_fresh_start():
    cell, (_, ids), carry, options = draw(LSTMCell, 3, "ids")
    fresh = options["fresh"]["fresh"]
    resets = jnp.zeros((T, 3), bool).at[4].set(True)
    last, ys = unroll(cell, ids, carry, resets=resets, fresh=fresh)
    again, later = unroll(cell, ids[4:], fresh)
    assert_trees_close((last, ys[4:]), (again, later), rtol=1e-12)


@pytest.mark.parametrize("engine", ["scan", "hoisted", "reference"])
def test_a_wide_limit_clips_nothing_and_a_narrow_one_does(engine):
    cell, inputs, carry, _ = draw(LSTMCell, 3, "ids")
    plain = value_and_gradients(cell, engine, inputs, carry, {})
    limited = quick_jit(lambda at: value_and_gradients(cell, engine, inputs, carry, {"clip_backward": at}, jax.jit))
    wide, narrow = limited(jnp.asarray(1e6)), limited(jnp.asarray(1e-3))
    assert_trees_close(wide, plain, rtol=1e-12)
    assert_trees_equal(narrow[1], plain[1])
    assert float(jnp.abs(narrow[0][0]["b"]).max()) <= 3 * T * 1e-3 < float(jnp.abs(plain[0][0]["b"]).max())


@pytest.mark.parametrize("steps", [7, 10, 97, 100])
def test_blocks_change_nothing_but_the_order_of_sums(steps):
    rng = np.random.default_rng(3)
    cell = random_cell(LSTMCell, V, H, rng, DTYPE)
    ids, carry = jnp.asarray(rng.integers(0, V, (steps, 2)), jnp.uint8), random_carry(cell, 2, rng)
    actual, expected = (value_and_gradients(cell, e, (None, ids), carry, {}) for e in ("hoisted", "scan"))
    assert_trees_close(actual, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": jnp.zeros((2,), jnp.int32)}, r"lengths of shape \(3,\), got \(2,\)"),
        ({"times": jnp.zeros((T, 2))}, r"times of shape \(8, 3\), got \(8, 2\)"),
        ({"recurrent_mask": jnp.ones((2, 3, H))}, r"recurrent_mask of 1 or 8 steps"),
        ({"lengths": [1, 2, 3]}, "lengths as an array, got a list; give jnp.asarray"),
        ({"xs": [[0.0]]}, "inputs as an array, got a list"),
        ({"carry": None}, r"a carry of shape \(3, 3\), got NoneType; make it by cell.initial_carry\(3\)"),
    ],
)
def test_misfits_are_refused(options, message):
    cell, (_, ids), carry, _ = draw(LSTMCell, 3, "ids")
    with pytest.raises(ValueError, match=message):
        unroll(cell, **{"xs": ids, "carry": carry, **options})
