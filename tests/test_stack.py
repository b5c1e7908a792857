import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.stack import Stack
from tests.reference.random_cell import quick_jit, weights_of
from tests.reference.vanilla import unroll_vanilla
from tests.trees import assert_trees_close


def random_stack(layers, rng):
    stack = Stack(5, 4, layers=layers, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    nnx.update(stack, jax.tree.map(lambda v: jnp.asarray(0.6 * rng.normal(size=v.shape)), nnx.state(stack, nnx.Param)))
    return stack


@pytest.mark.parametrize("layers", [1, 3])
def test_layers_feed_each_other_and_keep_their_own_carries(layers, float64, rng):
    stack = random_stack(layers, rng)
    ids = rng.integers(0, 5, (7, 2))
    resets = rng.random((7, 2)) < 0.3
    carries = jax.tree.map(lambda c: jnp.asarray(rng.normal(size=c.shape)), stack.initial_carry(2))
    ys, new_carries = quick_jit(lambda ids, carries, resets: stack(ids, carries, resets=resets))(ids, carries, resets)
    hs = ids
    assert len(new_carries) == len(stack.layers) == layers
    for layer, carry, new in zip(stack.layers, carries, new_carries, strict=True):
        hs = unroll_vanilla(weights_of(layer), hs, np.array(carry.h), resets)
        np.testing.assert_allclose(new.h, hs[-1], rtol=1e-10)
    np.testing.assert_allclose(ys, hs, rtol=1e-10)


def test_every_layer_uses_the_asked_engine(float64, rng):
    stack = random_stack(2, rng)
    xs, carries = jnp.asarray(rng.normal(size=(4, 1, 5))), stack.initial_carry(1)
    programs = {e: str(jax.make_jaxpr(lambda xs, e=e: stack(xs, carries, engine=e))(xs)) for e in ("hoisted", "scan")}
    assert programs["hoisted"].count("custom_vjp_call") == 2 and "custom_vjp_call" not in programs["scan"]
    assert_trees_close(stack(xs, carries, engine="hoisted"), stack(xs, carries, engine="scan"), rtol=1e-12)


def test_layers_start_with_different_weights():
    stack = Stack(4, 4, layers=2, rngs=nnx.Rngs(0))
    first, second = (weights_of(layer) for layer in stack.layers)
    assert (first["W_x"] != second["W_x"]).all() and (first["W_h"] != first["W_x"]).all()


def test_an_unknown_cell_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="Stack expects a cell out of vanilla.*; got 'lstn'"):
        Stack(5, 4, cell="lstn", rngs=nnx.Rngs(0))


@pytest.mark.parametrize("layers", [0, -1])
def test_no_layer_is_refused(layers):
    with pytest.raises(ValueError, match=f"at least 1 layer, got {layers}"):
        Stack(5, 4, layers=layers, rngs=nnx.Rngs(0))
