import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache

from jaxrnn.data.corpus import load_corpus
from jaxrnn.decode.sampling import sample_ids
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.loss import loss_nats
from jaxrnn.models.structure import model_with, params_of
from jaxrnn.optim.settings import OptimizerSettings
from jaxrnn.scoring.evaluation import evaluate_ids
from tests.reference.random_cell import quick_jit
from tests.reference.small_model import random_model, to_reference
from tests.reference.stack_loop import random_values
from tests.reference.training import Trainer
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


def test_forward_mode_is_there_with_an_engine_that_has_it(float64, rng):
    """The tangents, against the slope of the logits; the others say that they have a gradient of their own."""
    model = random_model(SYMBOLS, HIDDEN, rng)
    ids, carries = jnp.asarray(rng.integers(0, SYMBOLS, (STEPS, 2))), random_carries(model, 2, rng)
    params = params_of(model)
    moves = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), params)

    def logits(step, engine="scan"):
        moved = model_with(nnx.graphdef(model), jax.tree.map(lambda p, move: p + step * move, params, moves))
        return moved(ids, carries, engine=engine)[0]

    tangents = jax.jvp(logits, (0.0,), (1.0,))[1]
    np.testing.assert_allclose(tangents, (logits(1e-6) - logits(-1e-6)) / 2e-6, rtol=1e-6, atol=1e-8)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda step: logits(step, "hoisted"), (0.0,), (1.0,))


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


def test_a_leak_is_for_training_alone(rng):
    """The update goes through the gate's leak; models that score or write have none (Neil et al., 2016)."""

    def made(leak):
        options = {"leak": leak}
        model = LanguageModel(SYMBOLS, HIDDEN, cell="temporal-gate-lstm", cell_options=options, rngs=nnx.Rngs(0))
        return random_values(model, np.random.default_rng(3))

    leaky, tight = made(0.5), made(0.0)
    ids = rng.integers(0, SYMBOLS, 41)
    graphdef, params = nnx.split(leaky)[0], params_of(leaky)

    @quick_jit
    def loss(model):
        logits, _ = model(jnp.asarray(ids[:-1, None]), model.initial_carry(1))
        return loss_nats(logits, ids[1:, None]).mean()

    trainer = Trainer(leaky, ids, bptt_length=40)
    _, losses, _ = trainer.advance(trainer.state(), 1)
    without = float(loss(tight))
    assert losses[0] == pytest.approx(float(loss(leaky)), rel=1e-5) and abs(losses[0] - without) > 1e-3
    assert float(loss(model_with(graphdef, params))) == without
    assert evaluate_ids(graphdef, params, ids).loss_nats == pytest.approx(without, rel=1e-5)
    texts = [
        np.concatenate(list(sample_ids(nnx.split(model)[0], params, length=60, key=jax.random.key(1))))
        for model in (leaky, tight)
    ]
    np.testing.assert_array_equal(texts[0], texts[1])


@pytest.mark.parametrize("cell", ["lstm", "temporal-gate-lstm"])
def test_the_structure_changes_for_scores_only_where_a_cell_scores_otherwise(cell):
    model = LanguageModel(SYMBOLS, HIDDEN, cell=cell, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(model)[0], params_of(model)
    scoring = [nnx.split(model_with(graphdef, params))[0] for _ in range(2)]
    assert scoring[0] == scoring[1] and hash(scoring[0]) == hash(scoring[1])
    assert (scoring[0] == graphdef) == (cell == "lstm")
    assert nnx.split(model)[0] == graphdef


# ---- embeddings ----


def model_of(rng, **options):
    options = {"cell": "lstm", "layers": 2, "param_dtype": jnp.float64, **options}
    return random_values(LanguageModel(SYMBOLS, HIDDEN, rngs=nnx.Rngs(0), **options), rng)


def loss_and_gradients(model, params, ids, carries):
    def loss(params):
        logits, _ = model_with(nnx.split(model)[0], params)(ids[:-1], carries)
        return loss_nats(logits, ids[1:]).sum()

    return quick_jit(jax.value_and_grad(loss))(params)


def test_a_tied_embedding_has_the_gradients_of_both_its_uses(float64, rng):
    tied = model_of(rng, embedding=HIDDEN, tie_embedding=True)
    free = model_of(rng, embedding=HIDDEN)
    assert tied.W_y is None
    params = params_of(tied)
    ids, carries = jnp.asarray(rng.integers(0, SYMBOLS, (STEPS, 3))), random_carries(tied, 3, rng)
    loss, gradients = loss_and_gradients(tied, params, ids, carries)
    apart = {**params, "W_y": params["embedding"].T}
    free_loss, free_gradients = loss_and_gradients(free, apart, ids, carries)
    both = free_gradients["embedding"] + free_gradients.pop("W_y").T
    assert np.abs(np.asarray(both - free_gradients["embedding"])).max() > 1e-3
    assert_trees_close((loss, gradients), (free_loss, {**free_gradients, "embedding": both}), rtol=1e-10)


def test_a_tied_embedding_of_another_size_is_refused():
    with pytest.raises(ValueError, match="a tied embedding needs 5 features, those of the output; got 4"):
        LanguageModel(SYMBOLS, HIDDEN, embedding=4, tie_embedding=True, rngs=nnx.Rngs(0))


def test_a_dense_embedding_is_one_hot_input_to_the_product_of_both_matrices(float64, rng):
    dense, one_hot = model_of(rng, embedding=3), model_of(rng)
    params = params_of(dense)
    E, W_x = params["embedding"], params["stack"]["layers"][0]["W_x"]
    layers = {**params["stack"]["layers"], 0: {**params["stack"]["layers"][0], "W_x": E @ W_x}}
    as_one_hot = {name: value for name, value in params.items() if name != "embedding"}
    as_one_hot["stack"] = {**params["stack"], "layers": layers}
    ids, carries = jnp.asarray(rng.integers(0, SYMBOLS, (STEPS, 3))), random_carries(dense, 3, rng)
    loss, gradients = loss_and_gradients(dense, params, ids, carries)
    expected_loss, expected = loss_and_gradients(one_hot, as_one_hot, ids, carries)
    product = expected["stack"]["layers"][0]["W_x"]
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
    np.testing.assert_allclose(gradients["embedding"], product @ W_x.T, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gradients["stack"]["layers"][0]["W_x"], E.T @ product, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gradients["W_y"], expected["W_y"], rtol=1e-10)


# ---- what one update sees of the text: two layers, dense embedding ----

PLAIN_SGD = OptimizerSettings("sgd", clips_value=False)


@pytest.mark.parametrize("engine", ["scan", "hoisted"])
def test_a_later_windows_loss_has_no_gradient_to_an_earlier_windows_input(engine, rng):
    """Symbols 0 and 1 stand in the first window only. The second one's update must not move their embedding."""
    model = model_of(rng, embedding=HIDDEN, skip_connections=True, param_dtype=jnp.float32)
    ids = np.concatenate([[0, 1, 2, 3], rng.integers(2, SYMBOLS, 9)])
    other_past = np.concatenate([[1, 0], ids[2:]])
    trainer = Trainer(model, ids, bptt_length=4, optimizer=PLAIN_SGD, engine=engine)
    first = trainer.advance(trainer.state(), 1)[0]
    before = np.array(first.params["embedding"])
    assert (before != np.asarray(model.embedding[...]))[:2].any(axis=1).all()
    second = trainer.advance(first, 1)[0]
    moved = (np.asarray(second.params["embedding"]) != before).any(axis=1)
    assert not moved[:2].any() and moved[np.unique(ids[4:8])].all()
    # The loss of the second window does depend on those symbols, by the carry.
    run = quick_jit(model)
    carries = [run(jnp.asarray(text[:4, None]), model.initial_carry(1))[1] for text in (ids, other_past)]
    logits = [run(jnp.asarray(ids[4:8, None]), carry)[0] for carry in carries]
    assert (np.asarray(logits[0]) != np.asarray(logits[1])).any()


def test_a_learned_start_is_moved_by_an_epochs_and_a_documents_start_and_by_nothing_else(rng):
    model = model_of(rng, learned_initial_carry=True, param_dtype=jnp.float32)
    end = SYMBOLS - 1
    ids = rng.integers(0, end, 4 * 4 + 1)
    ids[8 + 1] = end  # inside the third window of four
    settings = {"bptt_length": 4, "optimizer": PLAIN_SGD, "document_end": end, "learned_initial_carry": True}
    trainer = Trainer(model, ids, **settings)
    state, moved = trainer.state(), []
    for _ in range(6):
        before = jax.tree.map(np.array, state.params["stack"]["first_carry"])
        state = trainer.advance(state, 1)[0]
        after = jax.tree.map(np.array, state.params["stack"]["first_carry"])
        changed = jax.tree.leaves(jax.tree.map(lambda new, old: bool((new != old).any()), after, before))
        assert len(changed) == 4 and len(set(changed)) == 1
        moved.append(changed[0])
    assert moved == [True, False, True, False, True, False]
    assert trainer.chunk._cache_size() == 1


@pytest.fixture
def nothing_kept():
    """No program is read from the disk, where the session keeps them."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", before)
    compilation_cache.reset_cache()


@pytest.mark.slow
def test_three_layers_compile_in_at_most_half_as_much_more_time_than_one(nothing_kept):
    def seconds(layers):  # of processor time, whatever else the machine does
        options = {"cell": "lstm", "layers": layers}
        model = LanguageModel(83, 128, rngs=nnx.Rngs(0), **options)
        trainer = Trainer(model, np.arange(100 * 101) % 83, 100, bptt_length=100)
        state, streams = trainer.state(), jnp.asarray(trainer.streams)
        jax.clear_caches()
        begun = time.process_time()
        trainer.chunk.lower(state, streams, np.int32(1)).compile()
        return time.process_time() - begun

    seconds(1)
    by_layers = {layers: min(seconds(layers) for _ in range(3)) for layers in (1, 3)}
    print(by_layers)
    assert by_layers[3] <= 1.5 * by_layers[1], by_layers
