"""Numbers about generated texts: small ones by hand, the longest runs against every run."""

import math
import re

import numpy as np
import pytest

from jaxrnn.inspect.novelty import distinct_words
from jaxrnn.inspect.sample_quality import (
    longest_copy,
    longest_repeat,
    quality_of_sample,
    quality_table,
    read_training_text,
)

TRAINING = read_training_text(
    'The prince said: "Well, Pierre, you know." Well, said Pierre to Anna; they don\'t know the Rose\n\n'
    "Dinner was late. So I saw a rose and Mary Anna"
)


def test_names_have_a_capital_inside_a_sentence_and_never_none():
    # Not Well (begins a speech), Dinner (a paragraph), Rose (a flower too), I (one letter), The (a sentence).
    assert TRAINING.names == {"pierre", "anna", "mary"}
    assert {"don't", "dinner", "rose", "i"} <= TRAINING.words


def test_a_sample_by_hand():
    sample = "utting Anna and Pierre sawx the prinec, with Boris I know. Xyzzy said the kno anna teh dinne"
    # Of the words without the cut first and last, 16: unknown are sawx, prinec, with, Boris, Xyzzy, kno and teh.
    found = quality_of_sample(sample, TRAINING)
    assert (found.characters, found.words) == (len(sample), 16)
    assert found.known_share == pytest.approx(9 / 16)
    assert found.name_share == pytest.approx(2 / 16)  # Anna, Pierre; not anna
    assert found.new_name_share == pytest.approx(1 / 16)  # Boris; Xyzzy begins a sentence
    # sawx - x, prinec swapped, kno + w, teh swapped; none is one edit from with, Boris or Xyzzy.
    assert found.misspelt_share == pytest.approx(4 / 16)
    assert found.repeated_share == 0
    assert found.word_entropy_nats == pytest.approx(-(2 * 2 / 16 * math.log(2 / 16) + 12 / 16 * math.log(1 / 16)))
    counts = [sample.count(character) for character in set(sample)]
    assert found.character_entropy_nats == pytest.approx(-sum(c / 92 * math.log(c / 92) for c in counts))
    assert found.longest_copy == len("d Pierre ")  # of "said Pierre to"


def test_a_replaced_letter_is_a_misspelling_and_two_edits_are_none():
    assert quality_of_sample("well rosa dinmer rosa well", TRAINING).misspelt_share == 1
    assert quality_of_sample("ross dimmer princess", TRAINING).misspelt_share == 0


def test_repeats_of_words_and_characters():
    found = quality_of_sample("a b c d e a b c d f a b c d e g", TRAINING)
    # Of 14 words b ... e, 11 runs of four: bcde cdea deab eabc abcd bcdf cdfa dfab fabc abcd bcde; two again.
    assert found.words == 14 and found.repeated_share == pytest.approx(2 / 11)
    assert found.longest_repeat == len("a b c d e ")


def test_the_table_has_a_row_an_update_and_temperature_with_the_numbers_of_its_samples():
    training = read_training_text("The cat sat on the mat. A dog ran.")
    samples = [(1000, 0.5, "a cat ran on"), (20, 1.0, "the dgo ran"), (1000, 0.5, "The dog sat."), (1000, 0.01, "")]
    head, _, *rows = [line.strip("| ").split(" | ") for line in quality_table(samples, training).splitlines()]
    assert head[:4] == ["update", "temperature", "characters", "words"] and len(head) == 13
    assert [row[:2] for row in rows] == [["20", "1"], ["1,000", "0.01"], ["1,000", "0.5"]]
    for row, text in zip(rows, ["the dgo ran", "", "a cat ran on\nThe dog sat."], strict=True):
        found = [float(cell) for cell in row[2:]]
        np.testing.assert_allclose(found, quality_of_sample(text, training), atol=5e-4)


def test_different_words_are_those_of_a_set_that_grows():
    text = "The cat sat. the CAT ran off; don't, dog, don't! x"
    for every in (1, 4, 7, 100):
        ends = [min(end, len(text)) for end in range(every, len(text) + every, every)]
        words = [(match.end(), match[0].lower()) for match in re.finditer(r"[A-Za-z]+(?:'[A-Za-z]+)?", text)]
        expected = [len({word for at, word in words if at <= end}) for end in ends]
        assert distinct_words(text, every).tolist() == expected
    assert distinct_words("", 5).tolist() == []


def test_nothing_has_no_shares():
    found = quality_of_sample("", TRAINING)
    assert (found.characters, found.words, found.longest_repeat, found.longest_copy) == (0, 0, 0, 0)
    assert all(math.isnan(number) for number in (*found[2:7], *found[9:]))
    assert quality_of_sample("saw", read_training_text("")).known_share == 0


def slow_longest_copy(text: str, source: str) -> int:
    runs = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    return max((len(run) for run in runs if run in source), default=0)


def slow_longest_repeat(text: str) -> int:
    runs = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    return max((len(run) for run in runs if text.find(run) != text.rfind(run)), default=0)


def test_the_longest_runs_equal_those_among_all_runs():
    generator = np.random.default_rng(0)
    for symbols in ("ab", "abcé", "aй😀"):
        for length in (1, 2, 5, 17, 40):
            text, source = ("".join(generator.choice(list(symbols), size)) for size in (length, 60))
            assert longest_copy(text, source) == slow_longest_copy(text, source)
            assert longest_repeat(text) == slow_longest_repeat(text)
            assert longest_copy(text, source + text + source) == length
    assert longest_repeat("a" * 100) == 99 and longest_copy("xy", "ab") == 0
