"""Palindromes of digits: the first digit must be remembered to the end. Drawn from a key, on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.tasks.sequence_lengths import check_length

DIGITS = 10


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
