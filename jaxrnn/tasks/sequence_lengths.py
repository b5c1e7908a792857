"""How long the generated sequences may be; JAX is not needed to know it."""

from __future__ import annotations

from typing import Any

from jaxrnn.checks import check_count

COPIED_SYMBOLS = 10
LONGEST = 100_000
# The fewest steps T in which each task still asks for something.
SHORTEST = {
    "palindromes": 1,
    "copy-memory": 2 * COPIED_SYMBOLS,
    "adding": 2,
    "temporal-order": 10,
    "xor": 2,
}


def check_length(task: str, length: Any) -> None:
    """Refuses a number of steps that the task cannot have.

    Raises:
      ConfigurationError: if it is no whole number from the task's shortest to `LONGEST`.
    """
    check_count("sequence_length", length, SHORTEST[task], LONGEST)
