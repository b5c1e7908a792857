"""Shares of a text against whole numbers, and the smallest share against all others of as many digits."""

from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data.splits import held_out, smallest_share

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
