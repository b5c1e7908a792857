"""Palindromes: what they are, that each row stands for itself, and which lengths there are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.errors import ConfigurationError
from jaxrnn.tasks.probes import as_numbers, palindromes

KEY = jax.random.key(3)


@pytest.mark.parametrize("length", [1, 2, 5, 6, 31])
def test_a_row_and_its_target_read_the_same_from_both_ends(length):
    digits, targets = palindromes(KEY, jnp.arange(200), length)
    assert digits.shape == (length, 200) and digits.dtype == jnp.uint8 and targets.dtype == jnp.int32
    whole = np.concatenate([np.asarray(digits), np.asarray(targets)[None]])
    np.testing.assert_array_equal(whole, whole[::-1])
    assert whole.min() == 0 and whole.max() == 9


def test_the_free_half_is_drawn_evenly_and_independently():
    digits = np.asarray(palindromes(KEY, jnp.arange(20_000), 6)[0])
    for t in range(4):  # 7 digits in all, 4 of them free
        counts = np.bincount(digits[t], minlength=10)
        assert (np.abs(counts - 2000) < 5 * np.sqrt(2000)).all()
        for earlier in range(t):
            pairs = np.bincount(10 * digits[earlier].astype(int) + digits[t], minlength=100)
            assert (np.abs(pairs - 200) < 6 * np.sqrt(200)).all()


def test_a_row_depends_on_the_key_and_its_number_only():
    digits, targets = palindromes(KEY, jnp.arange(8), 5)
    some, some_targets = palindromes(KEY, jnp.array([6, 2]), 5)
    np.testing.assert_array_equal(some, digits[:, jnp.array([6, 2])])
    np.testing.assert_array_equal(some_targets, targets[jnp.array([6, 2])])
    assert (np.asarray(palindromes(jax.random.key(4), jnp.arange(8), 5)[0]) != np.asarray(digits)).any()


def test_both_precisions_draw_the_same_digits():
    with jax.enable_x64(True):
        digits, targets = palindromes(KEY, jnp.arange(8), 5)
    expected, expected_targets = palindromes(KEY, jnp.arange(8), 5)
    np.testing.assert_array_equal(digits, expected)
    np.testing.assert_array_equal(targets, expected_targets)


def test_a_digit_is_one_number_as_it_is():
    digits = jnp.array([[3, 9], [0, 1]], jnp.uint8)
    np.testing.assert_array_equal(as_numbers(digits), np.array([[[3.0], [9.0]], [[0.0], [1.0]]], np.float32))


@pytest.mark.parametrize("length", [0, -1, 10**6, 2.0, True, None])
def test_a_bad_length_is_refused(length):
    with pytest.raises(ConfigurationError, match="^--sequence-length expects a whole number from 1 to 100000"):
        palindromes(KEY, jnp.arange(2), length)
