import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.decode.sampling import sample_ids
from jaxrnn.errors import ConfigurationError, NumericError
from jaxrnn.writer import Session
from jaxrnn.writer import session as module
from tests.writer.small import SYMBOLS, model_of, session, trained

VOCABULARY = Vocabulary(tuple(SYMBOLS))
LONG = "hello den. banal\n" * 12


def logits_after(text: str) -> np.ndarray:
    """(T, V), all in one call: what `Session` has step by step."""
    model = model_of(len(SYMBOLS))
    ids = VOCABULARY.encode(text)[:, None].astype(np.int32)
    return np.asarray(model(jnp.asarray(ids), model.initial_carry(1))[0][:, 0], np.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize("text", ["", "h", "hello den", LONG])
@pytest.mark.parametrize("document_end", [None, SYMBOLS.index("e")])
def test_the_greedy_suggestion_is_what_sample_writes_up_to_the_next_whitespace(text, document_end):
    given = trained(document_end=document_end)
    ids = sample_ids(
        *given.split(None), length=module.LONGEST, key=jax.random.key(0), temperature=0,
        prime=VOCABULARY.encode_prompt(text, document_end), document_end=document_end,
    )  # fmt: skip
    written = VOCABULARY.decode(np.concatenate(list(ids)))
    if document_end is not None:
        written = written.split(SYMBOLS[document_end])[0]
    found = re.match(r"\s*\S*", written)
    assert found is not None
    mine = session() if document_end is None else Session(given)
    suggestion = mine.suggest(text, 0.0)
    assert suggestion is not None and suggestion.text == found[0]


def test_the_draws_are_of_the_models_probabilities_at_the_temperature():
    draws = (session().suggest("hello", 0.7, draw) for draw in range(1500))
    first = [SYMBOLS.index(of.text[0]) for of in draws if of]
    expected = 1500 * softmax(logits_after("hello")[-1] / 0.7)
    counts = np.bincount(first, minlength=len(SYMBOLS))
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected) + 1).all()


def test_the_probability_of_a_suggestion_is_that_of_its_symbols():
    suggestion = next(
        s for s in map(lambda draw: session().suggest("hel", 1.0, draw), range(20)) if s and len(s.text) > 3
    )
    p = softmax(logits_after("hel" + suggestion.text))[2:-1]
    ids = VOCABULARY.encode(suggestion.text)
    np.testing.assert_allclose(suggestion.probability, p[np.arange(len(ids)), ids].prod(), rtol=1e-4)


def test_the_probabilities_of_the_text_are_those_of_one_reading():
    session().suggest(LONG)
    p = session().probabilities(LONG + "x")
    expected = softmax(logits_after(LONG))[np.arange(len(LONG) - 1), VOCABULARY.encode(LONG)[1:]]
    assert np.isnan(p[0]) and np.isnan(p[-1])
    np.testing.assert_allclose(p[1:-1], expected, rtol=1e-4)


def test_whatever_was_typed_and_erased_before_the_answer_is_that_of_a_new_session(monkeypatch):
    monkeypatch.setattr(module, "MOST_STATES", 8)  # fewer are kept, and more are read again
    rng, text, edited = np.random.default_rng(2), "", Session(trained())
    for _ in range(30):
        if rng.random() < 0.4:
            text = text[: int(len(text) * rng.random())]
        else:
            text += "".join(rng.choice(list(SYMBOLS + "é"), rng.choice([1, 2, 150])))
        fresh = Session(trained())
        assert edited.suggest(text, 0.9) == fresh.suggest(text, 0.9)
        np.testing.assert_array_equal(edited.probabilities(text), fresh.probabilities(text))
        assert len(edited._states) <= 8 + 2 * module.READ


def test_who_types_what_was_suggested_is_suggested_the_rest():
    whole = session().suggest("hel", 1.3, 4)
    assert whole is not None and len(whole.text) > 2
    for n in range(1, len(whole.text)):
        rest = session().suggest("hel" + whole.text[:n], 1.3, 4)
        assert rest is not None and rest.text.startswith(whole.text[n:]) and len(rest.text) >= len(whole.text) - n


def test_a_suggestion_is_whitespace_then_a_word():
    for draw in range(40):
        suggestion = session().suggest("he", 1.0, draw)
        assert suggestion is not None and re.fullmatch(r"\s*\S*", suggestion.text)
        assert len(suggestion.text) <= module.LONGEST


def test_another_draw_and_another_seed_give_other_suggestions_and_the_same_the_same():
    texts = [session().suggest("he", 1.5, draw) for draw in range(8)]
    assert texts == [session().suggest("he", 1.5, draw) for draw in range(8)] and len(set(texts)) > 3
    assert texts != [session(1).suggest("he", 1.5, draw) for draw in range(8)]


def test_alternatives_are_the_different_suggestions_of_the_next_draws():
    singly = [session().suggest("hel", 0.5, draw) for draw in range(3, 3 + module.DRAWS)]
    alternatives = session().alternatives("hel", 0.5, 3)
    assert alternatives is not None
    assert {s.text for s in alternatives.values()} == {s.text for s in singly if s} and min(alternatives) == 3
    assert [s.text for s in alternatives.values()] == [s.text for n in alternatives if (s := singly[n - 3])]
    assert len(session().alternatives("hel", 0.0) or ()) == 1


def test_unknown_characters_are_left_out_of_what_is_read():
    assert session().known("hé→l\x1b").tolist() == [True, False, False, True, False]
    assert session().suggest("hé→el\x1blo") == session().suggest("hello")
    assert session().suggest("é") == session().suggest("")


def test_of_bytes_a_character_is_known_if_each_of_its_is_and_what_is_none_is_not_suggested():
    raw = sorted(set("n é€\n".encode()) - {0xAC})  # not the last byte of the euro sign
    of_bytes = Session(trained(Vocabulary(tuple(map(chr, raw)), bytes_mode=True)))
    assert of_bytes.known("né€").tolist() == [True, True, False]
    assert of_bytes.suggest("n€é") == of_bytes.suggest("né")
    assert of_bytes.probabilities("né").shape == (2,)
    written = np.array([raw.index(b) for b in "né né".encode()[:-1]])

    def suggested(ids):
        return of_bytes._suggestion(np.array(len(ids)), np.array(0.5), ids).text

    assert suggested(written[:3]) == "né" and suggested(written[:2]) == "n" and suggested(written[3:]) == " n"


def test_a_reading_is_given_up_for_a_newer_request_and_what_was_read_stays_read():
    mine, asked = Session(trained()), list[None]()

    def after_two() -> bool:
        asked.append(None)
        return len(asked) > 2

    assert mine.suggest(LONG, stale=after_two) is None
    assert max(mine._states) == 2 * module.READ
    assert np.isnan(mine.probabilities(LONG)[2 * module.READ :]).all()
    assert mine.suggest(LONG) == session().suggest(LONG)


def test_what_it_cannot_go_by_is_refused():
    words = SimpleNamespace(symbols=("a", "bc"))
    with pytest.raises(ConfigurationError, match="longer than one character"):
        Session(trained(words))
    broken = trained()
    graphdef, params = broken.split(None)
    broken.split = lambda checkpoint: (graphdef, jax.tree.map(lambda p: p * np.nan, params))
    with pytest.raises(NumericError, match="not finite"):
        Session(broken)
