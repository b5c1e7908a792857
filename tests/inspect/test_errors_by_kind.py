"""Errors by kind: every oracle on a hand-made text, and the whole cascade against a slow loop over characters."""

import re

import numpy as np
import pytest

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.inspect.errors_by_kind import ErrorKinds, kinds_of_errors
from jaxrnn.inspect.ngrams import ngram_log_p, train_ngrams

TRAINING = (
    'the cat sat, the rat ran; "the dog", said Ann\'s cat, "sat and ran"\nthe end of the cat. ' * 2 + "zebra Once"
)
TEXT = 'Bob and Zed saw the zebra;\nbut Bob\'s rat "ran" to Zed. Onces zebras the\n\tcat, bob saw Ann\'s "end"!'
VOCABULARY = Vocabulary.from_text(TRAINING + TEXT)
IDS, TRAINING_IDS = VOCABULARY.encode(TEXT), VOCABULARY.encode(TRAINING)


def by_hand(log_p: np.ndarray, first: int, memories=(10, 40), rarities=(0, 1), boosts=(0.1, 0.4)) -> list[set[str]]:
    """The names of all oracles that repair each character, slowly."""
    best = ngram_log_p(train_ngrams(TRAINING_IDS, len(VOCABULARY), 9), IDS).max(axis=0)
    letters = r"[^\W\d_]+(?:'[^\W\d_]+)*"
    in_training = [word.lower() for word in re.findall(letters, TRAINING)]
    words = [(m.start(), m.end()) for m in re.finditer(letters, TEXT)]
    found = []
    for t in range(first, len(TEXT)):
        names = {"n-gram"} if np.exp(best[t]) >= 0.5 else set()
        for start, end in (word for word in words if word[0] <= t < word[1]):
            names |= {
                f"memory {n}" for n in memories if t > start and TEXT[start:end] in TEXT[max(0, start - n) : start]
            }
            names |= {f"rare {n}" for n in rarities if in_training.count(TEXT[start:end].lower()) <= n}
        before = TEXT[t - 1] if t else ""
        inside = any(start <= t - 1 < end for start, end in words)
        names |= {"after a blank"} if before in (" ", "\t") else set()
        names |= {"after a newline"} if before == "\n" else set()
        names |= {"after a quote"} if before in ('"', "'") and not inside else set()
        names |= {"punctuation"} if TEXT[t] in "\"';,.!" else set()
        names |= {f"boost {b}" for b in boosts if np.exp(log_p[t - first]) >= 0.5 - b}
        found.append(names)
    return found


@pytest.mark.parametrize("first", [0, 11])
def test_the_cascade_equals_a_slow_loop(first):
    p = np.random.default_rng(first).uniform(0, 0.8, len(TEXT) - first)
    found = kinds_of_errors(
        np.log(p), IDS, TRAINING_IDS, VOCABULARY, memories=(10, 40), rarities=(0, 1), boosts=(0.1, 0.4)
    )
    names = [kind.name for kind in found.kinds]
    assert names == ["n-gram", "memory 10", "memory 40", "rare 0", "rare 1", "after a blank", "after a newline",
                     "after a quote", "punctuation", "boost 0.1", "boost 0.4", "the rest"]  # fmt: skip
    repaired = by_hand(np.log(p), first)
    wrong = [t for t in range(len(p)) if p[t] < 0.5]
    expected = {t: next((name for name in names if name in repaired[t]), "the rest") for t in wrong}
    assert (found.characters, found.errors) == (len(p), len(wrong))
    assert {t: names[found.kind_of[t]] for t in range(len(p)) if found.kind_of[t] >= 0} == expected
    for kind in found.kinds:
        alone = sum(kind.name in repaired[t] or kind.name == "the rest" == expected[t] for t in wrong) / len(wrong)
        np.testing.assert_allclose(kind[1:], [list(expected.values()).count(kind.name) / len(wrong), alone], rtol=1e-12)
    assert sum(kind.share for kind in found.kinds) == pytest.approx(1, abs=1e-12)


def kind_at(found: ErrorKinds, words: str, offset: int) -> str:
    return found.kinds[found.kind_of[TEXT.index(words) + offset]].name


def test_each_oracle_repairs_what_it_is_named_for():
    found = kinds_of_errors(np.full(len(TEXT), -9.0), IDS, TRAINING_IDS, VOCABULARY)
    assert kind_at(found, "the zebra", 2) == "n-gram"
    assert kind_at(found, "Bob and", 1) == "rare 0"
    assert kind_at(found, "Zed. ", 1) == "memory 100"  # Zed was there before
    assert kind_at(found, "Zed. ", 0) == "rare 0"  # but the first letter is not remembered
    assert kind_at(found, "but", 1) == "rare 0"
    alone = {kind.name: round(kind.alone * found.errors) for kind in found.kinds}
    assert found.errors == len(TEXT)
    assert alone["after a newline"] == 2
    assert alone["after a quote"] == 4  # not after the apostrophes of Bob's and Ann's
    assert alone["after a blank"] == sum(TEXT.count(blank) for blank in " \t")
    assert alone["boost 0.4"] == 0 and alone["the rest"] == round(found.kinds[-1].share * len(TEXT)) > 0
    assert [kind.name for kind in found.kinds[1:11:4]] == ["memory 100", "rare 0", "rare 4"]


def test_half_is_right_and_without_errors_there_are_no_shares():
    found = kinds_of_errors(np.log(np.full(len(TEXT), 0.5)), IDS, TRAINING_IDS, VOCABULARY)
    assert found.errors == 0 and (found.kind_of == -1).all() and all(np.isnan(kind.share) for kind in found.kinds)


def test_a_model_of_more_orders_gives_the_same_and_is_not_trained_again():
    log_p = np.full(len(TEXT), -1.0)
    more = train_ngrams(TRAINING_IDS, len(VOCABULARY), 12)
    found = kinds_of_errors(log_p, IDS, TRAINING_IDS, VOCABULARY, ngrams=more)
    assert found.kinds == kinds_of_errors(log_p, IDS, TRAINING_IDS, VOCABULARY).kinds


def test_what_are_no_log_probabilities_is_refused():
    for log_p in (np.full(len(TEXT) + 1, -1.0), np.full(4, 0.3), np.array([np.nan]), np.full((2, 2), -1.0)):
        with pytest.raises(ValueError, match="logarithms of probabilities"):
            kinds_of_errors(log_p, IDS, TRAINING_IDS, VOCABULARY)
