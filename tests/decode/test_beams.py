"""Beam search against all texts there are, scored by a NumPy loop in double precision."""

import functools
import itertools
from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.decode import Decoding, search_ids, stop_table
from tests.decode.test_sampling import HIDDEN, SYMBOLS, trained, without_memory
from tests.reference.small_model import from_reference, to_reference

PRIME, LENGTH = (3, 1), 3
EVERY = SYMBOLS**LENGTH
TABLE = stop_table(list("abcdef"), ["d", "ab"])  # a symbol that ends a text, and two that do so together


def search(decoding, length=LENGTH, params=None, **options):
    graphdef, own = trained()
    given: dict[str, Any] = {"prime": np.array(PRIME), "key": jax.random.key(0)} | options
    return search_ids(graphdef, params or own, length=length, decoding=decoding, **given)


def log_p(ids):
    """Of the symbols after the prime."""
    weights, h, total = to_reference(trained()[1]), np.zeros(HIDDEN), 0.0
    for before, following in itertools.pairwise((*PRIME, *ids)):
        h = np.tanh(weights["W_x"][before].astype(float) + h @ weights["W_h"] + weights["b"])
        z = h @ weights["W_y"] + weights["b_y"]
        total += z[following] - z.max() - np.log(np.exp(z - z.max()).sum())
    return total - of_prime()


@functools.cache
def of_prime():
    weights = to_reference(trained()[1])
    z = np.tanh(weights["W_x"][PRIME[0]].astype(float) + weights["b"]) @ weights["W_y"] + weights["b_y"]
    return z[PRIME[1]] - z.max() - np.log(np.exp(z - z.max()).sum())


def ended(ids):
    text = "".join("abcdef"[i] for i in ids)
    return text.endswith(("d", "ab"))


@functools.cache
def all_texts(stops):
    """Every text of LENGTH symbols, or shorter and ended, with its log p."""
    found = set()
    for ids in itertools.product(range(SYMBOLS), repeat=LENGTH):
        end = next((n for n in range(1, LENGTH + 1) if ended(ids[:n])), LENGTH) if stops else LENGTH
        found.add(ids[:end])
    return {ids: log_p(ids) for ids in found}


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.6])
def test_with_a_beam_for_every_text_the_search_is_exhaustive(stops, alpha):
    texts = all_texts(stops)
    best = sorted(texts, key=lambda ids: -texts[ids] / len(ids) ** alpha)[:20]
    found = search(Decoding(beams=EVERY, length_penalty=alpha), keep=20, table=TABLE if stops else None)
    assert [tuple(one.ids) for one in found] == best
    np.testing.assert_allclose([one.log_p for one in found], [texts[ids] for ids in best], rtol=1e-5)
    assert not stops or alpha == 1 or len({len(ids) for ids in best}) > 1


def test_a_narrow_beam_finds_the_best_here_and_tells_its_exact_probability():
    texts = all_texts(False)
    [found] = search(Decoding(beams=4))
    assert tuple(found.ids) == max(texts, key=texts.get)
    assert found.log_p == pytest.approx(texts[tuple(found.ids)], rel=1e-5)


def test_one_beam_is_greedy():
    [found] = search(Decoding(beams=1), length=40)
    weights, h, last, greedy = to_reference(trained()[1]), np.zeros(HIDDEN), PRIME[0], []
    for following in [*PRIME[1:], *[None] * 40]:
        h = np.tanh(weights["W_x"][last] + h @ weights["W_h"] + weights["b"])
        last = int((h @ weights["W_y"] + weights["b_y"]).argmax()) if following is None else following
        greedy += [last] if following is None else []
    assert found.ids.tolist() == greedy


def test_a_search_over_several_chunks_tells_the_probability_of_what_it_found():
    [found] = search(Decoding(beams=3), length=1500)
    assert len(found.ids) == 1500 and found.log_p == pytest.approx(log_p(tuple(found.ids)), rel=1e-4)


def test_a_search_ends_when_nothing_can_be_better_any_more():
    """Far from its length, which would take hours."""
    [found] = search(Decoding(beams=3), 10**9, without_memory([0, 0, 0, 9, 0, 0]), table=TABLE)
    assert found.ids.tolist() == [3]


def test_a_text_that_is_behind_for_now_may_still_come_to_be_the_best():
    """After b: d ends the text, and is more probable than a, after which c comes for ever."""
    weights = {name: np.zeros_like(value) for name, value in to_reference(trained()[1]).items()}
    weights["W_x"] = np.eye(SYMBOLS, HIDDEN, dtype=np.float32)
    weights["W_y"][1, [3, 0]], weights["W_y"][[0, 2], 2] = (14, 13), 30
    params = from_reference(weights, trained()[1])
    for alpha, best in ((0.0, [3]), (1.0, [0, *[2] * 9])):
        [found] = search(Decoding(beams=4, length_penalty=alpha), 10, params, table=TABLE)
        assert found.ids.tolist() == best


def test_fewer_texts_than_asked_are_told_and_none_is_there_twice():
    found = search(Decoding(beams=50), length=1, keep=50)
    assert sorted(one.ids.tolist() for one in found) == [[i] for i in range(SYMBOLS)]
    assert [one.ids.tolist() for one in search(Decoding(beams=2), length=0)] == [[]]


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_of_longer_symbols_every_text_has_as_many_characters_as_asked_for_and_its_own_probability(alpha):
    """What is found need not be cut: cut texts would be the same, beside probabilities of what is no longer there."""
    widths = np.array([1, 1, 2, 1, 3, 2], np.int32)
    lengths = itertools.chain(*(itertools.product(range(SYMBOLS), repeat=n) for n in range(1, 5)))
    texts = {ids: log_p(ids) for ids in lengths if widths[list(ids)].sum() == 4}
    best = sorted(texts, key=lambda ids: -texts[ids] / len(ids) ** alpha)[:20]
    found = search(Decoding(beams=len(texts), length_penalty=alpha), length=4, keep=20, widths=widths)
    assert [tuple(one.ids) for one in found] == best
    np.testing.assert_allclose([one.log_p for one in found], [texts[ids] for ids in best], rtol=1e-5)
