"""Parameters of which a change tries some, and `make slow` all."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def thinned(values: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """The values for `parametrize`; those that are not in `kept` are marked slow.

    Args:
      values: a value each, or a tuple of them.
      kept: the values that stand for a kind of their own.
    """
    values = list(values)
    assert set(kept) <= set(values), set(kept) - set(values)
    return [
        value
        if value in kept
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
        for value in values
    ]
