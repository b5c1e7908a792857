"""Flax's own cells as the layers of a stack: what `nnx.RNN` gives, and what such a layer cannot have."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import GRUCarry, GRUCell
from jaxrnn.models.dropout import Dropout, DropoutRates
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.stack import Stack
from tests.reference.random_cell import params_of, quick_jit, weighted_sum
from tests.trees import assert_trees_close, assert_trees_equal

T, B, V, H = 5, 3, 5, 3
FLAX_CELLS = [nnx.SimpleCell, nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell]


def with_keys(cell_type: Any, *sizes: int, **options: Any) -> Any:
    """A cell that holds keys, as Flax's old `keep_rngs` makes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cell_type(*sizes, keep_rngs=True, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("cell_type", FLAX_CELLS)
def test_a_stack_of_one_equals_its_rnn_and_holds_parameters_alone(cell_type, float64, rng):
    cell = with_keys(cell_type, V, H)
    stack = Stack([cell])
    graphdef, state = nnx.split(stack)
    assert all(isinstance(leaf, nnx.Param) for _, leaf in nnx.to_flat_state(state))
    ids, lengths = jnp.asarray(rng.integers(0, V, (T, B))), jnp.asarray([T, 2, 4])

    def ours(params):
        stack = nnx.merge(graphdef, nnx.State(params))
        ys, (carry,) = stack(ids, stack.initial_carry(B), lengths=lengths)
        return carry, ys

    def flaxs(params):
        cell = nnx.merge(graphdef, nnx.State(params)).layers[0]
        xs, start = jax.nn.one_hot(ids, V, dtype=jnp.float32), cell.initialize_carry((B, V), nnx.Rngs(0))
        run = nnx.RNN(cell, time_major=True, return_carry=True, rngs=False)
        carry, ys = run(xs, initial_carry=start, seq_lengths=lengths)
        return carry, jnp.where((jnp.arange(T)[:, None] < lengths[None, :])[:, :, None], ys, 0)

    def results(run):
        def loss(params):
            found = run(params)
            return weighted_sum(found), found

        return jax.grad(loss, has_aux=True)(params_of(stack))

    actual, expected = quick_jit(lambda: (results(ours), results(flaxs)))()
    assert_trees_close(actual, expected, rtol=1e-6)


def test_a_drawn_start_is_one_row_for_any_batch_and_a_reset_brings_it_back(rng):
    cell = with_keys(nnx.GRUCell, V, H, carry_init=jax.nn.initializers.normal(1.0))
    stack = Stack([cell])
    (three,), (two,) = stack.initial_carry(3), stack.initial_carry(2)
    assert np.std(three[0]) > 0.1
    assert_trees_equal((three[0], three[1], three[:2]), (two[0], two[0], two))
    xs = jnp.asarray(rng.normal(size=(T, B, V)), jnp.float32)
    resets = jnp.zeros((T, B), bool).at[3].set(True)
    late = quick_jit(lambda xs: stack(xs, (jnp.ones((B, H)),), resets=resets)[0][3:])(xs)
    assert_trees_close(late, quick_jit(lambda xs: stack(xs, (three,))[0])(xs[3:]), rtol=1e-6)


class NamedCell(nnx.GRUCell):
    """A cell of Flax's with a carry that has a name, so that its start can be learned."""

    def initial_carry(self, batch_size):
        return GRUCarry(jnp.zeros((batch_size, self.hidden_features)))

    def __call__(self, carry, inputs):
        h, y = super().__call__(carry.h, inputs)
        return GRUCarry(h), y


def test_a_reset_brings_back_a_learned_start(rng):
    stack = Stack([NamedCell(V, H, rngs=nnx.Rngs(0))], learned_initial_carry=True)
    assert stack.first_carry is not None
    stack.first_carry[0]["h"][...] = jnp.asarray([0.5, -0.4, 0.9])
    xs, resets = jnp.asarray(rng.normal(size=(T, B, V)), jnp.float32), jnp.zeros((T, B), bool).at[3].set(True)
    start = stack.initial_carry(B)
    late = quick_jit(lambda xs: stack(xs, (GRUCarry(jnp.ones((B, H))),), resets=resets)[0][3:])(xs)
    assert_trees_close(late, quick_jit(lambda xs: stack(xs, start)[0])(xs[3:]), rtol=1e-6)


def test_skip_connections_feed_it_ids_as_features_beside_what_is_below(rng):
    made: dict[str, Any] = {"rngs": nnx.Rngs(0)}
    below, above = GRUCell(V, H, **made), nnx.GRUCell(H + V, 4, **made)
    stack = Stack([below, above], skip_connections=True)
    ids, carries = jnp.asarray(rng.integers(0, V, (T, B))), stack.initial_carry(B)
    # Dropout of a symbol is the same at each site that reads it.
    dropout = Dropout(DropoutRates(input=jnp.asarray(0.5)), jax.random.key(0), jnp.arange(B))

    @quick_jit
    def results(ids):
        scale, x = dropout.mask("input", 0, T, 1, jnp.float32), jax.nn.one_hot(ids, V)
        assert scale is not None
        ours = [stack(ids, carries)[0], stack(ids, carries, dropout=dropout)[0]]
        return ours, [stack(x, carries)[0], stack(x * scale, carries)[0]], scale

    actual, expected, scale = results(ids)
    assert_trees_close(actual, expected, rtol=1e-6)
    assert 0 < np.sum(np.asarray(scale) == 0) < scale.size


def test_what_it_cannot_have_is_refused_by_name():
    stack = Stack([nnx.LSTMCell(V, H, rngs=nnx.Rngs(0))])
    ids, carries = jnp.zeros((T, B), jnp.uint8), stack.initial_carry(B)
    dropout = Dropout(DropoutRates(recurrent=jnp.asarray(0.5)), jax.random.key(0), jnp.arange(B))
    with pytest.raises(ValueError, match="recurrent dropout acts inside a step, which LSTMCell does not show"):
        stack(ids, carries, dropout=dropout)
    with pytest.raises(ValueError, match="clip_backward acts inside a step, which LSTMCell does not show"):
        stack(ids, carries, clip_backward=jnp.asarray(1.0))
    with pytest.raises(ValueError, match="cannot use the engine 'hoisted': LSTMCell is not a jaxrnn Cell"):
        stack(ids, carries, engine="hoisted")
    with pytest.raises(ValueError, match="learned_initial_carry expects cells whose carry is a named tuple .* a tuple"):
        Stack([nnx.LSTMCell(V, H, rngs=nnx.Rngs(0))], learned_initial_carry=True)


def test_a_language_model_stands_on_it():
    rngs = nnx.Rngs(0)
    model = LanguageModel(V, Stack([nnx.LSTMCell(V, H, rngs=rngs)]), rngs=rngs)
    logits, _ = model(jnp.zeros((T, B), jnp.uint8), model.initial_carry(B))
    assert logits.shape == (T, B, V)
