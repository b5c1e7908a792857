"""The rules against probabilities and sets that NumPy makes by sorting, which the library never does."""

import itertools
from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.decode import Decoding, sample_ids, write_ids
from jaxrnn.decode.priming import read_windows
from jaxrnn.decode.sampling import CHUNK
from jaxrnn.decode.writing import _write_chunk
from jaxrnn.errors import ConfigurationError
from tests.decode.test_sampling import HIDDEN, LOGITS, SYMBOLS, trained, without_memory
from tests.reference.small_model import to_reference

TEXTS = 4
# A chi-square of so many degrees of freedom is above this once in 1,000 seeds.
ONE_IN_1000 = {1: 10.8, 2: 13.8, 3: 16.3, 4: 18.5, 5: 20.5, 30: 59.7}


def write(decoding, length, params=None, texts=TEXTS, seed=0, **options):
    graphdef, own = trained()
    keys = jax.vmap(jax.random.key)(np.arange(seed, seed + texts))
    parts = list(write_ids(graphdef, params or own, length=length, keys=keys, decoding=decoding, **options))
    return [np.concatenate(of) for of in zip(*parts, strict=True)]


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def first_with(order, p, share):
    """The fewest symbols, in this order, that have this much of the probability."""
    return order[: int(np.searchsorted(np.cumsum(p[order]), share)) + 1]


def expected(decoding):
    """The probabilities of the symbols by a decoding's rules, from the definitions."""
    p = softmax(LOGITS / decoding.temperature)
    order, kept = np.argsort(-p), set(range(SYMBOLS))
    if decoding.top_k is not None:
        kept &= set(order[: decoding.top_k])
    if decoding.top_p is not None:
        kept &= set(first_with(order, p, decoding.top_p))
    if decoding.min_p is not None:
        kept &= {i for i in range(SYMBOLS) if p[i] >= decoding.min_p * p.max()}
    if decoding.typical is not None:
        surprise = -np.log(p)
        kept &= set(first_with(np.argsort(np.abs(surprise - (p * surprise).sum())), p, decoding.typical))
    p = np.where([i in kept for i in range(SYMBOLS)], p, 0)
    return p / p.sum()


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(top_k=3),
        Decoding(top_p=0.85, temperature=1.5),
        Decoding(top_p=0.7),
        Decoding(min_p=0.1),
        Decoding(typical=0.3),
        Decoding(typical=0.9),
        Decoding(top_k=5, top_p=0.97, min_p=0.2, temperature=0.9),
    ],
)
def test_symbols_follow_the_probabilities_of_those_that_are_kept(decoding):
    written = np.concatenate(write(decoding, 4 * CHUNK, without_memory(LOGITS), seed=7))
    counts, p = np.bincount(written, minlength=SYMBOLS), expected(decoding)
    on = p > 0
    assert 1 < on.sum() < SYMBOLS and (counts[~on] == 0).all()
    chi_square = ((counts[on] - len(written) * p[on]) ** 2 / (len(written) * p[on])).sum()
    assert chi_square < ONE_IN_1000[on.sum() - 1]


def test_the_most_typical_may_be_another_than_the_most_probable():
    assert set(np.concatenate(write(Decoding(typical=0.15), 99, without_memory(LOGITS)))) == {4} != {LOGITS.argmax()}


def test_a_penalty_makes_the_symbol_before_less_probable():
    """With a window of 1 the distribution depends on the symbol before, and on nothing else."""
    texts = write(Decoding(repetition_penalty=3.0, penalty_window=1), 4 * CHUNK, without_memory(LOGITS))
    pairs = np.concatenate([text[:-1] * SYMBOLS + text[1:] for text in texts])
    counts = np.bincount(pairs, minlength=SYMBOLS**2).reshape(SYMBOLS, SYMBOLS)
    chi_square = 0.0
    for before in range(SYMBOLS):
        z = LOGITS.copy()
        z[before] = z[before] / 3 if z[before] > 0 else z[before] * 3
        wanted = counts[before].sum() * softmax(z)
        chi_square += ((counts[before] - wanted) ** 2 / wanted).sum()
    assert chi_square < ONE_IN_1000[30]


@pytest.mark.parametrize("window", [1, 4, 100])
def test_greedy_with_a_penalty_equals_a_loop(window):
    weights, prime, penalty = to_reference(trained()[1]), [2, 5, 5, 1], 1.7
    h, ids = np.zeros(HIDDEN), list(prime)
    for i in range(len(prime) + 50 - 1):
        h = np.tanh(weights["W_x"][ids[i]] + h @ weights["W_h"] + weights["b"])
        if i + 1 >= len(prime):
            z = h @ weights["W_y"] + weights["b_y"]
            last = list(set(ids[-window:]))
            z[last] = np.where(z[last] > 0, z[last] / penalty, z[last] * penalty)
            ids.append(int(z.argmax()))
    decoding = Decoding(temperature=0, repetition_penalty=penalty, penalty_window=window)
    for text in write(decoding, 50, prime=np.array(prime)):
        assert text.tolist() == ids[len(prime) :]


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(top_k=SYMBOLS), Decoding(top_p=1.0, min_p=1e-9)])
@pytest.mark.parametrize("prime", [None, np.array([3, 1, 4])])
def test_each_text_is_the_plain_one_of_its_key_where_no_rule_changes_it(decoding, prime):
    graphdef, params = trained()
    for k, text in enumerate(write(decoding, CHUNK + 70, prime=prime)):
        plain = list(sample_ids(graphdef, params, length=CHUNK + 70, key=jax.random.key(k), prime=prime))
        assert text.tolist() == np.concatenate(plain).tolist()


@pytest.mark.parametrize("prime_length", [1, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_a_prime_of_any_length_is_read_whole(prime_length):
    """The plain sampler reads it symbol by symbol up to a chunk; greedy, so that one symbol more or less is seen."""
    prime = np.random.default_rng(prime_length).integers(0, SYMBOLS, prime_length)
    weights, h = to_reference(trained()[1]), np.zeros(HIDDEN)
    for i in prime:
        h = np.tanh(weights["W_x"][i] + h @ weights["W_h"] + weights["b"])
    [text] = write(Decoding(temperature=0), 1, texts=1, prime=prime)
    assert text.tolist() == [int((h @ weights["W_y"] + weights["b_y"]).argmax())]


def test_a_document_that_ends_in_a_long_prime_starts_afresh():
    graphdef, params = trained()
    prime = np.random.default_rng(1).integers(0, SYMBOLS - 1, CHUNK + 1)
    prime[CHUNK - 2] = 5  # one more symbol of the window, and the last of all, come after it
    carry, before, read = read_windows(graphdef, params, prime, 5, "fresh")
    weights = to_reference(params)
    after_one = np.tanh(weights["W_x"][prime[CHUNK - 1]] + weights["b"])
    np.testing.assert_allclose(carry[0].h[0], after_one, rtol=1e-5)
    assert (int(before), read) == (prime[CHUNK - 1], CHUNK)


def test_other_values_compile_nothing_new():
    write(Decoding(temperature=0.7, top_k=3, min_p=0.1, repetition_penalty=1.1), 5)
    counted: Any = _write_chunk
    compiled = counted._cache_size()
    write(Decoding(temperature=0, top_k=2, min_p=0.2, repetition_penalty=2, penalty_window=3), 900)
    assert counted._cache_size() == compiled


@pytest.mark.parametrize("temperature", [0, 1e-30, 1e30, float("inf")])
@pytest.mark.parametrize("filters", [{"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.5}, {"typical": 0.5}])
def test_extreme_temperatures_and_logits_neither_hang_nor_overflow(temperature, filters):
    params = without_memory([1e38, -1e38, 3e38, 0, 1, 2])
    written = set(np.concatenate(write(Decoding(temperature=temperature, **filters), 50, params)).tolist())
    assert written == {2} if temperature < 1 else 2 in written


REFUSED = [
    ({"top_k": 0}, "--top-k expects a whole number from 1"),
    ({"top_k": True}, "--top-k expects a whole number from 1"),
    ({"top_p": 0}, "--top-p expects a number above 0, at most 1"),
    ({"top_p": 1.01}, "--top-p expects a number above 0, at most 1"),
    ({"min_p": float("nan")}, "--min-p expects a number above 0, at most 1"),
    ({"typical": "1"}, "--typical expects a number above 0, at most 1"),
    ({"repetition_penalty": 0.9}, "--repetition-penalty expects a finite number of at least 1"),
    ({"repetition_penalty": 2, "penalty_window": 0}, "--penalty-window expects a whole number from 1"),
    ({"penalty_window": 5}, "--penalty-window belongs to --repetition-penalty"),
    ({"beams": 0}, "--beams expects a whole number from 1"),
    ({"beams": 4, "length_penalty": -1}, "--length-penalty expects a finite number of at least 0"),
    ({"length_penalty": 1.0}, "give --beams too"),
    ({"stop": 5}, "--stop expects a text of at least one character"),
    ({"stop": ""}, "--stop expects a text of at least one character"),
    ({"keep_stop": True}, "--keep-stop needs something that ends the text"),
    ({"start": "warm"}, "--start expects one of fresh, cold, learned"),
    ({"typical": 0.9, "top_k": 5}, "--typical may leave out what --top-k keeps"),
    *(({"beams": 4, name: value}, f"--beams searches and draws nothing, so --{name.replace('_', '-')} has no effect")
      for name, value in (("temperature", 0.5), ("top_k", 2), ("top_p", 0.5), ("min_p", 0.1), ("typical", 0.5))),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "said"), REFUSED, ids=itertools.count())
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ConfigurationError) as error:
        Decoding(**settings)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_numbers_of_numpys_are_settings_and_a_length_too():
    given: dict[str, Any] = {"temperature": np.float32(0.5), "top_k": np.int64(3), "min_p": np.array(0.25)}
    own, of_numpy = Decoding(temperature=0.5, top_k=3, min_p=0.25), Decoding(**given)
    assert own == of_numpy and own.values() == of_numpy.values()
    texts = write(own, 9), write(of_numpy, np.int64(9))
    np.testing.assert_array_equal(*texts)
