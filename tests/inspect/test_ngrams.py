"""n-gram models against a slow implementation with dictionaries, and probabilities that sum to 1."""

from collections import Counter

import numpy as np
import pytest

from jaxrnn.inspect.ngrams import FALLBACK, discounts_of, ngram_distribution, ngram_log_p, train_ngrams

# Enough repetition that counts of one to four occur at every order, also of what stands before.
TEXT = "the cat sat on the mat; the rat that ate the hat sat at the cat, and the cat that sat ate a rat. " * 2
TEXT += "a fat bat met a wet cat on a hot day; it bit the cat, the cat bit it, that was that and then they sat. "
TEXT += "then the thin bat hid in the hat that the cat had had, and the hot cat sat on the fat rat and that hat."
SYMBOLS = sorted({*TEXT, "z"})  # z never occurs
IDS = np.array([SYMBOLS.index(character) for character in TEXT], np.uint8)
OTHER = "the zebra sat on a cat; then bats met that thin hat."
OTHER = "".join(character for character in OTHER if character in SYMBOLS)
OTHER_IDS = np.array([SYMBOLS.index(character) for character in OTHER])


class SlowModel:
    """Chen and Goodman's formula, word for word, for one order."""

    def __init__(self, text: str, order: int):
        self.counts = []
        for n in range(1, order + 1):
            grams = [text[i : i + n] for i in range(len(text) - n + 1)]
            if n < order:  # how many different symbols stand before
                grams = [longer[1:] for longer in {text[i : i + n + 1] for i in range(len(text) - n)}]
            self.counts.append(Counter(grams))
        self.order, self.estimated = order, list[bool]()
        self.discounts = [self.discount(counts) for counts in self.counts]

    def discount(self, counts: Counter) -> list[float]:
        n1, n2, n3, n4 = (sum(c == k for c in counts.values()) for k in (1, 2, 3, 4))
        found = [0.0]
        if min(n1, n2, n3, n4) > 0:
            y = n1 / (n1 + 2 * n2)
            found += [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        self.estimated.append(len(found) == 4 and min(found[1:]) > 0)
        return found if self.estimated[-1] else [0, 0.5, 1.0, 1.5]

    def p(self, symbol: str, before: str, order: int | None = None) -> float:
        order = self.order if order is None else order
        if order == 0:
            return 1 / len(SYMBOLS)
        counts, discounts = self.counts[order - 1], self.discounts[order - 1]
        before = before[max(0, len(before) - order + 1) :]
        following = [counts[before + other] for other in SYMBOLS if counts[before + other]]
        if len(before) < order - 1 or not following:
            return self.p(symbol, before, order - 1)
        count, total = counts[before + symbol], sum(following)
        left_over = sum(discounts[min(c, 3)] for c in following)
        return (count - discounts[min(count, 3)] + left_over * self.p(symbol, before[1:], order - 1)) / total


def test_equals_the_formula_at_every_order():
    model = train_ngrams(IDS, len(SYMBOLS), orders=4)
    for text, ids in ((TEXT, IDS), (OTHER, OTHER_IDS)):
        log_p = ngram_log_p(model, ids)
        for order in range(1, 5):
            slow = SlowModel(TEXT, order)
            expected = [slow.p(text[i], text[:i]) for i in range(len(text))]
            np.testing.assert_allclose(np.exp(log_p[order - 1]), expected, rtol=1e-12)
            found = [model.orders[n].below for n in range(order - 1)] + [model.orders[order - 1].highest]
            for smoothed, discounts, estimated in zip(found, slow.discounts, slow.estimated, strict=True):
                assert smoothed is not None
                np.testing.assert_allclose(smoothed.discounts[:3], discounts[1:], rtol=1e-12)
                assert smoothed.discounts.estimated == estimated
    assert slow.estimated == [False, True, True, True]  # both ways were compared


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_probabilities_sum_to_one_and_are_those_of_the_text(order):
    model = train_ngrams(IDS, len(SYMBOLS), orders=8)
    seen, unseen, short = "and the ", "zzzzzzzz", "t"
    for context in (seen, unseen, short, "", "zzz the ", TEXT[-8:]):
        p = ngram_distribution(model, [SYMBOLS.index(character) for character in context], order)
        assert p.shape == (len(SYMBOLS),) and p.min() > 0
        assert abs(p.sum() - 1) < 1e-12
        for symbol in (0, 5, SYMBOLS.index("z")):
            text = np.array([*(SYMBOLS.index(character) for character in context), symbol])
            np.testing.assert_allclose(ngram_log_p(model, text)[order - 1, -1], np.log(p[symbol]), rtol=1e-12)


def test_without_counts_of_counts_the_discounts_are_the_stated_ones():
    model = train_ngrams(np.zeros(5, np.int64), 2, orders=3)
    assert [order.highest.discounts for order in model.orders] == [FALLBACK] * 3
    # Five times symbol 0, of which 1.5 are left over for 1 / V each.
    np.testing.assert_allclose(ngram_distribution(model, [], 1), [(3.5 + 0.75) / 5, 0.75 / 5], rtol=1e-14)
    assert discounts_of(np.repeat([1, 2, 3, 4], [1, 4, 1, 1])).estimated
    assert discounts_of(np.repeat([1, 2, 3, 4], [4, 1, 9, 1])) == FALLBACK  # D2 would be -16.0


def test_a_text_shorter_than_the_order_and_an_empty_one():
    model = train_ngrams(np.array([1, 0]), 3, orders=5)
    assert [len(order.grams) for order in model.orders] == [2, 1, 0, 0, 0]
    log_p = ngram_log_p(model, np.array([1, 0, 2]))
    np.testing.assert_array_equal(log_p[2:], np.tile(log_p[2], (3, 1)))
    empty = train_ngrams(np.array([], np.int64), 4, orders=2)
    np.testing.assert_allclose(ngram_distribution(empty, [3]), 0.25)
    assert ngram_log_p(model, np.array([], np.int64)).shape == (5, 0)


def test_what_is_no_text_of_that_vocabulary_is_refused():
    model = train_ngrams(IDS, len(SYMBOLS), orders=2)
    with pytest.raises(ValueError, match=f"ids from 0 to {len(SYMBOLS) - 1}, got 0 to {len(SYMBOLS)}"):
        ngram_log_p(model, np.array([0, len(SYMBOLS)]))
    with pytest.raises(ValueError, match="whole numbers"):
        ngram_log_p(model, np.array([0.5]))
    with pytest.raises(ValueError, match="order from 1 to 2, got 3"):
        ngram_distribution(model, [0], 3)
    with pytest.raises(ValueError, match="at least 1 order"):
        train_ngrams(IDS, len(SYMBOLS), orders=0)
