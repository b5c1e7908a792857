"""Shares of a text against whole numbers, and the smallest share against all others of as many digits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.data.splits import held_out, smallest_share, split_text
from jaxrnn.errors import ConfigurationError

LENGTHS = st.integers(1, 10**10)


@given(LENGTHS, st.integers(0, 9999))
def test_a_share_of_four_digits_is_exact(characters, share):
    assert held_out(characters, float(f"0.{share:04}")) == characters * share // 10_000


@given(LENGTHS, st.integers(0, 10**10))
def test_a_computed_share_holds_out_what_it_was_computed_from(characters, count):
    count %= characters
    assert (
        held_out(characters, count / characters) == count
    )  # 80 / 720 is printed as 0.1111111111111111, 79.99.. of 720


@given(st.data(), LENGTHS.filter(lambda n: n > 1))
def test_the_smallest_share_works_as_typed_and_one_digit_less_does_not(data, characters):
    least = data.draw(st.integers(1, characters - 1))
    most = data.draw(st.integers(least, characters - 1))
    share = smallest_share(characters, least, most)
    assert share is not None and 0 < float(share) < 1
    assert least <= held_out(characters, float(share)) <= most
    below = int(share[2:]) - 1  # the same digits, the last one lower by one
    assert characters * below // 10 ** len(share[2:]) < least


def test_no_share_holds_out_what_a_text_does_not_have():
    assert smallest_share(10, 0, 5) is None and smallest_share(10, 6, 5) is None and smallest_share(10, 3, 10) is None
    assert smallest_share(10, 9, 9) == "0.9"


# ---- the parts of a text ----


def test_split_keeps_the_order_and_copies_nothing():
    corpus = corpus_from_text("abcdefghij")
    training, validation, test = split_text(corpus.ids, 0.25)
    assert corpus.vocabulary.decode(training) == "abcdefgh" and corpus.vocabulary.decode(validation) == "ij"
    assert np.shares_memory(training, corpus.ids) and np.shares_memory(validation, corpus.ids) and len(test) == 0
    assert [len(part) for part in split_text(corpus.ids, 0)] == [10, 0, 0]
    assert [len(part) for part in split_text(corpus.ids, 0.999)] == [1, 9, 0]


def test_split_takes_a_share_as_the_decimal_number_that_was_written():
    """In whole numbers: of N characters, P per cent are N P // 100."""
    ids = np.arange(100)
    assert [len(split_text(ids, float(f"0.{p:02}")).valid) for p in range(100)] == list(range(100))  # was 28 for 0.29
    assert [len(split_text(ids, share).valid) for share in (0, np.float64(0.29), 1e-2, 9e-3)] == [0, 29, 1, 0]


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan"), float("inf"), True, "0.1", None])
def test_split_refuses_other_fractions(fraction):
    for given_as in ("validation_fraction", "test_fraction"):
        with pytest.raises(ConfigurationError, match="from 0 to below 1"):
            split_text(np.arange(2), **{given_as: fraction})


def test_split_refuses_shares_that_leave_nothing_and_folds_that_are_not_there():
    with pytest.raises(ConfigurationError, match="a sum below 1, got 1"):
        split_text(np.arange(9), 0.9, 0.1)
    for fold in (-1, 3):
        with pytest.raises(ConfigurationError, match=f"from 0 to 2, got {fold}"):
            split_text(np.arange(9), 0.1, 0.1, fold, 3)


@given(st.integers(1, 300), st.integers(0, 99), st.integers(1, 99), st.integers(1, 7))
def test_each_fold_is_the_text_from_another_place_on_in_parts_of_equal_lengths(characters, valid, test, folds):
    """In whole numbers and slices: the text is read as a ring from f N // F on."""
    test = min(test, 99 - valid)
    ids, ring = np.arange(characters), [*range(characters)] * 2
    trained, validated = characters * (100 - valid - test) // 100, characters * valid // 100
    for fold in range(folds):
        parts = split_text(ids, valid / 100, test / 100, fold, folds)
        start = fold * characters // folds
        if test == 0:
            trained = characters - validated
        borders = [start, start + trained, start + trained + validated, start + characters]
        expected = [ring[begin:end] for begin, end in zip(borders, borders[1:], strict=False)]
        assert [part.tolist() for part in parts] == expected
        retrained = split_text(ids, valid / 100, test / 100, fold, folds, retrain=True)
        assert [part.tolist() for part in retrained] == [expected[0] + expected[1], [], expected[2]]


def test_the_folds_that_fill_a_text_test_each_symbol_once():
    tested = [split_text(np.arange(60), 0.1, 0.2, fold, 5).test for fold in range(5)]
    assert sorted(np.concatenate(tested).tolist()) == list(range(60))


@pytest.mark.parametrize("fold", [0, 1])
def test_without_test_data_the_validation_data_is_the_end(fold):
    """As it was before there was test data: rounded down, where with test data the training part is."""
    parts = split_text(np.arange(7), 0.5, fold=fold, folds=2)
    assert [len(part) for part in parts] == [4, 3, 0] and parts.valid[-1] == (6 + 3 * fold) % 7
    assert [len(part) for part in split_text(np.arange(7), 0.5, retrain=True)] == [7, 0, 0]
