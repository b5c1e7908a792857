"""Training against the reports' loop in NumPy, and what a chunk of updates promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrnn.data.corpus import load_corpus
from jaxrnn.engines.platforms import PLATFORMS, tracing_for
from jaxrnn.inspect.gradient_check import vanilla_loss_and_gradients
from jaxrnn.models.structure import params_of
from jaxrnn.optim.settings import OptimizerSettings
from jaxrnn.tasks.protocol import Score
from jaxrnn.training.batch_loss import all_finite
from jaxrnn.training.chunk import MAX_CHUNK_UPDATES
from jaxrnn.training.step import MAX_BAD_IN_A_ROW, SMOOTHING
from jaxrnn.training.validation import with_score
from tests.reference.book_loop import BookLoop, window_loss_and_gradients
from tests.reference.small_model import from_reference, random_model, to_reference
from tests.reference.training import Trainer, advance_chunk, shared_chunk
from tests.trees import assert_trees_close, assert_trees_equal, leaves_by_path

HIDDEN, T = 100, 25  # the book recipe
SMALL = {"bptt_length": 4}
PLAIN_SGD = OptimizerSettings("sgd", clips_value=False)


# ---- against the NumPy loop, in the size of the recipe ----


@functools.cache
def book():
    """Ids of a real text, and starting values that both sides share."""
    corpus = load_corpus("python-reference")
    K, draw = len(corpus.vocabulary), np.random.default_rng(0)
    start = {
        "W_x": 0.01 * draw.normal(size=(K, HIDDEN)),
        "W_h": 0.01 * draw.normal(size=(HIDDEN, HIDDEN)),
        "b": 0.01 * draw.normal(size=HIDDEN),
        "W_y": 0.01 * draw.normal(size=(HIDDEN, K)),
        "b_y": 0.01 * draw.normal(size=K),
    }
    return corpus.ids, start


@functools.cache
def book_trainer(engine, dtype="float64"):
    ids, start = book()
    with jax.enable_x64(dtype == "float64"):
        model = random_model(len(start["b_y"]), HIDDEN, np.random.default_rng(0), dtype=jnp.dtype(dtype))
        return Trainer(model, ids, bptt_length=T, engine=engine)


def book_state(trainer, params, learning_rate, **changes):
    rate = jnp.asarray(learning_rate, trainer.dtype)
    state = trainer.state(**changes)
    return state._replace(
        params=from_reference(params, state.params),
        values=state.values._replace(hyperparameters=state.values.hyperparameters._replace(learning_rate=rate)),
    )


def assert_agrees(state, results, loop, expected, tolerance):
    """Losses, smoothed losses, parameters, accumulators and carry, relative to each array's largest entry."""
    np.testing.assert_allclose(results, expected, rtol=tolerance)
    accumulators = optax.tree_utils.tree_get(state.optimizer_state, "sum_of_squares")
    assert_trees_close(to_reference(state.params), loop.params, rtol=tolerance)
    assert_trees_close(to_reference(accumulators), loop.memory, rtol=tolerance)
    np.testing.assert_allclose(state.carry[0].h, loop.h, rtol=0, atol=tolerance)


def test_the_numpy_loop_follows_the_chain_rule_of_the_library(rng):
    """Two hand-written backward passes that share no line."""
    params = {name: rng.normal(size=value.shape) for name, value in book()[1].items()}
    inputs, targets, h = rng.integers(0, 100, T), rng.integers(0, 100, T), rng.normal(size=HIDDEN)
    loss, gradients, last = window_loss_and_gradients(params, inputs, targets, h, np.zeros(T, bool))
    expected_loss, expected, expected_last = vanilla_loss_and_gradients(params, inputs, targets, h)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
    np.testing.assert_allclose(last, expected_last, rtol=1e-12)
    assert_trees_close(gradients, {name: expected[name] for name in gradients}, rtol=1e-12)


@functools.cache
def numpy_run(learning_rate, updates):
    ids, start = book()
    loop = BookLoop(start, ids, bptt_length=T, learning_rate=learning_rate)
    return loop, loop.advance(updates)


@pytest.mark.parametrize("engine", ["scan", "hoisted"])
@pytest.mark.parametrize(("rate", "updates", "tolerance"), [(0.1, 5, 1e-8), (0.01, 1000, 1e-9)])
def test_training_equals_the_numpy_loop_from_the_start(rate, updates, tolerance, engine, float64):
    loop, expected = numpy_run(rate, updates)
    trainer = book_trainer(engine)
    state, *results = trainer.advance(book_state(trainer, book()[1], rate), updates)
    assert_agrees(state, results, loop, expected, tolerance)


@functools.cache
def numpy_after_three_thousand():
    """State of the NumPy loop after 3,000 updates at rate 0.1, and its results of 900 more.

    Of a thousand more the last 24 say nothing at 1e-9: the loop itself, gone on from parameters that differ in their
    last bit, is 1.5e-8 away from itself there, and 3e-13 before.
    """
    ids, start = book()
    loop = BookLoop(start, ids, bptt_length=T, learning_rate=0.1)
    loop.advance(3000)
    middle = {name: value.copy() for name, value in loop.params.items()}
    memory = {name: value.copy() for name, value in loop.memory.items()}
    return (middle, memory, loop.h.copy(), loop.smooth), loop, loop.advance(900)


@pytest.mark.parametrize("engine", ["scan", "hoisted"])
def test_training_equals_the_numpy_loop_from_its_state_after_3000_updates(engine, float64):
    (params, memory, h, smooth), loop, expected = numpy_after_three_thousand()
    trainer = book_trainer(engine)
    state = book_state(
        trainer,
        params,
        0.1,
        update=jnp.asarray(3000, jnp.int32),
        window=jnp.asarray(3000, jnp.int32),
        smooth_loss=jnp.asarray(smooth),
    )
    accumulators = from_reference(memory, state.params)
    state = state._replace(
        optimizer_state=optax.tree_utils.tree_set(state.optimizer_state, sum_of_squares=accumulators),
        carry=(state.carry[0]._replace(h=jnp.array(h)),),
    )
    state, *results = trainer.advance(state, 900)
    assert_agrees(state, results, loop, expected, 1e-9)
    assert int(state.update) == int(state.window) == 3900


# ---- small runs against the same loop: batches, epochs, documents ----


def small_ids(rng, length, symbols=6):
    return rng.integers(0, symbols, length).astype(np.uint8)


@pytest.mark.parametrize(("batch_size", "engine"), [(1, "hoisted"), (3, "scan"), (3, "hoisted")])
@pytest.mark.parametrize("document_end", [None, 2])
def test_streams_epochs_and_documents_equal_the_numpy_loop(batch_size, engine, document_end, float64, rng):
    """Ten windows an epoch and 25 updates: two epoch ends, leftovers, and many documents of a few symbols."""
    ids = small_ids(rng, 10 * 4 * batch_size + 1 + 3)
    model = random_model(6, 5, rng)
    trainer = Trainer(model, ids, batch_size, engine=engine, document_end=document_end, **SMALL)
    assert trainer.settings.objective.windows(trainer.streams) == 10
    loop = BookLoop(
        to_reference(params_of(model)),
        ids,
        bptt_length=4,
        learning_rate=0.1,
        batch_size=batch_size,
        document_end=document_end,
    )
    state, *results = trainer.advance(trainer.state(), 25)
    assert_agrees(state, results, loop, loop.advance(25), 1e-9)
    assert (int(state.update), int(state.epoch), int(state.window)) == (25, 2, 5)


def test_an_epoch_ends_with_a_zero_carry_at_the_first_window(rng):
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float32), small_ids(rng, 41), **SMALL)
    state, *_ = trainer.advance(trainer.state(), 9)
    assert state.carry[0].h.all() and (int(state.window), int(state.epoch)) == (9, 0)
    state, *_ = trainer.advance(state, 1)
    assert not state.carry[0].h.any() and (int(state.window), int(state.epoch)) == (0, 1)
    state, *_ = trainer.advance(state, 1)
    assert state.carry[0].h.all() and (int(state.window), int(state.epoch)) == (1, 1)


def test_each_document_starts_from_a_zero_carry(float64, rng):
    """Documents that fill a window each: as good as zeroing the carry by hand before each update."""
    body = rng.integers(1, 6, (12, 4)).astype(np.uint8)
    body[:, -1] = 0  # the end of a document
    ids = np.concatenate([body.ravel(), body[0, :1]])
    model = random_model(6, 5, rng)
    with_resets = Trainer(model, ids, document_end=0, **SMALL)
    by_hand = Trainer(model, ids, **SMALL)
    ours, losses, _ = with_resets.advance(with_resets.state(), 11)
    state, expected = by_hand.state(), []
    for _ in range(11):
        state = state._replace(carry=by_hand.model.initial_carry(1))
        state, loss, _ = by_hand.advance(state, 1)
        expected.append(loss[0])
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    assert_trees_close(ours.params, state.params, rtol=1e-12)
    plain, plain_losses, _ = by_hand.advance(by_hand.state(), 11)
    assert plain_losses[0] == pytest.approx(losses[0], rel=1e-12)
    assert (np.abs(plain_losses[1:] - losses[1:]) > 1e-6).all()  # else the resets would do nothing


def test_the_gradient_stops_at_the_windows_start(float64, rng):
    """The carry counts as a number: the second update follows the chain rule of its own window alone."""
    ids = small_ids(rng, 41)
    trainer = Trainer(random_model(6, 5, rng), ids, optimizer=PLAIN_SGD, learning_rate=1.0, **SMALL)
    after_one, *_ = trainer.advance(trainer.state(), 1)
    params, h = to_reference(after_one.params), np.array(after_one.carry[0].h)[0]
    after_two, *_ = trainer.advance(after_one, 1)
    moved = {name: params[name] - value for name, value in to_reference(after_two.params).items()}
    _, gradients, _ = vanilla_loss_and_gradients(params, ids[4:8], ids[5:9], h)
    assert_trees_close(moved, {name: gradients[name] for name in moved}, rtol=1e-10)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_reduction_scales_the_gradient_and_not_the_reported_loss(reduction, float64, rng):
    ids = small_ids(rng, 41)
    model = random_model(6, 5, rng)
    options = dict(optimizer=PLAIN_SGD, learning_rate=1.0, loss_reduction=reduction)
    trainer = Trainer(model, ids, **options, **SMALL)
    params = to_reference(params_of(model))
    loss, gradients, _ = vanilla_loss_and_gradients(params, ids[:4], ids[1:5], np.zeros(5))
    state, losses, _ = trainer.advance(trainer.state(), 1)
    np.testing.assert_allclose(losses, [loss / 4], rtol=1e-12)
    scale = 1 if reduction == "sum" else 1 / 4
    moved = {name: (params[name] - value) / scale for name, value in to_reference(state.params).items()}
    assert_trees_close(moved, {name: gradients[name] for name in moved}, rtol=1e-10)


def test_one_repeated_character_reaches_zero_nats(rng):
    ids = np.full(41, 3, np.uint8)
    trainer = Trainer(random_model(5, 5, rng, dtype=jnp.float32), ids, **SMALL)
    _, losses, _ = trainer.advance(trainer.state(), 400)
    assert losses[0] > 1 and losses[-1] < 1e-2
    alone = Trainer(random_model(1, 5, rng, dtype=jnp.float32), np.zeros(41, np.uint8), **SMALL)
    state, losses, smooths = alone.advance(alone.state(), 60)
    assert not losses.any() and not smooths.any()
    assert int(state.best_update) == 1  # strictly lowest: an equal loss later is no better


# ---- chunks ----


def train_in_parts(trainer, parts, state):
    losses = []
    for part in parts:
        state, loss, _ = trainer.advance(state, part)
        losses.append(loss)
    return state, np.concatenate(losses)


SPLITS = [(1, 7, 50, 2), (7,) * 8 + (4,), (59, 1), (1,) * 60]


@pytest.mark.parametrize(("engine", "dtype"), [("scan", "float64"), ("hoisted", "float64"), ("auto", "float32")])
def test_any_split_into_chunks_gives_equal_bits(engine, dtype):
    with jax.enable_x64(dtype == "float64"):
        trainer = book_trainer(engine, dtype)
        whole = train_in_parts(trainer, (60,), book_state(trainer, book()[1], 0.1))
        for split in SPLITS:
            assert_trees_equal(train_in_parts(trainer, split, book_state(trainer, book()[1], 0.1)), whole)


def test_any_split_gives_equal_bits_with_a_batch_over_epochs_and_documents(rng):
    ids = small_ids(rng, 10 * 4 * 3 + 2)
    trainer = Trainer(random_model(6, 5, rng, layers=2, dtype=jnp.float32), ids, 3, document_end=2, **SMALL)
    whole = train_in_parts(trainer, (60,), trainer.state())
    for split in SPLITS:
        assert_trees_equal(train_in_parts(trainer, split, trainer.state()), whole)


def test_a_second_call_does_not_compile_whatever_its_length(rng):
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float32), small_ids(rng, 41), **SMALL)
    state = trainer.state()
    state, *_ = trainer.advance(state, 1)
    compiled = trainer.chunk._cache_size()
    for updates in (1, 5, 17):
        state, *_ = trainer.advance(state, updates)
    assert trainer.chunk._cache_size() == compiled


def test_the_state_is_taken_over_and_the_new_one_shares_no_buffer(rng):
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float32), np.full(41, 3, np.uint8), **SMALL)
    old = trainer.state()
    new, *_ = trainer.advance(old, 3)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((old.params, old.optimizer_state, old.best_params)))
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((new.params, new.best_params))]
    assert len(set(pointers)) == len(pointers)
    assert int(new.best_update) == 3  # so that the best parameters are the current ones, as values
    assert_trees_equal(new.best_params, new.params)


def test_metrics_past_the_chunk_are_zero(rng):
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float32), small_ids(rng, 41), **SMALL)
    _, metrics = trainer.chunk(trainer.state(), trainer.streams, np.int32(3))
    for values in (metrics.loss, metrics.smooth_loss):
        assert values.shape == (MAX_CHUNK_UPDATES,)
        assert values[:3].all() and not values[3:].any()


def chunk_of_a_gpu(monkeypatch, trainer, **choices):
    """The training program with choices that a GPU has, compiled anew for a CPU."""
    monkeypatch.setitem(PLATFORMS, "cpu", PLATFORMS["cpu"]._replace(**choices))
    return shared_chunk.__wrapped__(trainer.graphdef, trainer.settings)


@pytest.mark.parametrize("largest_vector", [0, 1000])
def test_a_table_of_scalars_and_a_vector_of_parameters_change_neither_state_nor_metrics(
    largest_vector, rng, monkeypatch, float64
):
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float64), small_ids(rng, 41), norms=True, **SMALL)
    state, metrics = advance_chunk(trainer.graphdef, trainer.settings, trainer.state(), trainer.streams, 13)
    choices = {"counts_kernels": True, "largest_vector": largest_vector, "largest_gradient": largest_vector}
    packed = chunk_of_a_gpu(monkeypatch, trainer, **choices)
    actual = packed(trainer.state(), trainer.streams, np.int32(13))
    assert_trees_close(actual, (state, metrics), rtol=1e-12)


@pytest.mark.parametrize("largest_vector", [0, 1000])
def test_updates_past_the_end_of_a_look_change_neither_state_nor_metrics(largest_vector, rng, monkeypatch, float64):
    """Of two looks of eight updates three are past the end; a chunk goes on where another one ended."""
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float64), small_ids(rng, 41), **SMALL)
    expected = advance_chunk(trainer.graphdef, trainer.settings, trainer.state(), trainer.streams, 13)
    choices = {"updates_a_look": 8, "counts_kernels": True, "largest_vector": largest_vector}
    several = chunk_of_a_gpu(monkeypatch, trainer, **choices)
    found = several(trainer.state(), trainer.streams, np.int32(13))
    assert_trees_close(found, expected, rtol=1e-12)
    assert int(found[0].update) == 13 and not found[1].loss[13:].any()
    begun, first = several(trainer.state(), trainer.streams, np.int32(5))
    ended, second = several(begun, trainer.streams, np.int32(8))
    losses = np.concatenate([first.loss[:5], second.loss[:8]])
    assert_trees_equal((ended, losses), (found[0], np.asarray(found[1].loss[:13])))
    assert_trees_equal(several(ended, trainer.streams, np.int32(0))[0].params, found[0].params)


def test_a_run_that_diverges_between_two_looks_ends_at_that_update(rng, monkeypatch):
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float32), small_ids(rng, 41), **SMALL)
    state = trainer.state()
    state = state._replace(params=jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), state.params))
    several = chunk_of_a_gpu(monkeypatch, trainer, updates_a_look=8, counts_kernels=True)
    ended, metrics = several(state, trainer.streams, np.int32(100))
    assert int(ended.update) == MAX_BAD_IN_A_ROW and np.isnan(metrics.loss[:MAX_BAD_IN_A_ROW]).all()
    assert not metrics.loss[MAX_BAD_IN_A_ROW:].any()


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_one_number_that_is_not_finite_is_found(platform):
    with tracing_for(platform):
        for place in range(4):
            for number, expected in ((np.inf, False), (np.nan, False), (1e38, True)):
                numbers = np.ones(4, np.float32)
                numbers[place] = number
                tree = {"W": jnp.asarray(numbers[:3])[None, :], "b": jnp.asarray(numbers[3])}
                assert bool(all_finite(tree)) == expected


def test_no_update_changes_nothing(rng):
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float32), small_ids(rng, 41), **SMALL)
    state, *_ = trainer.advance(trainer.state(), 0)
    assert_trees_equal(state, trainer.state())


# ---- smoothed loss and best parameters ----


def test_the_smoothed_loss_follows_its_rule(float64, rng):
    trainer = Trainer(random_model(6, 5, rng), small_ids(rng, 41), **SMALL)
    state, losses, smooths = trainer.advance(trainer.state(), 30)
    expected = losses[0]
    for loss, smooth in zip(losses, smooths, strict=True):
        expected = expected if loss == losses[0] else 0.999 * expected + 0.001 * loss
        assert smooth == pytest.approx(expected, rel=1e-12)
    assert float(state.smooth_loss) == smooths[-1] and SMOOTHING == 0.999


def test_the_best_parameters_are_those_after_the_update_with_the_lowest_smoothed_loss(rng):
    """A text that is easy first and hard then, so that the best update is inside the run."""
    ids = np.concatenate([np.full(80, 3, np.uint8), small_ids(rng, 81)])
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float32, std=0.1), ids, **SMALL)
    whole, *_ = trainer.advance(trainer.state(), 40)
    state = trainer.state()
    best: tuple[float, int, dict] = (np.inf, 0, {})
    for update in range(1, 41):
        state, _, (smooth,) = trainer.advance(state, 1)
        if smooth < best[0]:
            best = (smooth, update, leaves_by_path(state.params))
    assert 10 < best[1] < 35
    assert (float(whole.best_smooth_loss), int(whole.best_update)) == best[:2]
    assert_trees_equal(leaves_by_path(whole.best_params), best[2])
    with pytest.raises(AssertionError):
        assert_trees_equal(whole.best_params, whole.params)


def test_from_the_first_validation_on_the_smoothed_loss_decides_nothing_even_after_a_nan(rng):
    ids = np.full(161, 3, np.uint8)  # so easy that the smoothed loss falls with every update
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float32, std=0.1), ids, **SMALL)

    def scored(state, loss):
        """Three updates on, with this score; what the state counts as the best, a single update later too."""
        state, *_ = trainer.advance(state, 3)
        state = with_score(state, Score(loss, 0.0, ""))
        best = (int(state.best_update), leaves_by_path(state.best_params))
        state, *_ = trainer.advance(state, 1)
        assert int(state.best_update) == best[0]
        assert_trees_equal(leaves_by_path(state.best_params), best[1])
        return state, best[0]

    state, found = trainer.state(), []
    for loss in (np.nan, 2.0, np.nan, 3.0, 1.0):
        state, best = scored(state, loss)
        found.append(best)
    # Scored after updates 3, 7, 11, 15 and 19; the smoothed loss of update 3 was the lowest when there was no score.
    assert found == [3, 7, 7, 7, 19]


# ---- updates that are not finite ----


def poisoned(rng, positions, windows=10):
    """Symbol 5 stands only where asked, and its row of W_x is not a number: windows that read it are not finite."""
    ids = small_ids(rng, 4 * windows + 1, symbols=5)
    ids[[4 * window + 1 for window in positions]] = 5
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float32), ids, **SMALL)
    trainer.model.stack.layers[0].W_x[...] = trainer.model.stack.layers[0].W_x[...].at[5].set(jnp.nan)
    return trainer


KEPT = ("params", "optimizer_state", "carry", "best_params", "best_smooth_loss", "best_update", "smooth_loss")


def test_an_update_that_is_not_finite_is_left_out(rng):
    trainer = poisoned(rng, [3, 4])
    state, *_ = trainer.advance(trainer.state(), 3)
    before = {name: leaves_by_path(getattr(state, name)) for name in KEPT}
    assert before["carry"]["[0].h"].all() and int(state.skipped) == 0
    state, losses, _ = trainer.advance(state, 2)
    assert np.isnan(losses).all()
    assert_trees_equal({name: leaves_by_path(getattr(state, name)) for name in KEPT}, before)
    assert (int(state.update), int(state.window)) == (5, 5)
    assert (int(state.skipped), int(state.bad_in_a_row)) == (2, 2)
    state, losses, smooths = trainer.advance(state, 1)
    assert np.isfinite(losses).all() and (int(state.skipped), int(state.bad_in_a_row)) == (2, 0)
    expected = 0.999 * before["smooth_loss"][""] + 0.001 * losses[0]
    assert smooths[0] == pytest.approx(expected, rel=1e-6)
    with pytest.raises(AssertionError):
        assert_trees_equal(leaves_by_path(state.params), before["params"])


def test_smoothing_starts_at_the_first_finite_loss(rng):
    trainer = poisoned(rng, [0, 1])
    state, *_ = trainer.advance(trainer.state(), 2)
    assert int(state.skipped) == 2 and int(state.best_update) == 0
    assert np.isinf(state.best_smooth_loss) and not state.carry[0].h.any()
    state, losses, smooths = trainer.advance(state, 1)
    assert smooths[0] == losses[0] == float(state.best_smooth_loss)
    assert int(state.best_update) == 3
    assert_trees_equal(state.best_params, state.params)


def test_an_epoch_that_ends_with_a_skipped_update_still_ends(rng):
    trainer = poisoned(rng, [9])
    state, losses, _ = trainer.advance(trainer.state(), 10)
    assert np.isnan(losses[9]) and np.isfinite(losses[:9]).all()
    assert (int(state.window), int(state.epoch)) == (0, 1) and not state.carry[0].h.any()


def test_a_gradient_that_is_not_finite_is_found_although_the_loss_is(rng):
    """Hidden unit 0 is always 0, so its huge output weights leave the logits alone, but dL/dh overflows."""
    trainer = Trainer(random_model(6, 5, rng, dtype=jnp.float32), np.full(41, 0, np.uint8), **SMALL)
    model, layer = trainer.model, trainer.model.stack.layers[0]
    model.W_y[...] = model.W_y[...].at[0].set(3e38).at[0, 0].set(-3e38)
    for weight in (layer.W_x, layer.W_h):
        weight[...] = weight[...].at[:, 0].set(0.0)
    layer.b[...] = layer.b[...].at[0].set(0.0)
    state, losses, _ = trainer.advance(trainer.state(), 1)
    assert np.isfinite(losses).all() and int(state.skipped) == 1
    assert_trees_equal(state.params, trainer.state().params)
