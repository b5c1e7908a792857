"""Cells, carries and windows with random values that all differ, biases included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.engines import unroll

# `jax.jit` without XLA's optimizations: half the time to compile, for the many small programs that are run once.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def random_cell(cell_type, in_features, hidden_features, rng, dtype):
    cell = cell_type(in_features, hidden_features, param_dtype=dtype, rngs=nnx.Rngs(0))
    values = jax.tree.map(lambda v: jnp.asarray(0.5 * rng.normal(size=v.shape), dtype), nnx.state(cell, nnx.Param))
    nnx.update(cell, values)
    return cell


def params_of(cell):
    return nnx.to_pure_dict(nnx.state(cell, nnx.Param))


def weights_of(cell):
    """The parameters in NumPy."""
    return {name: np.array(value) for name, value in params_of(cell).items()}


def random_carry(cell, batch_size, rng):
    carry = cell.initial_carry(batch_size)
    return jax.tree.map(lambda c: jnp.asarray(0.5 * rng.normal(size=c.shape), c.dtype), carry)


def random_window(cell, kind, steps, batch_size, rng):
    if kind == "ids":
        return jnp.asarray(rng.integers(0, cell.in_features, (steps, batch_size)), jnp.uint8)
    return jnp.asarray(rng.normal(size=(steps, batch_size, cell.in_features)), cell.W_h[...].dtype)


def unroll_with(cell, **options):
    """`unroll` as a function of (params, xs, carry, resets)."""
    graphdef = nnx.split(cell)[0]

    def run(params, xs, carry, resets=None):
        return unroll(nnx.merge(graphdef, nnx.State(params)), xs, carry, resets=resets, **options)

    return run


def weighted_sum(tree, seed=1):
    """A scalar that depends on each number of a tree in its own way."""
    draw = np.random.default_rng(seed)
    return sum(jnp.sum(leaf * jnp.asarray(draw.normal(size=leaf.shape), leaf.dtype)) for leaf in jax.tree.leaves(tree))
