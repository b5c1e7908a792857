"""A caller's functions, called as training goes on."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

from jaxrnn.checks import check_call
from jaxrnn.errors import ConfigurationError

# When: after every so many updates, or after each of these numbers of updates. What: called with the updates done and
# the trainer, at which it looks and which it does not change.
Callback = tuple[int | Collection[int], Callable[[int, Any], None]]


def checked_callbacks(callbacks: Any) -> list[Callback]:
    """The pairs as a list, with updates as Python's own numbers.

    Raises:
      ConfigurationError: if they are no pairs of an interval, or updates, and a function.
    """
    try:
        pairs: list[Callback] = [(_points(when), call) for when, call in callbacks]
        firsts = [when if isinstance(when, int) else min(when, default=1) for when, _ in pairs]
    except (TypeError, ValueError):
        pairs, firsts = [], [0]
    if min(firsts, default=1) < 1 or not all(callable(call) for _, call in pairs):
        raise ConfigurationError(
            "callbacks are pairs (when, call), `when` a number of updates from 1 or several such numbers, with a "
            f"function call(update, trainer); got {callbacks!r:.80}"
        )
    for _, call in pairs:
        check_call("a callback", call, "update", "trainer")
    return pairs


def call_watched(call: Callable[[int, Any], None], update: int, trainer: Any) -> None:
    """Calls a callback, during which the trainer refuses to be changed."""
    trainer.is_watched = True
    try:
        call(update, trainer)
    finally:
        trainer.is_watched = False


def refuse_change(trainer: Any) -> None:
    """Refuses what changes a trainer's states while a callback looks at them: the loop and its log would not know.

    Raises:
      ConfigurationError: with what to do.
    """
    if trainer.is_watched:
        raise ConfigurationError(
            "a callback looks at the trainer and does not change its state, as advance, put, begin, validate and judge "
            "do; use `score` and `params`, give fit more `updates`, or train another jaxrnn.Trainer(init_from=trainer)"
        )


def _points(when: Any) -> int | list[int]:
    try:
        return operator.index(when)
    except TypeError:
        return [operator.index(update) for update in when]


def is_due(when: int | Collection[int], update: int) -> bool:
    """Whether something is called after this update.

    Example:
      >>> is_due(10, 20), is_due([1, 5], 20)
      (True, False)
    """
    return update % when == 0 if isinstance(when, int) else update in when


def next_points(callbacks: Sequence[Callback], update: int) -> list[int]:
    """The next update at which each is called, after this one; nothing for those that never will be again."""
    after = ([update + when - update % when] if isinstance(when, int) else when for when, _ in callbacks)
    return [min(later) for points in after if (later := [point for point in points if point > update])]
