"""What the writer shows of a text: its end, coloured where that is asked for, and the suggestion behind the cursor."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from rich.style import Style
from rich.text import Text

from jaxrnn.inspect.coloured_text import INK, STEPS, colours_of, mark_of
from jaxrnn.terminal.printable import printable

DIM, CURSOR = Style(dim=True), Style(reverse=True)
CONFIDENCE = [Style.parse(f"{INK} on {colour}") for colour in colours_of("orange to blue")]
UNKNOWN = Style(underline=True, bold=True)
STYLES = [*CONFIDENCE, Style(), UNKNOWN]
PLAIN_STEP, UNKNOWN_STEP = STEPS, STEPS + 1


def page_of(
    text: str,
    suggestion: str,
    width: int,
    height: int,
    known: Callable[[str], np.ndarray],
    probabilities: np.ndarray | None = None,
) -> Text:
    """The end of a text, a screen of it or more, with the suggestion, not yet broken into lines.

    No more of a long text is looked at than may be seen; where that begins stays the same for a screen of keys, so that
    lines are not broken elsewhere at each of them.

    Args:
      text: the whole of it.
      suggestion: its first character is the cursor.
      width: of the screen, in cells.
      height: of the screen, in lines.
      known: which characters of a text the model knows.
      probabilities: of the characters, (N,) or fewer, NaN where there is none; None for a text without colours.
    """
    screen = width * height
    start = max(0, (len(text) // screen - 1) * screen)
    start = max(text.rfind("\n", 0, start) + 1, start - screen) if start else 0
    tail = text[start:]
    steps = np.where(known(tail), PLAIN_STEP, UNKNOWN_STEP)
    if probabilities is not None:
        p = probabilities[start:]
        guessed = np.flatnonzero(~np.isnan(p))
        steps[guessed] = np.minimum(p[guessed] * STEPS, STEPS - 1)
    shown = Text()
    borders = [0, *(np.flatnonzero(np.diff(steps)) + 1), len(tail)] if tail else []
    for begin, end in itertools.pairwise(borders):
        shown.append(printable(tail[begin:end]), STYLES[steps[begin]])
    first = suggestion[:1] or " "
    shown.append(first if first == " " else mark_of(first) + "\n" * (first == "\n"), CURSOR)
    shown.append(printable(suggestion[1:]), DIM)
    return shown
