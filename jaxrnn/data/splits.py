"""How many characters a share of a text is. A share is the decimal number that was written, not its binary neighbour.

0.29 of 100 characters are 29, where 100 * 0.29 in binary numbers is 28.999999999999996.
"""

from __future__ import annotations

import decimal
import math
from fractions import Fraction

LARGEST_DIGITS = 30  # far more than a text's length has


def held_out(characters: int, share: float) -> int:
    """How many characters a share of a text is, rounded down.

    Args:
      characters: N.
      share: from 0 to below 1; it means the shortest decimal number that Python prints for it. Where it is the quotient
        k / N as Python computes it, it means k characters.

    Example:
      >>> held_out(100, 0.29), held_out(720, 80 / 720)
      (29, 80)
    """
    count = math.floor(Fraction(repr(float(share))) * characters)
    return count + 1 if (count + 1) / characters <= share else count


def smallest_share(characters: int, least: int, most: int) -> str | None:
    """The smallest share of few digits that holds out so many characters, as a person would type it.

    Four digits are taken, rounded up, and more only where four would hold out too much.

    Args:
      characters: N.
      least: how many characters must be held out.
      most: how many may be.

    Returns:
      The share in decimal digits; None if no share holds out a number of characters between the two.

    Example:
      >>> smallest_share(1_000_000, 123_457, 200_000), smallest_share(1_000_000, 123_457, 123_457)
      ('0.1235', '0.123457')
    """
    if not 0 < least <= most < characters:
        return None
    for digits in range(4, LARGEST_DIGITS):
        rounding = decimal.Context(digits, decimal.ROUND_CEILING)
        share = format(rounding.divide(decimal.Decimal(least), decimal.Decimal(characters)), "f")
        if float(share) < 1 and least <= held_out(characters, float(share)) <= most:
            return share
    return None
