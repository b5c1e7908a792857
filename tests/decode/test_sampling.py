import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.decode.sampling import CHUNK, noise_scales, sample_ids
from jaxrnn.errors import ConfigurationError, NumericError
from jaxrnn.models.structure import params_of
from tests.reference.small_model import from_reference, random_model, to_reference
from tests.reference.training import Trainer
from tests.trees import assert_trees_equal

SYMBOLS, HIDDEN = 6, 5


@functools.cache
def trained():
    """Structure and parameters of one model, shared so that sampling is compiled once."""
    model = random_model(SYMBOLS, HIDDEN, np.random.default_rng(4), dtype=jnp.float32, std=1.0)
    return nnx.split(model)[0], params_of(model)


def sample(length, seed=0, params=None, **options):
    graphdef, own = trained()
    parts = list(sample_ids(graphdef, params or own, length=length, key=jax.random.key(seed), **options))
    assert all(part.dtype == np.int32 and 0 < len(part) <= CHUNK for part in parts)
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def greedy(weights, prime, length, document_end=None):
    """Reads the prime, then takes the most probable symbol again and again."""
    h, ids = np.zeros(HIDDEN), list(prime)
    for i in range(len(prime) + length - 1):
        if i > 0 and ids[i - 1] == document_end:
            h = np.zeros(HIDDEN)
        h = np.tanh(weights["W_x"][ids[i]] + h @ weights["W_h"] + weights["b"])
        if i + 1 >= len(prime):
            ids.append(int((h @ weights["W_y"] + weights["b_y"]).argmax()))
    return ids[len(prime) :]


@pytest.mark.parametrize("prime", [[2], [0, 5, 3, 1, 4, 4, 2]])
@pytest.mark.parametrize("document_end", [None, 4])
def test_greedy_equals_a_loop_of_argmax(prime, document_end):
    ids = sample(60, temperature=0, prime=np.array(prime, np.uint8), document_end=document_end)
    assert ids.tolist() == greedy(to_reference(trained()[1]), prime, 60, document_end)


def test_a_document_that_ends_while_sampling_zeroes_the_carry_as_training_does():
    """The end is read with the carry of its document; the symbol after it starts from zero."""
    weights = to_reference(trained()[1])
    plain = greedy(weights, [2], 60)
    end = plain[1]  # a symbol that is sure to come
    ids = sample(60, temperature=0, prime=np.array([2]), document_end=end).tolist()
    after = plain.index(end) + 1
    assert ids[: after + 1] == plain[: after + 1]
    assert ids == greedy(weights, [2], 60, end) != plain


def test_ties_go_to_the_lowest_id_at_temperature_zero():
    weights = to_reference(trained()[1])
    weights |= {"W_y": np.zeros_like(weights["W_y"]), "b_y": np.array([0, 1, 0, 1, 1, 0], np.float32)}
    params = from_reference(weights, trained()[1])
    assert set(sample(50, params=params, temperature=0).tolist()) == {1}


def without_memory(logits):
    """A model whose next symbol is drawn from the same distribution always."""
    weights = {name: np.zeros_like(value) for name, value in to_reference(trained()[1]).items()}
    return from_reference({**weights, "b_y": np.asarray(logits, np.float32)}, trained()[1])


LOGITS = np.array([0.5, -1.0, 2.0, 0.0, 1.0, -0.3])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1, 3.0, math.inf])
def test_symbols_follow_the_softmax_of_logits_over_temperature(temperature):
    n = 20 * CHUNK
    counts = np.bincount(sample(n, seed=3, params=without_memory(LOGITS), temperature=temperature), minlength=SYMBOLS)
    scaled = LOGITS / temperature
    expected = n * np.exp(scaled) / np.exp(scaled).sum()
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 20.5  # 5 degrees of freedom: exceeded once in 1,000 seeds


def test_the_entropy_of_samples_grows_with_the_temperature():
    """Report D's temperatures: a high one is more random, 0 is greedy and ends in a cycle."""

    def entropy(temperature):
        """Of pairs of symbols, in nats."""
        ids = sample(6000, seed=5, temperature=temperature)
        counts = np.bincount(ids[:-1] * SYMBOLS + ids[1:]) / (len(ids) - 1)
        return -(counts[counts > 0] * np.log(counts[counts > 0])).sum()

    greedy_text, cold, own, hot = (entropy(temperature) for temperature in (0, 0.5, 1.0, 2.0))
    assert greedy_text < cold - 0.1 and cold < own - 0.1 and own < hot - 0.1
    assert hot < 2 * np.log(SYMBOLS)


@pytest.mark.parametrize(("temperature", "symbols"), [(1e-30, {2}), (5e-324, {2}), (1e30, set(range(6)))])
def test_extreme_temperatures_neither_overflow_nor_divide_by_zero(temperature, symbols):
    assert set(sample(300, params=without_memory(LOGITS), temperature=temperature).tolist()) == symbols


def test_huge_logits_are_no_trouble_at_any_temperature():
    params = without_memory([1e38, -1e38, 3e38, 0, 1, 2])
    for temperature in (0, 1e-30, 1.0, 100.0):
        assert set(sample(50, params=params, temperature=temperature).tolist()) == {2}
    assert len(set(sample(300, params=params, temperature=math.inf).tolist())) == SYMBOLS


def test_priming_equals_having_written_the_prime():
    """Greedy text continues in the same way from any of its own prefixes."""
    start = np.array([3])
    ids = sample(40, temperature=0, prime=start)
    for cut in (1, 17):
        rest = sample(40 - cut, temperature=0, prime=np.concatenate([start, ids[:cut]]))
        assert rest.tolist() == ids[cut:].tolist()


@pytest.mark.parametrize("prime_length", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_a_prime_longer_than_a_chunk_is_read_whole(prime_length):
    prime = np.random.default_rng(prime_length).integers(0, SYMBOLS, prime_length)
    ids = sample(20, temperature=0, prime=prime)
    assert ids.tolist() == greedy(to_reference(trained()[1]), prime.tolist(), 20)


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_the_length_counts_generated_symbols(length):
    for prime in (None, np.array([], np.uint8), np.array([1, 2, 3])):
        assert len(sample(length, prime=prime)) == length


def test_a_longer_sample_begins_with_the_shorter():
    long = sample(2 * CHUNK + 5)
    assert sample(CHUNK + 100).tolist() == long[: CHUNK + 100].tolist()


def test_the_same_key_gives_the_same_ids_and_another_gives_others():
    assert sample(200, seed=1).tolist() == sample(200, seed=1).tolist() != sample(200, seed=2).tolist()


def test_chunks_draw_different_noise():
    ids = sample(2 * CHUNK, params=without_memory(LOGITS))
    assert ids[:CHUNK].tolist() != ids[CHUNK:].tolist()


def test_without_a_prime_the_first_symbol_is_random():
    weights = {name: np.zeros_like(value) for name, value in to_reference(trained()[1]).items()}
    copying = {**weights, "W_x": np.eye(SYMBOLS, HIDDEN, dtype=np.float32), "W_y": np.eye(HIDDEN, SYMBOLS) * 9}
    copying["b_y"] = np.array([0, 0, 0, 0, 0, 1], np.float32)  # greedy repeats the first input for ever
    copying = {name: np.asarray(value, np.float32) for name, value in copying.items()}
    params = from_reference(copying, trained()[1])
    firsts = {int(sample(1, seed=seed, params=params, temperature=0)[0]) for seed in range(40)}
    assert firsts == set(range(SYMBOLS))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_parameters_that_are_not_finite_are_refused_by_name(bad):
    weights = to_reference(trained()[1])
    weights["W_h"][2, 3] = bad
    with pytest.raises(NumericError, match=r"stack\.layers\.0\.W_h of the model is not finite"):
        sample(3, params=from_reference(weights, trained()[1]))


@pytest.mark.parametrize("temperature", [-1, -1e-9, math.nan, -math.inf, "1", None, True])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ConfigurationError, match="--temperature expects a number of at least 0"):
        noise_scales(temperature)


@pytest.mark.parametrize("length", [-1, 2.0, "3", True])
def test_a_length_that_is_none_is_refused(length):
    with pytest.raises(ConfigurationError, match="--length expects a whole number of at least 0"):
        sample(length)


def test_sampling_never_changes_training(rng):
    model = random_model(SYMBOLS, HIDDEN, rng, dtype=jnp.float32)
    trainer = Trainer(model, rng.integers(0, SYMBOLS, 41).astype(np.uint8), bptt_length=4)
    undisturbed, *_ = trainer.advance(trainer.state(), 12)
    state = trainer.state()
    for _ in range(3):
        state, *_ = trainer.advance(state, 4)
        key = jax.random.fold_in(state.seed, state.update)
        list(sample_ids(trainer.graphdef, state.params, length=20, key=key))
    assert_trees_equal(state, undisturbed)
