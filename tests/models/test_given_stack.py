"""Stacks of cells that are given, and models on a stack that is given or made by name."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import GRUCell, LSTMCell
from jaxrnn.engines import unroll
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.models.stack import Stack
from tests.reference.random_cell import params_of
from tests.trees import assert_trees_equal

T, B, V, H = 5, 3, 5, 3
MODELS = [LanguageModel, functools.partial(SequenceClassifier, classes=2)]


@pytest.mark.parametrize("make", MODELS)
def test_stack_options_reach_every_layer(make):
    """By the models, which hand them on to `Stack.of`."""
    orthogonal = jax.nn.initializers.orthogonal()
    model = make(V, stack=H, cell="gru", layers=2, recurrent_init=orthogonal, rngs=nnx.Rngs(0))
    assert len(model.stack.layers) == 2
    for layer in model.stack.layers:
        for block in np.split(np.array(layer.W_h[...]), 3, axis=1):
            np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-5)


@pytest.mark.parametrize("make", MODELS)
def test_a_model_takes_a_stack_as_it_is(make):
    """With its keys in the order of a stack made by name, the values are the same to the last bit."""
    rngs = nnx.Rngs(3)
    stack = Stack([LSTMCell(V, H, rngs=rngs), LSTMCell(H, H, rngs=rngs)], learned_initial_carry=True)
    model = make(V, stack=stack, rngs=rngs)
    assert model.stack is stack
    by_name = make(V, stack=H, cell="lstm", layers=2, learned_initial_carry=True, rngs=nnx.Rngs(3))
    assert_trees_equal(params_of(model), params_of(by_name))


@pytest.mark.parametrize("make", MODELS)
def test_a_stack_that_does_not_fit_the_model_is_refused(make):
    stack = Stack.of("gru", V + 1, H, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=f"expects a Stack with in_features={V}; got one of {V + 1}"):
        make(V, stack=stack, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="cell, layers would have no effect beside a Stack"):
        make(V + 1, stack=stack, cell="vanilla", layers=1, rngs=nnx.Rngs(0))


def test_cells_that_do_not_fit_are_refused():
    made: dict[str, Any] = {"rngs": nnx.Rngs(0)}
    lstm, gru = LSTMCell(5, 4, **made), GRUCell(4, 3, **made)
    assert Stack([lstm, gru]).out_features == 3
    with pytest.raises(ValueError, match="layer 1 of a Stack reads 3 features; its LSTMCell has in_features=5"):
        Stack([gru, lstm])
    with pytest.raises(ValueError, match="reads 9 features, 4 of the layer below and 5 of the input; its GRUCell has"):
        Stack([lstm, gru], skip_connections=True)
    with pytest.raises(ValueError, match="at least 1 layer, got 0"):
        Stack([])
    with pytest.raises(ValueError, match="cells with hidden_features, initial_carry or initialize_carry; layer 0, a L"):
        Stack([nnx.Linear(5, 4, **made)])
    no_cells: Any
    for no_cells in ("lstm", 5, lstm):
        with pytest.raises(ValueError, match="^Stack expects a sequence of cells, got a .*; Stack.of makes one.*$"):
            Stack(no_cells)


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (LSTMCell, {"in_features": "3", "hidden_features": 4}, "positive whole numbers, got in_features='3'"),
    (LSTMCell, {"in_features": 3, "hidden_features": 4, "rngs": 0}, "expects rngs=nnx.Rngs.seed., got int"),
    (Stack.of, {"cell": "gru", "in_features": 3, "hidden_features": 4, "layers": "2"}, "at least 1 layer, got '2'"),
    (LanguageModel, {"vocabulary_size": 3, "stack": LSTMCell}, "expects a Stack, or H for layers by name"),
    (SequenceClassifier, {"in_features": 3, "classes": 0, "stack": 4}, "at least 1 class"),
]


@pytest.mark.parametrize(("make", "given", "said"), WRONG)
def test_sizes_of_another_kind_are_refused(make: Any, given: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        make(**{"rngs": nnx.Rngs(0), **given})


def test_inputs_and_carries_of_another_kind_are_refused():
    model = LanguageModel(5, 4, layers=2, rngs=nnx.Rngs(0))
    ids, carries = jnp.zeros((T, B), int), model.initial_carry(B)
    with pytest.raises(ValueError, match=r"expects ids \(T, B\) or features \(T, B, F\), got float32"):
        model(ids.astype(jnp.float32), carries)
    others: list[Any] = [None, carries[:1], {}]
    for other in others:
        with pytest.raises(
            ValueError, match=rf"tuple of carries, one for each of the 2 layers, .*initial_carry\({B}\)"
        ):
            model(ids, other)


class FlaxCell(nnx.GRUCell):
    """A cell that is no `Cell`, with its carry as a plain array."""

    def initial_carry(self, batch_size):
        return jnp.zeros((batch_size, self.hidden_features))


def test_another_librarys_cell_is_a_layer_too(rng):
    made: dict[str, Any] = {"rngs": nnx.Rngs(0)}
    lstm, gru = LSTMCell(5, 4, **made), FlaxCell(4, 3, **made)
    stack, xs = Stack([lstm, gru]), jnp.asarray(rng.normal(size=(T, B, 5)), jnp.float32)
    ys, carries = stack(xs, stack.initial_carry(B))
    below = unroll(lstm, xs, lstm.initial_carry(B), engine="reference")[1]
    expected = nnx.RNN(gru, time_major=True)(below, initial_carry=gru.initial_carry(B))
    np.testing.assert_allclose(ys, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(carries[1], ys[-1])
    for cells, kind in (([lstm, gru], "an array"), ([nnx.LSTMCell(5, 4, **made)], "a tuple")):
        with pytest.raises(ConfigurationError, match=f"a field h, got {kind}; use cells of jaxrnn, .* or leave it"):
            Stack(cells, learned_initial_carry=True)
