"""Vocabularies: encode and decode exactly, refuse the unknown."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import CheckpointError, DataError

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(texts)
def test_encode_equals_the_naive_dictionary_and_decodes_back(text):
    vocabulary = Vocabulary.from_text(text)
    assert vocabulary.symbols == tuple(sorted(set(text)))
    ids = vocabulary.encode(text)
    assert ids.tolist() == [vocabulary.symbols.index(c) for c in text]
    assert vocabulary.decode(ids) == text


@given(texts, texts)
def test_a_foreign_character_is_refused_and_never_mapped(text, other):
    vocabulary = Vocabulary.from_text(text)
    foreign = set(other) - set(text)
    if not foreign:
        assert vocabulary.decode(vocabulary.encode(other)) == other
        return
    with pytest.raises(DataError, match=f"\\({len(foreign)} different unknown"):
        vocabulary.encode(other)


def test_unknown_character_is_named_with_place_and_escape():
    vocabulary = Vocabulary.from_text("abc\n")
    with pytest.raises(DataError) as caught:
        vocabulary.encode("ab\nc\u202ea\n\x1b\n")
    message = str(caught.value)
    assert "'\\u202e' (U+202E) at position 4, line 2 (2 different unknown characters)" in message
    assert "\n" not in message and message.isprintable()
    assert any("U+001B" in line for line in caught.value.details)


def test_unknown_character_beyond_the_largest_symbol_is_refused():
    with pytest.raises(DataError, match=r"U\+1F600"):
        Vocabulary.from_text("ab").encode("ab\U0001f600")


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(1, np.uint8), (256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.uint32), (100_000, np.uint32)],
)
def test_ids_take_the_smallest_type(size, dtype):
    text = "".join(chr(0x10000 + i) for i in range(size))
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert len(vocabulary) == size and ids.dtype == dtype and int(ids[-1]) == size - 1
    assert vocabulary.decode(ids[-3:]) == text[-3:]


def test_encoding_in_blocks_reports_positions_of_the_whole_text():
    vocabulary = Vocabulary.from_text("a\n")
    text = "a" * (1 << 20) + "\nax"
    with pytest.raises(DataError, match=f"position {(1 << 20) + 2}, line 2 "):
        vocabulary.encode(text)


@pytest.mark.parametrize("ids", [[-1], [3], [255], [0.0], [0.5]])
def test_decode_refuses_what_is_not_an_id(ids):
    with pytest.raises(ValueError, match="expected"):
        Vocabulary.from_text("abc").decode(ids)


def test_decode_of_nothing_is_nothing():
    assert Vocabulary.from_text("abc").decode([]) == ""
    assert len(Vocabulary.from_text("abc").encode("")) == 0


@pytest.mark.parametrize("symbols", [(), ("b", "a"), ("a", "a"), ("ab",), ("",), (1,), ("\ud800",)])
def test_constructor_refuses_other_than_sorted_single_characters(symbols):
    with pytest.raises(ValueError, match="expected a vocabulary of sorted single characters"):
        Vocabulary(symbols)


def test_vocabulary_is_immutable_and_compared_by_content():
    vocabulary = Vocabulary.from_text("abc")
    assert vocabulary == Vocabulary(("a", "b", "c")) and hash(vocabulary) == hash(Vocabulary(("a", "b", "c")))
    assert vocabulary != Vocabulary(("a", "b", "c"), bytes_mode=True)
    with pytest.raises(AttributeError):
        vocabulary.symbols = ("x",)  # type: ignore[misc]


def test_from_text_refuses_empty_and_surrogates():
    with pytest.raises(DataError, match="empty"):
        Vocabulary.from_text("")
    with pytest.raises(DataError, match=r"U\+DC80"):
        Vocabulary.from_text("a\udc80")


def test_another_vocabulary_is_refused_with_the_differing_characters():
    ours, other = Vocabulary.from_text("abc"), Vocabulary.from_text("ab\x1b")
    ours.require_same(Vocabulary.from_text("cba"))
    with pytest.raises(CheckpointError, match="vocabulary of the run") as caught:
        ours.require_same(other, what="the run")
    details = caught.value.details
    assert details == ("only in the run: 'c' (U+0063)", "only in the other: '\\x1b' (U+001B)")
    with pytest.raises(CheckpointError) as caught:
        ours.require_same(Vocabulary(ours.symbols, bytes_mode=True))
    assert "bytes" in caught.value.details[0]


def test_byte_mode_prompts_are_utf8_and_shown_as_utf8():
    data = "né".encode()
    vocabulary = Vocabulary(tuple(sorted({chr(b) for b in data})), bytes_mode=True)
    ids = vocabulary.encode_prompt("né")
    assert vocabulary.decode(ids).encode("latin-1") == data
    assert vocabulary.display_text(ids) == "né"
    assert vocabulary.display_text(ids[:2]) == "n\\xc3"
    assert vocabulary.decode(vocabulary.encode_prompt("\udcc3")) == "\xc3"
    with pytest.raises(DataError, match="surrogate"):
        vocabulary.encode_prompt("\ud800")
    with pytest.raises(DataError, match="unknown bytes"):
        vocabulary.encode_prompt("z")


def test_a_prompt_with_surrogates_is_refused_as_unknown():
    with pytest.raises(DataError, match=r"U\+D800"):
        Vocabulary.from_text("ab").encode_prompt("a\ud800")


def test_the_digest_is_over_kind_and_symbols_in_order() -> None:
    expected = hashlib.sha256(b"characters\n" + b"a\0\0\0" + b"\xac\x20\0\0").hexdigest()
    assert Vocabulary(("a", "€")).digest == expected
    assert len({Vocabulary(s, b).digest for s, b in ((("a",), False), (("a",), True), (("a", "b"), False))}) == 3
