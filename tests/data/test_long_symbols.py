"""Words and byte pairs: lossless, learned as told, and never beyond what the characters know."""

import dataclasses
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.data.long_symbols import LongSymbols, learn_symbols
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import CheckpointError, ConfigurationError, DataError

LETTERS = "ab e\u00e9_1,\n\t\x03\u65e5\U0001f600\u0301"
CHARACTERS = Vocabulary.from_text(LETTERS)
TEXT = "the cat sat on the mat; and the dog, the cat and the mat sat.\nso the cat said: mat\n" * 3
texts = st.text(st.sampled_from(LETTERS), min_size=1, max_size=200)


def words_of(text: str) -> list[str]:
    """The pieces of an ASCII text of letters, marks, spaces and line feeds, found letter by letter."""
    pieces, word = list[str](), ""
    for character in text:
        if word.strip() and not (character.isalpha() and word[-1].isalpha()):
            pieces, word = [*pieces, word], ""
        if word == " " and character in " \n":
            pieces, word = [*pieces, word], ""
        word += character
        if character == "\n":
            pieces, word = [*pieces, word], ""
    return [*pieces, word] if word else pieces


@given(texts, texts, st.integers(1, 12))
def test_whatever_was_learned_a_text_comes_back_and_every_character_is_counted(learned, text, more):
    words = learn_symbols("words", learned, CHARACTERS, len(CHARACTERS) + more)
    for ids in (words.encode(text), words.encode_part(text)):
        assert words.decode(ids) == words.display_text(ids) == text
        assert words.count_characters(ids) == len(text)
    assert words.symbols[words.encode_part(text)[0]] == text[0]
    assert words.symbols[: len(CHARACTERS)] == CHARACTERS.symbols and len(words) <= len(CHARACTERS) + more
    assert not any("\x03" in symbol for symbol in words.symbols if len(symbol) > 1)  # else documents would not end


@pytest.mark.parametrize("more", [1, 3, 100])
def test_words_are_the_most_frequent_pieces_and_what_is_rare_is_spelt(more):
    characters = Vocabulary.from_text(TEXT)
    words = learn_symbols("words", TEXT + " once", characters, len(characters) + more)
    counts = Counter(piece for piece in words_of(TEXT) if len(piece) > 1)
    expected = sorted(counts, key=lambda word: (-counts[word], word))[:more]
    assert words.symbols[len(characters) :] == tuple(expected) and expected[0] == " the"
    pieces = [[piece] if piece in expected else list(piece) for piece in words_of(TEXT)]
    assert [words.symbols[i] for i in words.encode(TEXT)] == sum(pieces, [])
    assert " once" not in words.symbols


def test_byte_pairs_are_merged_as_the_library_merges_them():
    tokenizers = pytest.importorskip("tokenizers")
    characters = Vocabulary.from_text(TEXT)
    pairs = learn_symbols("bpe", TEXT, characters, len(characters) + 15)
    assert len(pairs) == len(characters) + 15 and pairs == learn_symbols("bpe", TEXT, characters, len(pairs))
    left = [(pairs.symbols[a], pairs.symbols[b]) for a, b in pairs.merges or ()]
    ids = {symbol: i for i, symbol in enumerate(pairs.symbols)}
    library = tokenizers.Tokenizer(tokenizers.models.BPE(ids, left))
    other = "that dog sat on a cat, hatted and matted\n  the the"
    for text in (TEXT, other):
        assert pairs.encode(text).tolist() == [i for piece in words_of(text) for i in library.encode(piece).ids]
        assert pairs.decode(pairs.encode(text)) == text


def test_the_first_pair_is_the_most_frequent_one():
    pytest.importorskip("tokenizers")
    pairs = learn_symbols("bpe", TEXT, Vocabulary.from_text(TEXT), 1000)
    counts = Counter(pair for piece in words_of(TEXT) for pair in zip(piece, piece[1:], strict=False))
    assert pairs.merges is not None
    first, second = pairs.merges[0]
    assert counts[pairs.symbols[first], pairs.symbols[second]] == max(counts.values())
    assert all(TEXT.count(symbol) > 1 for symbol in pairs.symbols if len(symbol) > 1)


def test_the_library_is_needed_to_learn_pairs_and_not_to_use_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigurationError, match=r'pip install "jaxrnn\[bpe\]"'):
        learn_symbols("bpe", TEXT, Vocabulary.from_text(TEXT), 1000)
    pairs = LongSymbols(("a", "b", "c", "bc", "abc"), merges=((1, 2), (0, 3)))
    assert pairs.encode("abcbcab").tolist() == [4, 3, 0, 1]


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(ConfigurationError, match="--vocabulary-size expects more than the 14 characters"):
        learn_symbols("words", "a", CHARACTERS, len(CHARACTERS))
    with pytest.raises(ConfigurationError, match="leave --bytes out"):
        learn_symbols("words", "ab ab", Vocabulary(("a", "b"), bytes_mode=True), 100)


def test_an_unknown_character_is_refused_and_named():
    words = learn_symbols("words", TEXT, Vocabulary.from_text(TEXT), 100)
    with pytest.raises(DataError, match=r"'X' \(U\+0058\) at position 8, line 1"):
        words.encode("the cat X")
    assert words.encode("").tolist() == [] and words.encode_prompt("").tolist() == words.encode("\n").tolist()


@pytest.mark.parametrize(
    ("symbols", "merges", "said"),
    [
        (("ab",), None, "no symbols"),
        (("b", "a"), None, "at place 1"),
        (("a", "b", "ab", "ab"), None, "'ab' at place 3"),
        (("a", "b", "ab", "a"), None, "'a' at place 3"),
        (("a", "ac"), None, "'ac' at place 1"),
        (("a", "\ud800a"), None, "at place 1"),
        (("a", "a" * 66), None, "at place 1"),
        (("a", 7), None, "7 at place 1"),
        (("a", "aa", 7), None, "7 at place 2"),
        (("a", "aa"), (), "no merge makes"),
        (("a", "aa"), ((0, 2),), "at place 0 of the merges"),
        (("a", "aa"), ((-1, 0),), "at place 0 of the merges"),
        (("a", "aa"), ((0, True),), "at place 0 of the merges"),
        (("a", "aa"), ((0, 0), (0, 1)), "at place 1 of the merges"),
    ],
)
def test_other_symbols_are_refused(symbols, merges, said):
    with pytest.raises(ValueError, match=said):
        LongSymbols(symbols, merges=merges)


def test_vocabularies_tell_each_other_apart():
    words, others = LongSymbols(("a", "b", "ab", "ba")), LongSymbols(("a", "b", "ba", "ab"))
    assert len({of.digest for of in (words, others, words.spelt)}) == 3 and words != others
    with pytest.raises(CheckpointError) as caught:
        words.require_same(LongSymbols(("a", "b", "aa"), merges=((0, 0),)))
    assert caught.value.details[:2] == (
        "the checkpoint holds words, the other byte pairs",
        "only in the checkpoint: 'ab'",
    )
    for of in (words, Vocabulary.from_text("ab")):
        assert dataclasses.replace(of) == of


def test_a_corpus_in_longer_symbols_is_the_same_text_and_still_ends_its_documents():
    characters = corpus_from_text("a cat\x03a dog\x03a cat\x03")
    corpus = dataclasses.replace(characters, document_end=int(characters.vocabulary.encode("\x03")[0]))
    words = corpus.in_symbols(learn_symbols("words", "a cat a cat", corpus.vocabulary, 30))
    assert words.vocabulary.decode(words.ids) == characters.vocabulary.decode(characters.ids)
    assert (words.ids == words.document_end).sum() == 3 and len(words) < len(characters)


def test_bytes_that_go_on_with_a_character_count_for_none():
    text = "d\u00e9j\u00e0 \u65e5\U0001f600".encode().decode("latin-1")
    vocabulary = Vocabulary(tuple(sorted(set(text))), bytes_mode=True)
    assert vocabulary.count_characters(vocabulary.encode(text)) == 7
    assert Vocabulary.from_text(text).count_characters(np.zeros(9, np.uint8)) == 9
