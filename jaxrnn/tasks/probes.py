"""Probes of memory, drawn from a key on the device: palindromes, copy memory, adding, temporal order, XOR.

Each is `(key, rows, length) -> (inputs, targets)`. A row depends on the key and its own number only, so that a batch
split over devices is the same batch. Inputs are ids (T, B) or numbers (T, B, F), float32 whatever the model's dtype, so
that both precisions see the same examples.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.tasks.generated import COPIED_SYMBOLS, check_length

DIGITS = 10  # of palindromes
COPY_ALPHABET = 8
BLANK, RECALL = COPY_ALPHABET, COPY_ALPHABET + 1
FIRST_SIGNAL, ORDER_SYMBOLS = 4, 6  # temporal order: a b c d X Y


def palindromes(key: jax.Array, rows: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    r"""The first T digits of palindromes of length T + 1, and the digit that ends each.

        x_{T+2-t} = x_t  for t = 1 .. T + 1          the target is x_{T+1} = x_1

    Half of the digits, rounded up, are drawn evenly from 0 .. 9, the rest mirror them.

    Args:
      key: key of the update.
      rows: numbers of the rows, (B,). A row depends on the key and its own number only, so that a batch split over
        devices is the same batch.
      length: T, the digits that the network reads.

    Returns:
      Digits (T, B), uint8, and targets (B,), int32.

    Raises:
      ConfigurationError: if T is below 1 or too large.

    Example:
      >>> digits, targets = palindromes(jax.random.key(0), jnp.arange(4), 5)
      >>> digits.shape, bool((digits[0] == targets).all()), bool((digits[1] == digits[4]).all())
      ((5, 4), True, True)
    """
    check_length("palindromes", length)
    half = length // 2 + 1  # (T + 1) / 2, rounded up

    def one(row: jax.Array) -> jax.Array:
        drawn = jax.random.randint(jax.random.fold_in(key, row), (half,), 0, DIGITS, jnp.int32)
        mirrored = drawn if length % 2 else drawn[:-1]
        return jnp.concatenate([drawn, mirrored[::-1]])

    whole = jax.vmap(one, out_axes=1)(rows)
    return whole[:-1].astype(jnp.uint8), whole[-1]


def as_numbers(digits: jax.Array, dtype: jax.typing.DTypeLike = jnp.float32) -> jax.Array:
    """Each digit as one number from 0 to 9, as it is: (T, B) gives (T, B, 1)."""
    return digits.astype(dtype)[:, :, None]


def copy_memory(key: jax.Array, rows: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    r"""K = 10 symbols, blanks, a sign, and then the symbols are to be given back in their order.

        x = s_1 .. s_K, blank x (T - 2 K), recall, blank x (K - 1)          y_{T-K+k} = s_k

    Only the last K steps are scored, so guessing costs ln 8 each. (Arjovsky et al. also score the blanks before them,
    which any network learns at once.)

    Args:
      key: key of the update.
      rows: numbers of the rows, (B,).
      length: T, at least 2 K.

    Returns:
      Ids (T, B), uint8: 0 .. 7 the symbols, 8 blank, 9 recall. Targets (K, B), int32.

    Raises:
      ConfigurationError: if T is too small or too large.

    Source: Hochreiter and Schmidhuber, 1997; this form is that of Arjovsky, Shah and Bengio, 2016.
    """
    check_length("copy-memory", length)
    keys = _row_keys(key, rows)
    symbols = jax.vmap(lambda k: jax.random.randint(k, (COPIED_SYMBOLS,), 0, COPY_ALPHABET, jnp.int32), out_axes=1)(
        keys
    )
    rest = jnp.full((length - COPIED_SYMBOLS, rows.shape[0]), BLANK, jnp.int32)
    rest = rest.at[length - 2 * COPIED_SYMBOLS].set(RECALL)
    return jnp.concatenate([symbols, rest]).astype(jnp.uint8), symbols


def adding(key: jax.Array, rows: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    r"""Two of T numbers are marked, one in each half; their sum is asked for.

        x_t = (u_t, m_t)      u_t ~ U(0, 1), m_t = 1 at two steps, else 0          y = sum_t u_t m_t

    Always answering 1 costs a squared error of 1 / 6.

    Args:
      key: key of the update.
      rows: numbers of the rows, (B,).
      length: T, at least 2.

    Returns:
      Numbers (T, B, 2), float32, and targets (B,), float32.

    Raises:
      ConfigurationError: if T is too small or too large.

    Source: Hochreiter and Schmidhuber, 1997, in the form of Arjovsky, Shah and Bengio, 2016.
    """
    check_length("adding", length)
    keys = _row_keys(key, rows)
    marks = _marks(keys, length)
    numbers = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 1), (length,), jnp.float32), out_axes=1)(keys)
    return jnp.stack([numbers, marks], axis=-1), (numbers * marks).sum(axis=0)


def xor(key: jax.Array, rows: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    r"""Two of T bits are marked, one in each half; whether they differ is asked for.

        x_t = (b_t, m_t)      b_t in {0, 1}, m_t = 1 at two steps, else 0          y = sum_t b_t m_t mod 2

    Args:
      key: key of the update.
      rows: numbers of the rows, (B,).
      length: T, at least 2.

    Returns:
      Numbers (T, B, 2), float32, and targets (B,), int32: 0 or 1.

    Raises:
      ConfigurationError: if T is too small or too large.

    Source: the task of Hochreiter and Schmidhuber's adding problem, with XOR as in Martens and Sutskever, 2011.
    """
    check_length("xor", length)
    keys = _row_keys(key, rows)
    marks = _marks(keys, length)
    bits = jax.vmap(lambda k: jax.random.bernoulli(jax.random.fold_in(k, 1), 0.5, (length,)), out_axes=1)(keys)
    marked = (bits & (marks > 0)).sum(axis=0, dtype=jnp.int32)
    return jnp.stack([bits.astype(jnp.float32), marks], axis=-1), marked % 2


def temporal_order(key: jax.Array, rows: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    r"""Two signals, each X or Y, stand among distractors a b c d; which came in which order is asked for.

        x_{t_1}, x_{t_2} in {X, Y}      t_1 in [T / 10, 2 T / 10), t_2 in [5 T / 10, 6 T / 10), steps counted from 0
        y = 2 [x_{t_1} = Y] + [x_{t_2} = Y]                      XX, XY, YX, YY

    Args:
      key: key of the update.
      rows: numbers of the rows, (B,).
      length: T, at least 10.

    Returns:
      Ids (T, B), uint8: 0 .. 3 the distractors, 4 X, 5 Y. Targets (B,), int32.

    Raises:
      ConfigurationError: if T is too small or too large.

    Source: Hochreiter and Schmidhuber, 1997, task 6a, without its signs of beginning and end.
    """
    check_length("temporal-order", length)

    def one(row_key: jax.Array) -> tuple[jax.Array, jax.Array]:
        key_symbols, key_signals, key_first, key_second = jax.random.split(row_key, 4)
        signals = jax.random.bernoulli(key_signals, 0.5, (2,)).astype(jnp.int32)
        first = jax.random.randint(key_first, (), length // 10, 2 * length // 10, jnp.int32)
        second = jax.random.randint(key_second, (), 5 * length // 10, 6 * length // 10, jnp.int32)
        ids = jax.random.randint(key_symbols, (length,), 0, FIRST_SIGNAL, jnp.int32)
        steps = jnp.arange(length)
        ids = jnp.where(steps == first, FIRST_SIGNAL + signals[0], ids)
        ids = jnp.where(steps == second, FIRST_SIGNAL + signals[1], ids)
        return ids.astype(jnp.uint8), 2 * signals[0] + signals[1]

    return jax.vmap(one, out_axes=(1, 0))(_row_keys(key, rows))


def _row_keys(key: jax.Array, rows: jax.Array) -> jax.Array:
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def _marks(keys: jax.Array, length: int) -> jax.Array:
    # (T, B): one 1 in each half of a row.
    def one(row_key: jax.Array) -> jax.Array:
        key_first, key_second = jax.random.split(jax.random.fold_in(row_key, 0))
        first = jax.random.randint(key_first, (), 0, length // 2, jnp.int32)
        second = jax.random.randint(key_second, (), length // 2, length, jnp.int32)
        steps = jnp.arange(length)
        return ((steps == first) | (steps == second)).astype(jnp.float32)

    return jax.vmap(one, out_axes=1)(keys)
