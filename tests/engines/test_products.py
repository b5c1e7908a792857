"""Products in bfloat16 are those of rounded operands, forward and backward; in float32 they are JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.engines.platforms import tracing_for, tracing_members
from jaxrnn.engines.products import affine, contract, pieces_of, product
from jaxrnn.engines.window import rows_gradient, rows_of
from tests.trees import assert_trees_close

SHAPES = [((4, 5), (5, 3), "by,yz->bz"), ((2, 4, 5), (5, 3), "aby,yz->abz")]


def rounded(x: np.ndarray) -> np.ndarray:
    """Rounded to 8 significant bits, half to even; kept in float64."""
    fraction, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.round(fraction * 256), exponent - 8)


@pytest.mark.parametrize(("a_shape", "b_shape", "axes"), SHAPES)
@pytest.mark.parametrize("call", ["product", "contract"])
def test_bf16_products_and_gradients_are_those_of_rounded_operands(rng, a_shape, b_shape, axes, call):
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in (a_shape, b_shape))
    d = rng.normal(size=(*a_shape[:-1], b_shape[1])).astype(np.float32)
    function = product if call == "product" else lambda a, b: contract(axes, a, b)
    with jax.default_matmul_precision("bfloat16"):
        y, pullback = jax.vjp(jax.jit(function), a, b)
        d_a, d_b = pullback(jnp.asarray(d))
    flat, d_flat = rounded(a).reshape(-1, a_shape[-1]), rounded(d).reshape(-1, b_shape[1])
    assert {of.dtype.name for of in (y, d_a, d_b)} == {"float32"}
    np.testing.assert_allclose(y, (rounded(a) @ rounded(b)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(d_a, rounded(d) @ rounded(b).T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(d_b, flat.T @ d_flat, rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(y) - a @ b).max() > 1e-3  # it is not float32


@pytest.mark.parametrize(("a_shape", "b_shape", "axes"), SHAPES)
def test_a_gradient_of_its_own_is_that_of_jax(rng, a_shape, b_shape, axes, float64):
    a, b = (jnp.asarray(rng.normal(size=shape)) for shape in (a_shape, b_shape))
    ours, back = jax.vjp(lambda a, b: product(a, b, reverse_only=True), a, b)
    theirs, expected = jax.vjp(lambda a, b: a @ b, a, b)
    assert_trees_close((ours, back(ours)), (theirs, expected(ours)), rtol=1e-12)


def test_a_sum_of_many_products_is_added_up_in_float32():
    """In bfloat16 a sum of ones stays at 256."""
    with jax.default_matmul_precision("bfloat16"):
        assert float(product(jnp.ones((1, 3000)), jnp.ones((3000, 1)))[0, 0]) == 3000


@pytest.mark.parametrize("precision", [None, "highest", "tensorfloat32"])
def test_otherwise_they_are_the_products_of_jax(rng, precision):
    a, b = jnp.asarray(rng.normal(size=(3, 4))), jnp.asarray(rng.normal(size=(4, 2)))

    def texts(ours, other):
        return [str(jax.make_jaxpr(lambda a, b, f=f: jax.vjp(f, a, b)[1](a @ b))(a, b)) for f in (ours, other)]

    with jax.default_matmul_precision(precision):
        ours, other = texts(product, lambda a, b: a @ b)
        assert ours == other
        ours, other = texts(lambda a, b: contract("ab,bc->ac", a, b), lambda a, b: jnp.einsum("ab,bc->ac", a, b))
        assert ours == other


def test_programs_of_two_precisions_are_kept_apart(rng):
    a, b = (jnp.asarray(rng.normal(size=(3, 3)), jnp.float32) for _ in range(2))
    call = jax.jit(product)
    found = []
    for precision in (None, "bfloat16", None):
        with jax.default_matmul_precision(precision):
            found.append(np.asarray(call(a, b)))
    assert (found[0] == found[2]).all() and (found[0] != found[1]).any()


def test_float64_is_never_rounded(rng, float64):
    a = jnp.asarray(rng.normal(size=(3, 3)))
    with jax.default_matmul_precision("bfloat16"):
        np.testing.assert_array_equal(product(a, a), a @ a)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(5, 4, 6), (4, 6)])
def test_one_product_gives_the_gradients_of_weights_and_bias(shape, precision, rng):
    """As a GPU makes them; d is what bfloat16 holds, so that the sum over it is the same either way."""
    x, W, b = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in (shape, (6, 3), (3,)))
    d = jnp.asarray(rng.integers(-8, 9, (*shape[:-1], 3)), jnp.float32)

    def values_and_gradients():
        y, pullback = jax.vjp(lambda x, W, b: affine(x, W, b, reverse_only=True), x, W, b)
        return y, pullback(d)

    with jax.default_matmul_precision(precision):
        expected = values_and_gradients()
        with tracing_for("gpu"):
            found = values_and_gradients()
    assert_trees_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_gradient_of_looked_up_rows_is_made_as_that_of_one_hot_features(with_bias, precision, rng):
    """As a GPU makes it, which adds nothing up by a scatter."""
    ids = jnp.asarray(rng.integers(0, 6, (5, 4)))
    table, b, d = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((6, 3), (3,), (5, 4, 3)))

    def loss(rows):
        return jax.grad(lambda table, b: jnp.sum(d * rows(table, b if with_bias else None)), (0, 1))(table, b)

    with jax.default_matmul_precision(precision), tracing_for("gpu"):
        found = loss(lambda table, b: rows_of(table, b, ids))
        held = jax.nn.one_hot(ids, 6, dtype=jnp.float32)
        expected = loss(lambda table, b: product(held, table) + (0 if b is None else b[None, None]))
        assert_trees_close(rows_gradient(table, ids, d), expected[0], rtol=1e-6)
        assert "bf16" not in str(jax.make_jaxpr(lambda t: rows_of(t, None, ids))(table))  # rows are as they are
    assert_trees_close(found[0], expected[0], rtol=1e-6)
    d_b = d.astype(jnp.bfloat16).astype(jnp.float32) if with_bias and precision == "bfloat16" else d
    assert_trees_close(found[1], d_b.sum((0, 1)) if with_bias else jnp.zeros(3), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_sum_in_pieces_is_the_sum(precision, rng):
    """As a GPU makes it: 4 x 128 rows are four pieces, 3 x 100 one."""
    for steps, batch_size, pieces in ((4, 128, 4), (3, 100, 2), (3, 67, 1)):
        a, b = (jnp.asarray(rng.normal(size=(steps, batch_size, n)), jnp.float32) for n in (5, 3))
        with jax.default_matmul_precision(precision):
            expected = contract("tba,tbc->ac", a, b)
            with tracing_for("gpu"):
                assert pieces_of(steps * batch_size, 5, 3) == pieces
                found = contract("tba,tbc->ac", a, b)
        assert_trees_close(found, expected, rtol=1e-5, atol=1e-5)
    with tracing_for("cpu"):
        assert pieces_of(512, 5, 3) == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_several_members_at_once_have_the_gradient_of_looked_up_rows(precision, rng):
    """On a GPU, under `vmap`, where no linear call can be made."""
    ids, d = jnp.asarray(rng.integers(0, 6, (5, 4))), jnp.asarray(rng.normal(size=(5, 4, 3)), jnp.float32)
    tables = jnp.asarray(rng.normal(size=(2, 6, 3)), jnp.float32)

    def gradient(table):
        return jax.grad(lambda table: jnp.sum(d * rows_of(table, None, ids) ** 2))(table)

    with jax.default_matmul_precision(precision), tracing_for("gpu"), tracing_members():
        found = jax.vmap(jax.jit(gradient))(tables)
    expected = jnp.stack([rows_gradient(table, ids, 2 * d * table[ids]) for table in tables])
    assert_trees_close(found, expected, rtol=1e-5 if precision == "float32" else 1e-2, atol=1e-6)
