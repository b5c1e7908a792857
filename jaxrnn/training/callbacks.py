"""A caller's functions, called as training goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxrnn.training.trainer import Trainer

# When: after every so many updates, or after each of these numbers of updates. What: called with the updates done and
# the trainer, at which it looks and which it does not change.
Callback = tuple[int | Collection[int], Callable[[int, "Trainer"], None]]


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
