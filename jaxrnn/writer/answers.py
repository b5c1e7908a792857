"""What the screen asks of the model, and its answer, which does not depend on when it comes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxrnn.writer.session import Session, Suggestion


class Request(NamedTuple):
    """What is asked of the model.

    Attributes:
      text: that stands before the cursor.
      temperature: see `Session.suggest`.
      draw: likewise.
      others: texts and temperatures at which another suggestion was asked for, since this draw.
      listed: whether several suggestions are asked for.
    """

    text: str
    temperature: float
    draw: int
    others: tuple[tuple[str, float], ...]
    listed: bool


class Answer(NamedTuple):
    """A suggestion, the draw that it is of, several if they were asked for, and what the model made of the text."""

    suggestion: Suggestion
    draw: int
    listed: list[Suggestion]
    probabilities: np.ndarray


def answer_to(session: Session, request: Request, stale: Callable[[], bool]) -> Answer | None:
    """Answers a request; None if it was given up as stale."""
    draw = request.draw
    for text, temperature in request.others:
        drawn = session.alternatives(text, temperature, draw, stale)
        if drawn is None:
            return None
        draw = next(itertools.islice(drawn, 1, None), draw)  # that of the first other one
    several = session.alternatives(request.text, request.temperature, draw, stale) if request.listed else None
    listed = list((several or {}).values())
    listed[1:] = sorted(listed[1:], key=lambda of: -of.probability)
    first = session.suggest(request.text, request.temperature, draw, stale)
    if first is None:
        return None
    return Answer(first, draw, listed, session.probabilities(request.text))
