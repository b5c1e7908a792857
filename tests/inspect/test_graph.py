"""The nodes to learn from: each partial derivative, and what graphs of them give, against `jax.grad` and loops."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.graph import (
    Add,
    Concatenate,
    Cost,
    MatMul,
    Multiply,
    Node,
    Sigmoid,
    Slice,
    SoftmaxCrossEntropy,
    Static,
    Tanh,
    check_gradients,
    unrolled,
)
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.loss import loss_nats
from tests.trees import assert_trees_close


class WeightedSum(Cost):
    """sum(w a) with all weights different, so that no entry of a gradient can stand for another."""

    def op(self, a):
        return (weights(a.shape) * a).sum()

    def partials(self, d, out, a):
        return (d * weights(a.shape),)


def weights(shape):
    return np.random.default_rng(11).normal(size=shape)


CASES: dict[str, Any] = {
    "a product of matrices": (MatMul, [(2, 3), (3, 4)], jnp.matmul),
    "a sum of three": (Add, [(2, 3), (2, 3), (2, 3)], lambda a, b, c: a + b + c),
    "a bias": (Add, [(2, 3), (3,)], jnp.add),
    "a column, a row, a number": (Add, [(2, 1), (3,), ()], lambda a, b, c: a + b + c),
    "a product": (Multiply, [(2, 3), (2, 3)], jnp.multiply),
    "a gate for all rows": (Multiply, [(3,), (2, 3)], jnp.multiply),
    "sigmoid": (Sigmoid, [(2, 3)], jax.nn.sigmoid),
    "tanh": (Tanh, [(2, 3)], jnp.tanh),
    "side by side": (Concatenate, [(2, 3), (2, 1), (2, 2)], lambda *xs: jnp.concatenate(xs, axis=-1)),
    "one below the other": (
        lambda *nodes: Concatenate(*nodes, axis=0),
        [(1, 3), (2, 3)],
        lambda *xs: jnp.concatenate(xs, axis=0),
    ),
    "columns": (lambda a: Slice(a, 1, 3), [(2, 4)], lambda a: a[:, 1:3]),
}


@pytest.mark.parametrize("case", CASES)
def test_an_operators_gradients_equal_jax(case, float64, rng):
    make, shapes, function = CASES[case]
    values = [2 * rng.normal(size=shape) for shape in shapes]
    nodes = [Static(value) for value in values]
    cost = WeightedSum(make(*nodes))

    def loss(values):
        out = function(*values)
        return (weights(out.shape) * out).sum()

    with jax.numpy_rank_promotion("allow"):
        expected, gradients = jax.value_and_grad(loss)([jnp.asarray(value) for value in values])
    np.testing.assert_allclose(cost.forward(), expected, rtol=1e-12)
    cost.backward()
    assert_trees_close([node.gradient for node in nodes], [np.asarray(g) for g in gradients], rtol=1e-12)


def test_the_costs_gradient_equals_jax_and_large_logits_do_not_overflow(float64, rng):
    logits, ids = 3 * rng.normal(size=(4, 5)), np.array([0, 4, 2, 2])
    logits[3] += [0, 900, -900, 0, 5]
    cost = SoftmaxCrossEntropy(o := Static(logits), y := Static(ids))
    expected, gradient = jax.value_and_grad(lambda o: loss_nats(o, jnp.asarray(ids)).sum())(jnp.asarray(logits))
    np.testing.assert_allclose(cost.forward(), expected, rtol=1e-12)
    cost.backward()
    np.testing.assert_allclose(o.gradient, gradient, rtol=0, atol=1e-12)
    assert y.gradient is None


def test_what_comes_from_several_parents_is_summed():
    """y = x w + x^2 + tanh x, where x has four parents and is read twice by one: y' = w + 2 x + 1 - tanh^2 x."""
    x, w = Static(0.7), Static(-1.3)
    cost = Add(Multiply(x, w), Multiply(x, x), Tanh(x))
    for _ in range(2):  # a second pass starts anew
        cost.forward()
        cost.backward()
    np.testing.assert_allclose(x.gradient, -1.3 + 1.4 + 1 - np.tanh(0.7) ** 2, rtol=1e-14)
    assert w.gradient == 0.7


def test_a_graph_of_two_thousand_nodes_in_depth():
    """Deeper than Python's recursion, and each node read twice, so that a walk of all paths would never end."""
    x = Static(1e-3)
    node: Node = x
    half = Static(0.5)
    factor, value = 1.0, 1e-3
    for number in range(1000):
        node = Tanh(Multiply(half, Add(node, node))) if number % 2 else Multiply(Add(node, node), half)
        factor, value = (factor * (1 - np.tanh(value) ** 2), np.tanh(value)) if number % 2 else (factor, value)
    assert len(node.order()) == 2502
    np.testing.assert_allclose(node.forward(), value, rtol=1e-12)
    node.backward()
    np.testing.assert_allclose(x.gradient, factor, rtol=1e-12)


class WrongTanh(Tanh):
    """Forgets the square."""

    def partials(self, d, out, a):
        return (d * (1 - out),)


def test_the_gradient_check_finds_the_wrong_operator(rng):
    def errors(kind):
        x, W, b = Static(rng.normal(size=(2, 3)), "x"), Static(rng.normal(size=(3, 2)), "W"), Static(np.ones(2), "W")
        return {row.group: row.max_absolute for row in check_gradients(WeightedSum(Add(kind(MatMul(x, W)), b)))}

    right, wrong = errors(Tanh), errors(WrongTanh)
    assert list(right) == ["W", "W (node 4)", "x"]
    assert max(right.values()) < 1e-8
    assert min(wrong["x"], wrong["W"]) > 1e-2 and wrong["W (node 4)"] < 1e-8


def test_the_gradient_check_leaves_the_graph_as_it_was():
    x = Static([1.0, 2.0], "x")
    cost = WeightedSum(Tanh(x))
    before = cost.forward()
    check_gradients(cost)
    assert cost.value == before and x.value.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "options",
    [{"cell": "vanilla"}, {"cell": "lstm"}, {"cell": "lstm", "layers": 2, "skip_connections": True, "embedding": 3}],
    ids=["vanilla", "lstm", "deep"],
)
def test_an_unrolled_models_loss_and_gradients_equal_jax(options, float64, rng):
    V, H, T, B = 5, 4, 6, 2
    model = nnx.eval_shape(lambda: LanguageModel(V, H, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options))
    graphdef, state = nnx.split(model)
    state = jax.tree.map(lambda leaf: jnp.asarray(0.7 * rng.normal(size=leaf.shape)), state)  # biases too
    carry = jax.eval_shape(lambda state: nnx.merge(graphdef, state).initial_carry(B), state)
    carry = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), carry)
    window = rng.integers(0, V, (T + 1, B))

    def loss(state, carry):
        logits, _ = nnx.merge(graphdef, state)(window[:-1], carry)
        return loss_nats(logits, window[1:]).sum()

    expected, (d_state, d_carry) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(state, carry)
    graph = unrolled(nnx.merge(graphdef, state), window, carry)
    gradients = graph.gradients()
    np.testing.assert_allclose(graph.cost.value, expected, rtol=1e-12)
    by_path = {"/".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(d_state)}
    assert_trees_close(gradients, by_path, rtol=1e-12)
    for node, part in zip(graph.hidden[0], d_carry, strict=True):
        np.testing.assert_allclose(node.gradient, part.h, rtol=0, atol=1e-12)
    assert len(graph.hidden) == T + 1


def small(cell="lstm", **options):
    return nnx.eval_shape(lambda: LanguageModel(5, 3, cell=cell, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MatMul(Static(np.ones((2, 3))), Static(np.ones((2, 3)))).forward(), r"MatMul .*\(2, 3\) and \(2, 3\)"),
        (lambda: MatMul(Static(np.ones(3)), Static(np.ones((3, 3)))).forward(), "MatMul expects"),
        (lambda: Slice(Static(np.ones((2, 3))), 2, 5).forward(), "no columns 2 to 5"),
        (lambda: SoftmaxCrossEntropy(Static(np.ones((1, 3))), Static([-1])).forward(), "they begin at 0"),
        (lambda: SoftmaxCrossEntropy(Static(np.ones((1, 3))), Static([3])).forward(), "SoftmaxCrossEntropy expects"),
        (lambda: Static(np.ones(2)).backward(), r"one number, got shape \(2,\); end the graph in a cost"),
        (lambda: unrolled(small("gru"), [0, 1]), "got GRUCell; draw_step"),
        (lambda: unrolled(small(embedding=3, tie_embedding=True), [0, 1]), "got a tied embedding"),
        (lambda: unrolled(small(learned_initial_carry=True), [0, 1]), "got a learned first carry"),
        (lambda: unrolled(small(), [0, 5]), "ids from 0 to 4"),
        (lambda: unrolled(small(), [0]), "at least 2 ids"),
        (lambda: unrolled(small(), []), "at least 2 ids"),
    ],
)
def test_what_does_not_fit_is_refused(make, says):
    with pytest.raises(ConfigurationError, match=says):
        make()


def test_a_partial_derivative_of_the_wrong_shape_is_refused():
    class Unsummed(Add):
        def partials(self, d, out, *values):
            return [d for _ in values]

    cost = WeightedSum(Unsummed(Static(np.ones((2, 3))), Static(np.ones(3))))
    cost.forward()
    with pytest.raises(ConfigurationError, match=r"Unsummed by an input of shape \(3,\) must have that shape"):
        cost.backward()
