"""The generated sequences by name: what the settings know of each. Nothing here loads JAX."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxrnn.checks import as_count

COPIED_SYMBOLS = 10
LONGEST = 100_000


class Kind(NamedTuple):
    """A row of `GENERATED`.

    Attributes:
      shortest: the fewest steps T in which it still asks for something.
      inputs: how it can be read; the first is the default.
      answers: K, the steps at the end that are scored.
    """

    shortest: int
    inputs: tuple[str, ...]
    answers: int = 1


GENERATED = {
    "palindromes": Kind(1, ("number", "one-hot")),
    "copy-memory": Kind(2 * COPIED_SYMBOLS, ("one-hot",), COPIED_SYMBOLS),
    "adding": Kind(2, ("number",)),
    "temporal-order": Kind(10, ("one-hot",)),
    "xor": Kind(2, ("number",)),
}


def check_length(task: str, length: Any) -> int:
    """A number of steps that the task can have.

    Raises:
      ConfigurationError: if it is no whole number from the task's shortest to `LONGEST`.
    """
    return as_count("sequence_length", length, GENERATED[task].shortest, LONGEST)
