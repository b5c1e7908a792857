"""Facts: the counts equal the naive ones, in blocks of any size, and print safely."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data import facts as facts_module
from jaxrnn.data.corpus import Corpus, corpus_from_text, load_corpus
from jaxrnn.data.facts import corpus_facts, format_facts
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary

alphabet = st.one_of(st.sampled_from("ab \n\t\x85\xa0\u2028"), st.characters(exclude_categories=["Cs"]))


@given(st.text(alphabet, min_size=1, max_size=40), st.integers(1, 7))
def test_counts_equal_the_naive_ones(text, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts_module, "_BLOCK", block)
        facts = corpus_facts(corpus_from_text(text))
    assert (facts.characters, facts.lines) == (len(text), text.count("\n"))
    assert (facts.words, facts.distinct_words) == (len(text.split()), len(set(text.split())))
    assert facts.bytes == facts.utf8_bytes == len(text.encode())
    assert facts.distinct_characters == len(set(text)) == len(facts.symbols)
    assert {symbol.symbol: symbol.count for symbol in facts.symbols} == {c: text.count(c) for c in text}
    assert [symbol.symbol for symbol in facts.non_ascii] == sorted(c for c in set(text) if ord(c) > 127)


def test_words_longer_than_a_block_are_whole(monkeypatch):
    monkeypatch.setattr(facts_module, "_BLOCK", 2)
    facts = corpus_facts(corpus_from_text("abcdefg abxdefg abcdefg"))
    assert (facts.words, facts.distinct_words) == (3, 2)


@given(st.binary(min_size=1, max_size=40), st.integers(1, 7))
def test_counts_of_bytes_equal_the_naive_ones(tmp_path_factory, data, block):
    path = tmp_path_factory.mktemp("f") / "data"
    path.write_bytes(data)
    corpus = load_corpus(str(path), ReadingOptions(bytes_mode=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts_module, "_BLOCK", block)
        facts = corpus_facts(corpus)
    assert (facts.words, facts.distinct_words) == (len(data.split()), len(set(data.split())))
    assert facts.bytes == facts.utf8_bytes == facts.characters == len(data)
    assert "bytes as UTF-8" not in format_facts(facts)


def test_a_symbol_that_does_not_occur_is_not_counted():
    corpus = corpus_from_text("aé")
    other = Corpus("x", corpus.ids[:1], corpus.vocabulary, "", ReadingOptions())
    facts = corpus_facts(other)
    assert facts.distinct_characters == 1 and facts.non_ascii == ()


def test_the_table_is_aligned_and_escapes_foreign_characters():
    facts = corpus_facts(corpus_from_text("né \u202e\x9b\ufeff été", name="evil\x1b[2J"))
    table = format_facts(facts)
    assert all(line.isprintable() for line in table.splitlines())
    rows = table.splitlines()
    assert "evil\\x1b[2J" in rows[0] and len({len(row.split("  ")[0]) for row in rows}) > 1
    assert any(
        row.split() == ["é", "U+00E9", "2", "3", "LATIN", "SMALL", "LETTER", "E", "WITH", "ACUTE"] for row in rows
    )
    assert any(row.startswith("\\u202e") and "U+202E" in row for row in rows)
    assert any(row.split()[:2] == ["characters", "10"] for row in rows)


def test_many_foreign_characters_are_cut_off():
    table = format_facts(corpus_facts(corpus_from_text("".join(map(chr, range(0x4E00, 0x4E00 + 300))))))
    assert table.splitlines()[-1] == "... and 200 more"


@pytest.mark.slow
def test_a_hundred_megabytes_take_bounded_time():
    vocabulary = Vocabulary.from_text("abcdefgh \n")
    ids = np.random.default_rng(0).integers(0, len(vocabulary), 100_000_000, np.uint8)
    began = time.monotonic()
    facts = corpus_facts(Corpus("large", ids, vocabulary, "", ReadingOptions()))
    assert facts.characters == 100_000_000 and time.monotonic() - began < 60
