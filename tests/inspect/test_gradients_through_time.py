"""Gradients through time against explicit differentiation, difference quotients, matrix powers and a loop by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import CELLS, VanillaCell
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.gradients_through_time import (
    eigenvalues,
    hidden_gradient_norms,
    hidden_gradients,
    jacobian_norms,
    spectral_radius,
    with_spectral_radius,
)
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.tasks.generated import GENERATED
from jaxrnn.tasks.sequences import Sequences
from tests.reference.random_cell import quick_jit

H, STEPS, BATCH = 4, 5, 3


def example(rng, task_name="palindromes", length=STEPS, input=None, **options):
    """A classifier with random parameters, and a batch of its task."""
    task = Sequences(task_name, length, input)
    sizes, dtype = (task.in_features, task.probe.classes, H), jnp.result_type(float)
    given: dict[str, Any] = {
        "param_dtype": dtype,
        "answers": GENERATED[task_name].answers,
        "rngs": nnx.Rngs(0),
    } | options
    model = SequenceClassifier(*sizes, **given)
    values = jax.tree.map(lambda v: jnp.asarray(0.5 * rng.normal(size=v.shape), dtype), nnx.state(model, nnx.Param))
    nnx.update(model, values)
    inputs, targets = task.draw(jax.random.key(1), jnp.arange(BATCH), dtype)
    if task.reads_digits_as_numbers:
        inputs = inputs / 10  # else the gates are all but shut
    return model, inputs, targets, task


def jacobian_after(model, inputs, targets, task, t):
    """Each row's loss by every row's carry after step t (counted from 1), the model going on from there."""
    graphdef, state = nnx.split(model)

    @quick_jit
    def jacobian(state):
        model = nnx.merge(graphdef, state)
        _, carries = model.stack(inputs[:t], model.initial_carry(BATCH), engine="reference")

        def losses(carries):
            return task.losses(model(inputs[t:], carries, engine="reference")[0], targets).sum(axis=0)

        return jax.jacrev(losses)(carries)

    return jacobian(state)[0]


@pytest.mark.parametrize("cell", ["vanilla", "lstm", "gru", "lstm-peephole"])
def test_gradients_equal_the_jacobian_of_the_rest_of_the_sequence(cell, float64, rng):
    """The model is started after step 2 from the carry it had there, and differentiated by that carry."""
    model, inputs, targets, task = example(rng, cell=cell)
    found, jacobian = hidden_gradients(model, inputs, targets, task), jacobian_after(model, inputs, targets, task, 2)
    assert set(found) == set(jacobian._fields)
    for name in found:
        whole = np.asarray(getattr(jacobian, name))  # (B, B, H)
        expected = whole[np.arange(BATCH), np.arange(BATCH)]
        np.testing.assert_allclose(found[name][1], expected, rtol=1e-10, atol=1e-15)
        assert np.abs(expected).min() > 0


def test_norms_are_the_mean_of_the_rows_norms(float64, rng):
    model, inputs, targets, task = example(rng, cell="lstm")
    gradients = hidden_gradients(model, inputs, targets, task)
    for part, values in gradients.items():
        expected = [np.mean([np.linalg.norm(values[t, b]) for b in range(BATCH)]) for t in range(STEPS)]
        norms = hidden_gradient_norms(model, inputs, targets, task, part=part)
        np.testing.assert_allclose(norms, expected, rtol=1e-12)


def test_the_last_step_is_softmax_minus_one_hot(float64, rng):
    """dL/dh_T = (softmax - one-hot) W_y^T; c_T enters nothing but h_T, which is held."""
    model, inputs, targets, task = example(rng, cell="lstm")
    logits, _ = model(inputs, model.initial_carry(BATCH))
    error = jax.nn.softmax(logits[0]) - jax.nn.one_hot(targets[0], 10)
    gradients = hidden_gradients(model, inputs, targets, task)
    np.testing.assert_allclose(gradients["h"][-1], error @ model.W_y[...].T, rtol=1e-10)
    assert (np.asarray(gradients["c"][-1]) == 0).all()


@pytest.mark.parametrize("skip_connections", [False, True])
def test_each_layer_equals_difference_quotients(skip_connections, float64, rng):
    """Of a NumPy loop written out here: two vanilla layers, ids, mean pooling."""
    model, inputs, targets, task = example(
        rng, "palindromes", input="one-hot", layers=2, skip_connections=skip_connections, pooling="mean"
    )
    xs = np.eye(10)[np.asarray(inputs)]
    weights = [(np.asarray(c.W_x[...]), np.asarray(c.W_h[...]), np.asarray(c.b[...])) for c in model.stack.layers]
    W_y, b_y = np.asarray(model.W_y[...]), np.asarray(model.b_y[...])

    def losses(layer, t, added):
        h, outputs = [np.zeros((BATCH, H))] * 2, []
        for now, x in enumerate(xs):
            below = x
            for number, (W_x, W_h, b) in enumerate(weights):
                h[number] = np.tanh(below @ W_x + h[number] @ W_h + b)
                if (number, now) == (layer, t):
                    h[number] = h[number] + added
                below = np.concatenate([h[number], x], axis=1) if skip_connections else h[number]
            outputs.append(np.concatenate(h, axis=1) if skip_connections else h[1])
        logits = np.mean(outputs, axis=0) @ W_y + b_y
        true = logits[np.arange(BATCH), np.asarray(targets[0])]
        return np.log(np.exp(logits).sum(axis=1)) - true

    for layer in (0, 1):
        found = np.asarray(hidden_gradients(model, inputs, targets, task, layer=layer)["h"])
        for t in range(STEPS):
            for i in range(H):
                step = 1e-5 * np.eye(H)[i][None, :]
                quotient = (losses(layer, t, step) - losses(layer, t, -step)) / 2e-5
                np.testing.assert_allclose(found[t, :, i], quotient, rtol=1e-6, atol=1e-10)
    np.testing.assert_array_equal(found, hidden_gradients(model, inputs, targets, task, layer=-1)["h"])


def test_several_answers_and_a_learned_start(float64, rng):
    model, inputs, targets, task = example(rng, "copy-memory", 20, learned_initial_carry=True)
    found = hidden_gradients(model, inputs, targets, task)["h"]
    jacobian = np.asarray(jacobian_after(model, inputs, targets, task, 3).h)
    np.testing.assert_allclose(found[2], jacobian.sum(axis=0), rtol=1e-10)


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_every_cell_can_be_looked_into(cell, rng):
    model, inputs, targets, task = example(rng, cell=cell)
    norms = hidden_gradient_norms(model, inputs, targets, task)
    assert norms.shape == (STEPS,) and (norms > 0).all()


def test_tiny_gradients_are_not_lost(rng):
    """A norm of 1e-30 is the root of a square that float32 cannot hold."""
    model, inputs, targets, task = example(rng)
    cell = model.stack.layers[0]
    cell.W_h[...] = 1e-7 * jnp.eye(H, dtype=jnp.float32)
    norms = hidden_gradient_norms(model, inputs, targets, task)
    assert 1e-32 < norms[0] < 1e-26


def test_what_is_not_there_is_refused(rng):
    model, inputs, targets, task = example(rng)
    with pytest.raises(ValueError, match="expects a part out of h; got 'c'"):
        hidden_gradient_norms(model, inputs, targets, task, part="c")
    with pytest.raises(ValueError, match="expects a layer from -1 to 0, got 1"):
        hidden_gradient_norms(model, inputs, targets, task, layer=1)
    both_ways = example(rng, bidirectional=True)
    with pytest.raises(ConfigurationError, match="one direction of time, the model is bidirectional; train one"):
        hidden_gradients(*both_ways)


def test_linear_norms_are_those_of_matrix_powers(rng):
    W, inputs = rng.normal(size=(H, H)), rng.normal(size=(7, H))
    expected = [np.linalg.norm(np.linalg.matrix_power(W, n), 2) for n in range(8)]
    np.testing.assert_allclose(jacobian_norms(W, inputs, activation="linear"), expected, rtol=1e-10)


def test_norms_beyond_float64_are_infinity():
    found = jacobian_norms(1e200 * np.ones((2, 2)), np.ones((3, 2)), activation="linear")
    np.testing.assert_allclose(found, [1.0, 2e200, np.inf, np.inf])


def test_tanh_norms_are_those_of_the_unrolled_steps(float64, rng):
    W, inputs, start = rng.normal(size=(H, H)), rng.normal(size=(6, H)), rng.normal(size=H)

    def last_state(x, k):
        for p_t in inputs[k:]:
            x = jnp.tanh(x @ W + p_t)
        return x

    expected, x = [], jnp.asarray(start)
    for k in range(7):
        expected.append(np.linalg.norm(np.asarray(jax.jacobian(last_state)(x, k)), 2))
        x = jnp.tanh(x @ W + inputs[k]) if k < 6 else x
    found = jacobian_norms(W, inputs, start=start)
    np.testing.assert_allclose(found, expected[::-1], rtol=1e-10)
    np.testing.assert_allclose(
        jacobian_norms(W, inputs[:4], start=start), jacobian_norms(W, inputs, start=start, last=4)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(3), np.zeros((5, 2))), r"expects inputs \(T, 3\)"),
        ((np.ones((3, 12)), np.zeros((5, 3))), "square recurrent matrix"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        jacobian_norms(*arguments)
    with pytest.raises(ValueError, match="activation out of linear, tanh; got 'relu'"):
        jacobian_norms(np.eye(2), np.zeros((5, 2)), activation="relu")


def test_eigenvalues_of_a_cell(float64, rng):
    """A matrix made of known eigenvalues, a real one and a complex pair, in another basis."""
    turn = 0.8 * np.array([[np.cos(1.0), np.sin(1.0)], [-np.sin(1.0), np.cos(1.0)]])
    blocks = np.zeros((3, 3))
    blocks[0, 0], blocks[1:, 1:] = -0.5, turn
    basis = rng.normal(size=(3, 3))
    cell = VanillaCell(2, 3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    cell.W_h[...] = jnp.asarray(basis @ blocks @ np.linalg.inv(basis))
    np.testing.assert_allclose(eigenvalues(cell), [0.8 * np.exp(1j), 0.8 * np.exp(-1j), -0.5], rtol=1e-10)
    assert spectral_radius(cell) == pytest.approx(0.8, rel=1e-10)


def test_scaled_to_a_spectral_radius(rng):
    W = rng.normal(size=(6, 6))
    scaled = with_spectral_radius(W, 1.1)
    assert spectral_radius(scaled) == pytest.approx(1.1, rel=1e-12)
    np.testing.assert_allclose(scaled / W, (scaled / W)[0, 0], rtol=1e-12)
    with pytest.raises(ValueError, match="expects a radius"):
        with_spectral_radius([[0.0, 1.0], [0.0, 0.0]], 0.9)
