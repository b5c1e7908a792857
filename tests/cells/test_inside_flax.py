"""Every cell inside Flax's own `nnx.RNN` and `nnx.Bidirectional`: what `unroll` gives, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import CELLS, Cell
from jaxrnn.engines import unroll
from tests.reference.random_cell import params_of, quick_jit, random_cell, weighted_sum
from tests.trees import assert_trees_close, assert_trees_equal

FEATURES, HIDDEN, STEPS, BATCH = 4, 3, 5, 3
LENGTHS = np.array([5, 2, 4])


def by_flax(forward, backward, xs):
    """Batch-major in, time-major out: the two directions of whole sequences, and one with lengths."""
    layers = [nnx.RNN(cell, rngs=False) for cell in (forward, backward)]
    carries, ys = nnx.Bidirectional(*layers, rngs=False)(xs.swapaxes(0, 1), return_carry=True)
    last, padded = layers[0](xs.swapaxes(0, 1), seq_lengths=jnp.asarray(LENGTHS), return_carry=True)
    valid = (jnp.arange(STEPS)[None, :] < LENGTHS[:, None])[:, :, None]  # Flax leaves what is past an end as it is
    return carries, ys.swapaxes(0, 1), last, jnp.where(valid, padded, 0).swapaxes(0, 1)


def by_unroll(forward, backward, xs):
    there, ys = unroll(forward, xs, forward.initial_carry(BATCH))
    back, reversed_ys = unroll(backward, xs[::-1], backward.initial_carry(BATCH))
    both = jnp.concatenate([ys, reversed_ys[::-1]], axis=-1)
    return (there, back), both, *unroll(forward, xs, forward.initial_carry(BATCH), lengths=jnp.asarray(LENGTHS))


@pytest.mark.parametrize("name", CELLS)
def test_rnn_and_bidirectional_of_flax_equal_unroll(name, float64, rng):
    cells = [random_cell(CELLS[name], FEATURES, HIDDEN, rng, jnp.float64) for _ in range(2)]
    graphdef, params = nnx.split(cells[0])[0], [params_of(cell) for cell in cells]
    xs = jnp.asarray(rng.normal(size=(STEPS, BATCH, FEATURES)))

    def gradients_and_values(run):
        def loss(params, xs):
            results = run(*(nnx.merge(graphdef, nnx.State(each)) for each in params), xs)
            return weighted_sum(results), results

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, xs)

    actual, expected = quick_jit(lambda: [gradients_and_values(run) for run in (by_flax, by_unroll)])()
    assert_trees_close(actual, expected, rtol=1e-12)


def test_the_start_is_that_of_initial_carry_for_any_batch_axes(rng):
    cell = random_cell(CELLS["temporal-gate-lstm"], FEATURES, HIDDEN, rng, jnp.float32)
    assert issubclass(Cell, nnx.RNNCellBase) and cell.num_feature_axes == 1
    assert_trees_equal(cell.initialize_carry((BATCH, FEATURES)), cell.initial_carry(BATCH))
    carry = cell.initialize_carry((2, BATCH, FEATURES), nnx.Rngs(0), jax.nn.initializers.normal(1.0))
    assert carry.c.shape == (2, BATCH, HIDDEN) and np.std(carry.c) > 0.5 and not np.equal(carry.c, carry.h).any()
    assert carry.steps.shape == (2, BATCH, 1) and not np.any(carry.steps)
    with pytest.raises(ValueError, match="initialize_carry draws by carry_init: give it rngs"):
        cell.initialize_carry((BATCH, FEATURES), carry_init=jax.nn.initializers.ones)
    given = carry, jnp.asarray(rng.normal(size=(2, BATCH, FEATURES)), jnp.float32)
    many, rows, one = (jax.tree.map(lambda leaf, at=at: leaf[at], given) for at in (..., 1, (1, 2)))
    of_many, of_rows, of_one = quick_jit(lambda *each: [cell(*given) for given in each])(many, rows, one)
    assert_trees_close(jax.tree.map(lambda leaf: leaf[1], of_many), of_rows, rtol=1e-6)
    assert_trees_close(jax.tree.map(lambda leaf: leaf[2], of_rows), of_one, rtol=1e-6)
