"""Character n-gram models with modified Kneser-Ney smoothing, all orders in one go: what a network is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Discounts(NamedTuple):
    """What is taken off a count of one, of two, and of three or more.

    Args:
      one: D1, above 0 and at most 1.
      two: D2, above 0 and at most 2.
      three_or_more: D3+, above 0 and at most 3.
      estimated: True if they come from the counts of counts, False if they are `FALLBACK`'s.
    """

    one: float
    two: float
    three_or_more: float
    estimated: bool


FALLBACK = Discounts(0.5, 1.0, 1.5, False)  # as KenLM takes where its estimate fails


class Smoothed(NamedTuple):
    """The counts of one order, and what every context leaves to the order below.

    Args:
      counts: c of each n-gram, of `Order.grams`.
      total: of each (n-1)-gram, the sum of c over what may follow it.
      left_over: of each (n-1)-gram, the sum of what is taken off those c.
      discounts: D1, D2, D3+.
    """

    counts: np.ndarray
    total: np.ndarray
    left_over: np.ndarray
    discounts: Discounts


class Order(NamedTuple):
    """The n-grams of one order n that the training text has, sorted.

    Args:
      grams: (number of n-grams,) int64: place of the first n-1 symbols among the grams of order n-1, times V, plus the
        last symbol.
      highest: how often each occurs: for the model of order n.
      below: how many different symbols stand before each: for the models of higher orders. None at the last order.
    """

    grams: np.ndarray
    highest: Smoothed
    below: Smoothed | None


class NgramModel(NamedTuple):
    """Models of the orders 1 to `len(orders)`. `orders[n - 1].highest.discounts` are the discounts of order n.

    Args:
      vocabulary_size: V.
      orders: n = 1 first.
    """

    vocabulary_size: int
    orders: tuple[Order, ...]


def train_ngrams(ids: np.ndarray, vocabulary_size: int, orders: int = 20) -> NgramModel:
    """Counts a text and smooths by interpolated modified Kneser-Ney.

    With g a context of n-1 symbols, g' the same without its first, w a symbol, and c the counts:

        p_n(w | g) = (c(g w) - D(c(g w)) + left_over(g) p'_{n-1}(w | g')) / sum_v c(g v)
        left_over(g) = sum_v D(c(g v))         p_n(w | g) = p'_{n-1}(w | g') where g was never followed by anything
        D(0) = 0, D(1) = D1, D(2) = D2, D(3 and more) = D3+        p'_0(w) = 1 / V

    p_n takes for c how often g w occurs. p', the orders below it, take how many different symbols stand before g w in
    the text (nothing stands before its beginning). Of n_k, the number of grams of an order that have the count k:

        Y = n1 / (n1 + 2 n2)      D1 = 1 - 2 Y n2 / n1      D2 = 2 - 3 Y n3 / n2      D3+ = 3 - 4 Y n4 / n3

    Where one of n1 to n4 is zero, or a discount is not above 0, all three of the order are `FALLBACK`'s, 0.5, 1 and
    1.5. That is so for the single characters of most texts: hardly one occurs just once, twice, three or four times.

    Takes about as much memory as 30 bytes an n-gram, of all orders together.

    Args:
      ids: the text, (N,) whole numbers from 0 to V - 1.
      vocabulary_size: V, of all that may come: a symbol that the text lacks has its share of 1 / V at the bottom.
      orders: the highest n.

    Raises:
      ValueError: if `ids` is no such text, or `orders` is below 1.

    Source: Chen and Goodman, "An empirical study of smoothing techniques for language modeling", 1998, section 3.

    Example:
      >>> model = train_ngrams(np.array([0, 1, 0, 1, 0, 2]), 4, orders=2)
      >>> ngram_distribution(model, [0]).round(4)  # after 0: twice 1, once 2, never 3
      array([0.1458, 0.4792, 0.3125, 0.0625])
    """
    if orders < 1:
        raise ValueError(f"expected at least 1 order, got {orders}")
    text = _text(ids, vocabulary_size)
    # The place among its order's grams of the (n-1)-gram before each position, and of the last one; n = 1: of nothing.
    places = np.zeros(len(text) + 1, np.int64)
    contexts, counted = 1, None
    made: list[Order] = []
    for n in range(1, orders + 1):
        keys = places[:-1] * vocabulary_size + text[n - 1 :]
        by_key = np.argsort(keys)
        keys = keys[by_key]
        is_first = np.diff(keys, prepend=-1) > 0
        firsts = np.flatnonzero(is_first)
        if counted is not None:
            # Each n-gram is one more symbol before the (n-1)-gram that ends where it does.
            before = np.bincount(places[by_key[firsts] + 1], minlength=len(counted.grams))
            below = _smoothed(before, counted.grams // vocabulary_size, len(counted.highest.total))
            made.append(counted._replace(below=below))
        grams = keys[firsts]
        count = np.diff(firsts, append=len(keys))
        counted = Order(grams, _smoothed(count, grams // vocabulary_size, contexts), None)
        contexts = len(grams)
        places = np.empty(len(keys), np.int64)
        places[by_key] = np.cumsum(is_first) - 1
    assert counted is not None
    return NgramModel(vocabulary_size, (*made, counted))


def ngram_log_p(model: NgramModel, ids: np.ndarray) -> np.ndarray:
    """ln p of each symbol of a text after all that stands before it, by the model of every order.

    Near the text's beginning there is less before than an order could use; it then does what it does after a context
    that it never saw: it takes the longest one that it can.

    Args:
      model: of `train_ngrams`.
      ids: the text, (T,).

    Returns:
      (orders, T) float64, order 1 first. The negative mean of a row is that order's loss in nats a character.

    Example:
      >>> model = train_ngrams(np.array([0, 1, 0, 1, 0, 2]), 4, orders=2)
      >>> np.exp(ngram_log_p(model, np.array([0, 2]))).round(4)
      array([[0.375 , 0.2083],
             [0.2917, 0.3125]])
    """
    text = _text(ids, model.vocabulary_size)
    made = np.empty((len(model.orders), len(text)))
    p = np.full(len(text), 1 / model.vocabulary_size)
    for row, (order, context, gram) in zip(made, _places(model, text), strict=True):
        row[:] = np.log(_interpolated(order.highest, context, gram, p))
        if order.below is not None:
            p = _interpolated(order.below, context, gram, p)
    return made


def ngram_distribution(model: NgramModel, context: np.ndarray | list[int], order: int | None = None) -> np.ndarray:
    """p of every symbol after a context, by the model of one order.

    Args:
      model: of `train_ngrams`.
      context: ids, of which the last `order - 1` count; it may be shorter, and was perhaps never seen.
      order: n; the highest if not given.

    Returns:
      (V,) float64 with the sum 1.
    """
    size, order = model.vocabulary_size, len(model.orders) if order is None else order
    if not 1 <= order <= len(model.orders):
        raise ValueError(f"expected an order from 1 to {len(model.orders)}, got {order}; train more orders")
    text = _text(context, size)[max(0, len(context) - order + 1) :]
    places = [0, *(int(gram[-1]) for _, _, gram in _places(model, text) if len(text))]
    p = np.full(size, 1 / size)
    for n, ((grams, highest, below), place) in enumerate(zip(model.orders[:order], places, strict=False), 1):
        smoothed = highest if below is None or n == order else below
        begin, end = np.searchsorted(grams, [place * size, (place + 1) * size])
        gram = np.full(size, -1)
        gram[grams[begin:end] % size] = np.arange(begin, end)
        p = _interpolated(smoothed, np.full(size, place), gram, p)
    return p


def discounts_of(counts: np.ndarray) -> Discounts:
    """D1, D2 and D3+ from the counts of an order's n-grams, as `train_ngrams` says.

    Example:
      >>> discounts_of(np.array([1, 1, 1, 1, 2, 2, 3, 4]))
      Discounts(one=0.5, two=1.25, three_or_more=1.0, estimated=True)
      >>> discounts_of(np.array([1, 1, 1]))
      Discounts(one=0.5, two=1.0, three_or_more=1.5, estimated=False)
    """
    n = [int(np.count_nonzero(counts == k)) for k in range(1, 5)]
    if not all(n):
        return FALLBACK
    y = n[0] / (n[0] + 2 * n[1])
    one, two, three = (k - (k + 1) * y * n[k] / n[k - 1] for k in (1, 2, 3))
    return Discounts(one, two, three, True) if min(one, two, three) > 0 else FALLBACK


def _smoothed(count: np.ndarray, context: np.ndarray, contexts: int) -> Smoothed:
    discounts = discounts_of(count)
    total = np.bincount(context, weights=count, minlength=contexts).astype(np.int64)
    left_over = np.bincount(context, weights=_taken_off(count, discounts), minlength=contexts)
    return Smoothed(_small(count), _small(total), left_over, discounts)


def _taken_off(count: np.ndarray, discounts: Discounts) -> np.ndarray:
    return np.array([0.0, *discounts[:3]])[np.minimum(count, 3)]


def _small(counts: np.ndarray) -> np.ndarray:
    return counts.astype(np.min_scalar_type(counts.max(initial=0)))


def _interpolated(smoothed: Smoothed, context: np.ndarray, gram: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """The formula of `train_ngrams` at the places `context` and `gram`, -1 for what was never seen."""
    p = lower.copy()
    at = np.flatnonzero(context >= 0)
    total = smoothed.total[context[at]]
    at, total = at[total > 0], total[total > 0]
    count = np.where(gram[at] >= 0, smoothed.counts[gram[at]], 0)
    p[at] = (count - _taken_off(count, smoothed.discounts) + smoothed.left_over[context[at]] * lower[at]) / total
    return p


def _places(model: NgramModel, text: np.ndarray) -> Iterator[tuple[Order, np.ndarray, np.ndarray]]:
    """Of each order: where the contexts of the text's symbols stand among the grams below, and where they with them."""
    context = np.zeros(len(text), np.int64)
    for order in model.orders:
        gram = np.full(len(text), -1)
        at = np.flatnonzero(context >= 0)
        if len(at) and len(order.grams):
            keys = context[at] * model.vocabulary_size + text[at]
            found = np.minimum(np.searchsorted(order.grams, keys), len(order.grams) - 1)
            gram[at] = np.where(order.grams[found] == keys, found, -1)
        yield order, context, gram
        context = np.concatenate([[-1], gram])[: len(text)]


def _text(ids: np.ndarray | list[int], vocabulary_size: int) -> np.ndarray:
    text = np.asarray(ids, np.int64) if len(ids) == 0 else np.asarray(ids)
    if text.ndim != 1 or not np.issubdtype(text.dtype, np.integer):
        raise ValueError(f"expected a text as whole numbers in one row, got {text.dtype} of shape {text.shape}")
    if len(text) and not 0 <= int(text.min()) <= int(text.max()) < vocabulary_size:
        raise ValueError(
            f"expected ids from 0 to {vocabulary_size - 1}, got {text.min()} to {text.max()}; "
            "give the size of the vocabulary that both texts share"
        )
    return text
