"""What kinds of errors a character model makes, taken off one after the other (Karpathy, Johnson and Li, 4.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.inspect.ngrams import NgramModel, ngram_log_p, train_ngrams
from jaxrnn.inspect.novelty import WORD, words_of

NGRAM_ORDERS = 9
MEMORIES = (100, 500, 1000, 5000)
RARITIES = (0, 1, 2, 3, 4, 5)
BOOSTS = (0.1, 0.2, 0.3, 0.4)
RIGHT = np.log(0.5)  # a character is right if the model gave it at least this
_QUOTES = "\"'`“”„‟‘’‚‛«»‹›"
_NEWLINES = "\n\r\v\f\x85\u2028\u2029"


class ErrorKind(NamedTuple):
    """One oracle.

    Args:
      name: what it repairs.
      share: of all errors, those that it repairs and none before it did. All shares sum to 1.
      alone: of all errors, those that it repairs, whatever the others do.
    """

    name: str
    share: float
    alone: float


class ErrorKinds(NamedTuple):
    """The errors of a model on a text, by kind.

    Args:
      characters: T, how many were scored.
      errors: how many had p < 0.5.
      kinds: in the order of the oracles; the last is what none of them repairs.
      kind_of: (T,) place in `kinds` of each character's error, -1 where there is none.
    """

    characters: int
    errors: int
    kinds: tuple[ErrorKind, ...]
    kind_of: np.ndarray


def kinds_of_errors(
    log_p: np.ndarray,
    ids: np.ndarray,
    training_ids: np.ndarray,
    vocabulary: Vocabulary,
    *,
    ngrams: NgramModel | None = None,
    memories: Sequence[int] = MEMORIES,
    rarities: Sequence[int] = RARITIES,
    boosts: Sequence[float] = BOOSTS,
) -> ErrorKinds:
    """Which errors would be repaired by what: oracles in a fixed order, on which the shares depend.

    An error is a character to which the model gave p < 0.5. The oracles, in this order:

        1. "n-gram": one of the n-gram models of orders 1 to 9, trained on the same text, gives the character p >= 0.5.
        2. "memory n": the character is not the first of its word, and the whole word stands somewhere in the n
           characters before the word, also inside another word.
        3. "rare n": the character's word occurs at most n times in the training text; capitals count as small letters.
        4. "after a blank", "after a newline", "after a quote": what the character before it is.
        5. "punctuation": the character is neither letter, digit nor blank.
        6. "boost b": the character had p >= 0.5 - b.

    Of memories, rarities and boosts each takes what the smaller ones left over. A word is a run of letters, apostrophes
    inside it kept; an apostrophe inside a word is no quote.

    The kinds are those of Karpathy, Johnson and Li (2015), whose text was not at hand when this was written: the order,
    from what a smaller model would repair to what nothing tells, and the sizes are stated here and not checked against
    it. (The thesis takes losses from the paper, and none of its kinds of errors.) An error that several would repair
    counts for the first, so that another order gives other shares; `alone` depends on none. What is chosen here: what
    a word is; that the n characters of the memory end before the word; the smoothing of the n-gram models (interpolated
    modified Kneser-Ney); that p of just 0.5 is no error; that spaces, quotes and newlines are told apart; the sizes of
    the boosts.

    Args:
      log_p: ln p of each scored character under the model, (T,), however the model was run.
      ids: the text, (N,) with N at least T: the last T are those scored, those before are only read.
      training_ids: what the model was trained on.
      vocabulary: of both.
      ngrams: of `train_ngrams(training_ids, ...)` with 9 orders or more, if it is there already.
      memories: n of each oracle "memory n", rising.
      rarities: n of each oracle "rare n", rising.
      boosts: b of each oracle "boost b", rising.

    Raises:
      ValueError: if `log_p` is longer than the text, or holds what is no logarithm of a probability.

    Source: Karpathy, Johnson and Li, "Visualizing and understanding recurrent networks", 2015, section 4.4.
    """
    log_p, ids = np.asarray(log_p, np.float64), np.asarray(ids)
    first = len(ids) - len(log_p)
    if log_p.ndim != 1 or first < 0 or not np.all(log_p <= 1e-6):
        raise ValueError(
            f"expected at most {len(ids)} logarithms of probabilities in one row, got shape {log_p.shape} "
            f"with the largest {log_p.max(initial=-np.inf)}"
        )
    wrong, errors = log_p < RIGHT, int(np.count_nonzero(log_p < RIGHT))
    ngrams = ngrams or train_ngrams(training_ids, len(vocabulary), NGRAM_ORDERS)
    oracles = {"n-gram": ngram_log_p(ngrams._replace(orders=ngrams.orders[:NGRAM_ORDERS]), ids).max(axis=0) >= RIGHT}
    oracles |= _of_words(vocabulary, ids, training_ids, memories, rarities)
    oracles = {name: repaired[first:] for name, repaired in oracles.items()}
    oracles |= {f"boost {boost:g}": np.exp(log_p) >= 0.5 - boost for boost in boosts}
    kind_of = np.where(wrong, len(oracles), -1)
    for place, repaired in reversed(list(enumerate(oracles.values()))):
        kind_of[wrong & repaired] = place
    oracles["the rest"] = kind_of == len(oracles)
    kinds = [
        ErrorKind(
            name, *(float(np.sum(of)) / errors if errors else float("nan") for of in (kind_of == place, wrong & all_))
        )
        for place, (name, all_) in enumerate(oracles.items())
    ]
    return ErrorKinds(len(log_p), errors, tuple(kinds), kind_of)


def _of_words(
    vocabulary: Vocabulary, ids: np.ndarray, training_ids: np.ndarray, memories: Sequence[int], rarities: Sequence[int]
) -> dict[str, np.ndarray]:
    """Oracles 2 to 5: which characters of the whole text each repairs, (N,) booleans."""
    text = vocabulary.decode(ids)
    words = list(WORD.finditer(text))
    occurs = Counter(words_of(vocabulary.decode(training_ids)))
    farthest = max(memories, default=0)
    # Of each word, and for characters outside words one more at the end, which nothing repairs.
    starts, rarity, distance = (np.full(len(words) + 1, len(text) + farthest + 1) for _ in range(3))
    word_of = np.full(len(text), -1)
    for k, word in enumerate(words):
        start = starts[k] = word.start()
        word_of[start : word.end()] = k
        rarity[k] = occurs[word[0].lower()]
        if (found := text.rfind(word[0], max(0, start - farthest), start)) >= 0:
            distance[k] = start - found
    rarity[-1] = max(rarities, default=0) + 1
    later = np.arange(len(text)) > starts[word_of]
    oracles = {f"memory {n}": later & (distance[word_of] <= n) for n in memories}
    oracles |= {f"rare {n}": rarity[word_of] <= n for n in rarities}

    symbols = vocabulary.symbols
    newline, quote = (np.array([s in of for s in symbols])[ids] for of in (_NEWLINES, _QUOTES))
    blank = np.array([s.isspace() for s in symbols])[ids] & ~newline
    for name, before in (("blank", blank), ("newline", newline), ("quote", quote & (word_of < 0))):
        oracles[f"after a {name}"] = np.concatenate([[False], before[:-1]])[: len(text)]
    oracles["punctuation"] = np.array([not (s.isalnum() or s.isspace()) for s in symbols])[ids]
    return oracles
