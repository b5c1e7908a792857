import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.data.corpus import load_corpus
from jaxrnn.language_model import LanguageModel
from jaxrnn.loss import loss_nats
from jaxrnn.train_state import model_with, params_of
from tests.reference.random_cell import quick_jit
from tests.reference.small_model import random_model, to_reference
from tests.reference.vanilla import unroll_vanilla
from tests.trees import assert_trees_close, assert_trees_equal

SYMBOLS, HIDDEN, STEPS = 7, 5, 8


def random_carries(model, batch_size, rng):
    return jax.tree.map(lambda c: jnp.asarray(rng.normal(size=c.shape)), model.initial_carry(batch_size))


def test_logits_equal_numpy(float64, rng):
    model = random_model(SYMBOLS, HIDDEN, rng)
    ids, carries = rng.integers(0, SYMBOLS, (STEPS, 3)).astype(np.uint8), random_carries(model, 3, rng)
    logits, new_carries = model(jnp.asarray(ids), carries)
    weights = to_reference(params_of(model))
    hs = unroll_vanilla(weights, ids, np.array(carries[0].h))
    np.testing.assert_allclose(logits, hs @ weights["W_y"] + weights["b_y"], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(new_carries[0].h, hs[-1], rtol=1e-10)


def test_split_window_equals_whole(float64, rng):
    model = random_model(SYMBOLS, HIDDEN, rng, layers=2)
    ids, carries = jnp.asarray(rng.integers(0, SYMBOLS, (STEPS, 3))), random_carries(model, 3, rng)
    run = quick_jit(model)
    whole = run(ids, carries)
    first, middle = run(ids[: STEPS // 2], carries)
    second, last = run(ids[STEPS // 2 :], middle)
    assert_trees_close((jnp.concatenate([first, second]), last), whole, rtol=1e-12)


def test_a_batch_equals_its_streams_one_by_one(float64, rng):
    model = random_model(SYMBOLS, HIDDEN, rng, layers=2)
    ids, carries = jnp.asarray(rng.integers(0, SYMBOLS, (STEPS, 3))), random_carries(model, 3, rng)
    run = quick_jit(model)
    logits, last = run(ids, carries)
    for b in range(3):
        own = slice(b, b + 1)
        alone = run(ids[:, own], jax.tree.map(lambda c, own=own: c[own], carries))
        assert_trees_close(alone, (logits[:, own], jax.tree.map(lambda c, own=own: c[own], last)), rtol=1e-12)


@pytest.mark.parametrize("engine", ["scan", "hoisted"])
def test_a_later_symbol_changes_no_earlier_logit(engine, float64, rng):
    model = random_model(SYMBOLS, HIDDEN, rng, layers=2)
    ids, carries = rng.integers(0, SYMBOLS, (STEPS, 2)), random_carries(model, 2, rng)
    others = ids.copy()
    others[5:] = (others[5:] + 1) % SYMBOLS
    run = quick_jit(lambda ids: model(ids, carries, engine=engine)[0])
    logits, other_logits = run(ids), run(others)
    assert_trees_equal(logits[:5], other_logits[:5])
    assert (np.asarray(logits[5:]) != np.asarray(other_logits[5:])).all()


@pytest.mark.parametrize("layers", [1, 2])
def test_an_untrained_model_costs_ln_v(layers, rng):
    model = LanguageModel(65, 100, layers=layers, rngs=nnx.Rngs(0))
    ids = jnp.asarray(rng.integers(0, 65, (26, 4)))
    logits, _ = model(ids[:-1], model.initial_carry(4))
    assert float(loss_nats(logits, ids[1:]).mean()) == pytest.approx(math.log(65), rel=0.05)


def test_the_first_loss_of_the_book_recipe_is_25_ln_k():
    corpus = load_corpus("python-reference")
    K = len(corpus.vocabulary)
    ids = jnp.asarray(corpus.ids[:26, None])
    for seed in range(3):
        model = LanguageModel(K, 100, kernel_init=jax.nn.initializers.normal(0.01), rngs=nnx.Rngs(seed))
        logits, _ = model(ids[:-1], model.initial_carry(1))
        assert float(loss_nats(logits, ids[1:]).sum()) == pytest.approx(25 * math.log(K), abs=1e-2)


def test_parameters_leave_the_model_and_come_back(rng):
    model = random_model(SYMBOLS, HIDDEN, rng, layers=2, dtype=jnp.float32)
    graphdef, params = nnx.split(model)[0], params_of(model)
    assert set(params) == {"stack", "W_y", "b_y"} and params["W_y"].shape == (HIDDEN, SYMBOLS)
    ids, carries = jnp.asarray(rng.integers(0, SYMBOLS, (STEPS, 2))), model.initial_carry(2)
    assert_trees_equal(model_with(graphdef, params)(ids, carries), model(ids, carries))
