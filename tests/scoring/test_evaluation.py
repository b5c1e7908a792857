import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.errors import DataError
from jaxrnn.models.structure import params_of
from jaxrnn.scoring.evaluation import EVALUATION_STEPS, Evaluation, evaluate_ids, evaluate_pieces, lost_pieces
from tests.reference.small_model import random_model, to_reference

SYMBOLS, HIDDEN = 6, 5


def score(weights, ids, document_end=None):
    """Loss and hit of each symbol but the first, read one after the other from a zero carry."""
    h = np.zeros(HIDDEN)
    losses, hits = [], []
    for i, (symbol, target) in enumerate(zip(ids[:-1], ids[1:], strict=True)):
        if i > 0 and ids[i - 1] == document_end:
            h = np.zeros(HIDDEN)
        h = np.tanh(weights["W_x"][symbol] + h @ weights["W_h"] + weights["b"])
        logits = h @ weights["W_y"] + weights["b_y"]
        losses.append(np.log(np.exp(logits).sum()) - logits[target])
        hits.append(logits.argmax() == target)
    return losses, hits


def assert_scores(scores, losses, hits):
    assert scores.characters == len(losses)
    assert scores.loss_nats == pytest.approx(np.mean(losses), rel=1e-12)
    assert scores.accuracy == np.mean(hits)
    assert scores.bits_per_char == pytest.approx(np.mean(losses) / math.log(2), rel=1e-12)
    assert scores.perplexity == pytest.approx(math.exp(np.mean(losses)), rel=1e-12)


E = EVALUATION_STEPS


@pytest.mark.parametrize("document_end", [None, 3])
@pytest.mark.parametrize("characters", [2, 3, E, E + 1, E + 2, 2 * E + 1, 2 * E + 90])
def test_each_symbol_but_the_first_is_scored_once(characters, document_end, float64, rng):
    model = random_model(SYMBOLS, HIDDEN, rng)
    ids = rng.integers(0, SYMBOLS, characters).astype(np.uint8)
    if characters > E:
        ids[E - 1] = 3  # a document starts with a window
    scores = evaluate_ids(nnx.split(model)[0], params_of(model), ids, document_end=document_end)
    assert_scores(scores, *score(to_reference(params_of(model)), ids, document_end))


@pytest.mark.parametrize("document_end", [None, 3])
def test_a_stream_reads_a_window_before_its_own_text_and_is_not_scored_on_it(document_end, float64, rng):
    model = random_model(SYMBOLS, HIDDEN, rng)
    own = 40
    ids = rng.integers(0, SYMBOLS, E + 3 * own - 1).astype(np.uint8)  # the last stream lacks two
    ids[E + own - 1] = 3
    scores = evaluate_ids(nnx.split(model)[0], params_of(model), ids, batch_size=3, document_end=document_end)
    weights = to_reference(params_of(model))
    parts = [score(weights, ids[: E + own + 1], document_end)]
    for start in (own, 2 * own):
        losses, hits = score(weights, ids[start : start + E + own + 1], document_end)
        parts.append((losses[E:], hits[E:]))
    assert_scores(scores, *(np.concatenate(kind) for kind in zip(*parts, strict=True)))
    assert scores.characters == len(ids) - 1


@pytest.mark.parametrize("document_end", [None, 3])
@pytest.mark.parametrize(
    ("characters", "starts"), [(2, [0]), (E + 1, [0]), (2 * E, [0]), (3 * E + 6, [0, E + 2, 2 * E + 5])]
)
def test_pieces_are_evenly_spaced_and_each_begins_afresh(characters, starts, document_end, float64, rng):
    model = random_model(SYMBOLS, HIDDEN, rng)
    ids = rng.integers(0, SYMBOLS, characters).astype(np.uint8)
    scores = evaluate_pieces(nnx.split(model)[0], params_of(model), ids, document_end=document_end)
    parts = [score(to_reference(params_of(model)), ids[start : start + E + 1], document_end) for start in starts]
    assert_scores(scores, *(np.concatenate(kind) for kind in zip(*parts, strict=True)))
    losses = sorted(np.mean(of) for of, _ in parts)
    for chance in (losses[0] - 1e-9, losses[0] + 1e-9, losses[-1] + 1e-9):
        lost = lost_pieces(nnx.split(model)[0], params_of(model), ids, chance, document_end=document_end)
        assert lost == (sum(loss > chance for loss in losses), len(starts))


def test_of_a_long_text_only_some_pieces_are_scored(rng):
    model = random_model(SYMBOLS, HIDDEN, rng, dtype=jnp.float32)
    assert evaluate_pieces(nnx.split(model)[0], params_of(model), np.zeros(40 * E, np.uint8)).characters == 32 * E


@pytest.mark.parametrize("characters", [2, 3, 4, 20])
def test_short_texts_are_scored_in_streams_too(characters, float64, rng):
    model = random_model(SYMBOLS, HIDDEN, rng)
    ids = rng.integers(0, SYMBOLS, characters).astype(np.uint8)
    scores = evaluate_ids(nnx.split(model)[0], params_of(model), ids, batch_size=8)
    assert scores.characters == characters - 1 and math.isfinite(scores.loss_nats)


def test_an_untrained_model_scores_ln_v_and_log2_v_bits(rng):
    model = random_model(SYMBOLS, HIDDEN, rng, dtype=jnp.float32, std=1e-9)
    ids = rng.integers(0, SYMBOLS, 400).astype(np.uint8)
    scores = evaluate_ids(nnx.split(model)[0], params_of(model), ids)
    assert scores.loss_nats == pytest.approx(math.log(SYMBOLS), rel=1e-5)
    assert scores.bits_per_char == pytest.approx(math.log2(SYMBOLS), rel=1e-5)
    assert scores.perplexity == pytest.approx(SYMBOLS, rel=1e-5)


@pytest.mark.parametrize(("characters", "batch_size"), [(0, 1), (1, 1), (1, 3)])
def test_nothing_to_predict_is_refused(characters, batch_size, rng):
    model = random_model(SYMBOLS, HIDDEN, rng, dtype=jnp.float32)
    message = f"at least 2 characters, got {characters}"
    with pytest.raises(DataError, match=message):
        evaluate_ids(nnx.split(model)[0], params_of(model), np.zeros(characters, np.uint8), batch_size=batch_size)


def test_a_perplexity_too_large_is_infinite():
    assert Evaluation(1000.0, 0.0, 1).perplexity == math.inf
    assert Evaluation(2.0, 0.0, 1).perplexity == pytest.approx(math.exp(2))
