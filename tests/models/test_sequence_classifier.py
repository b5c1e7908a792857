"""The classifier against NumPy, and what the stack carries for it: gradients, learned carry, dropout, limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from jaxrnn.models.dropout import Dropout, DropoutRates
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.models.structure import model_with, params_of
from tests.reference.random_cell import quick_jit, weighted_sum
from tests.reference.small_model import to_reference
from tests.reference.vanilla import unroll_vanilla

FEATURES, CLASSES, HIDDEN, STEPS, BATCH = 3, 4, 5, 6, 2


def classifier(rng, **options):
    model = SequenceClassifier(FEATURES, CLASSES, HIDDEN, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options)
    nnx.update(model, jax.tree.map(lambda v: jnp.asarray(0.5 * rng.normal(size=v.shape)), nnx.state(model, nnx.Param)))
    return model


@pytest.mark.parametrize(("pooling", "answers"), [("last", 1), ("last", 3), ("mean", 1)])
@pytest.mark.parametrize("kind", ["numbers", "ids"])
def test_logits_equal_numpy(pooling, answers, kind, float64, rng):
    model = classifier(rng, pooling=pooling, answers=answers)
    numbers = rng.normal(size=(STEPS, BATCH, FEATURES))
    xs = numbers if kind == "numbers" else rng.integers(0, FEATURES, (STEPS, BATCH)).astype(np.uint8)
    carries = jax.tree.map(lambda c: jnp.asarray(rng.normal(size=c.shape)), model.initial_carry(BATCH))
    logits, last = model(jnp.asarray(xs), carries)
    weights = to_reference(params_of(model))
    hs = unroll_vanilla(weights, xs, np.array(carries[0].h))
    read = hs.mean(axis=0)[None] if pooling == "mean" else hs[STEPS - answers :]
    assert logits.shape == (answers, BATCH, CLASSES)
    np.testing.assert_allclose(logits, read @ weights["W_y"] + weights["b_y"], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(last[0].h, hs[-1], rtol=1e-10)


def test_as_many_answers_as_steps_are_those_of_the_steps_of_shorter_sequences_too(float64, rng):
    model = classifier(rng, answers=STEPS)
    xs, lengths = rng.normal(size=(STEPS, BATCH, FEATURES)), np.array([2, STEPS])
    logits, _ = model(jnp.asarray(xs), model.initial_carry(BATCH), lengths=jnp.asarray(lengths))
    weights = to_reference(params_of(model))
    hs = unroll_vanilla(weights, xs, np.zeros((BATCH, HIDDEN)))
    for row, length in enumerate(lengths):
        expected = hs[:length, row] @ weights["W_y"] + weights["b_y"]
        np.testing.assert_allclose(logits[:length, row], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_gradients(pooling, float64, rng):
    model = classifier(rng, pooling=pooling, learned_initial_carry=True)
    graphdef, params = nnx.split(model)[0], params_of(model)
    xs = jnp.asarray(rng.normal(size=(STEPS, BATCH, FEATURES)))

    def loss(params):
        model = model_with(graphdef, params)
        return weighted_sum(model(xs, model.initial_carry(BATCH), engine="scan")[0])

    compiled = jax.jit(loss)
    check_grads(compiled, (params,), order=1)
    learned = jax.grad(compiled)(params)["stack"]["first_carry"]
    assert all((np.asarray(g) != 0).all() for g in jax.tree.leaves(learned))


def test_the_last_step_alone_reads_the_output_weights(float64, rng):
    """dL/dW_y needs the last step only, dL/dW_h every one: D's distinction."""
    model = classifier(rng)
    xs = jnp.asarray(rng.normal(size=(STEPS, BATCH, FEATURES)))
    h, _ = model.stack(xs, model.initial_carry(BATCH))
    graphdef, params = nnx.split(model)[0], params_of(model)
    gradient = jax.grad(lambda p: model_with(graphdef, p)(xs, model.initial_carry(BATCH))[0].sum())(params)
    expected = np.repeat(np.asarray(h[-1]).sum(axis=0)[:, None], CLASSES, axis=1)
    np.testing.assert_allclose(gradient["W_y"], expected, rtol=1e-12)


def test_dropout_and_the_backward_limit_reach_the_stack(float64, rng):
    model = classifier(rng, layers=2)
    graphdef, params = nnx.split(model)[0], params_of(model)
    xs = jnp.asarray(rng.normal(size=(STEPS, BATCH, FEATURES)))

    @quick_jit
    def gradient(rates, limit):
        def loss(params):
            model, dropout = model_with(graphdef, params), Dropout(rates, jax.random.key(0), jnp.arange(BATCH))
            return (100 * model(xs, model.initial_carry(BATCH), dropout=dropout, clip_backward=limit)[0]).sum()

        return jax.grad(loss)(params)["stack"]["layers"][0]["W_h"]

    none, wide = DropoutRates(*(jnp.asarray(0.0) for _ in DropoutRates._fields)), jnp.asarray(1e6)
    plain = np.asarray(gradient(none, wide))
    for site in DropoutRates._fields:
        dropped = np.asarray(gradient(none._replace(**{site: jnp.asarray(0.5)}), wide))
        assert np.isfinite(dropped).all() and np.abs(dropped - plain).max() > 1e-3, site
    assert np.abs(gradient(none, jnp.asarray(1e-3))).max() < 0.1 * np.abs(plain).max()


def test_the_parameters_are_named_as_those_of_the_language_model(float64, rng):
    assert set(params_of(classifier(rng))) == {"stack", "W_y", "b_y"}


def test_what_cannot_be_is_refused(rng):
    with pytest.raises(ValueError, match="pooling out of last, mean; got 'max'"):
        SequenceClassifier(3, 4, 5, pooling="max", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="expects 1 answer"):
        SequenceClassifier(3, 4, 5, pooling="mean", answers=2, rngs=nnx.Rngs(0))
    model = SequenceClassifier(3, 4, 5, answers=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="at least 4 steps, one an answer; got 3"):
        model(jnp.zeros((3, 2), jnp.uint8), model.initial_carry(2))
