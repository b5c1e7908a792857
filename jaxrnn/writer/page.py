"""What the writer shows of a text: its end, coloured where that is asked for, and the suggestion behind the cursor."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from jaxrnn.inspect.coloured_text import INK, STEPS, colours_of, mark_of
from jaxrnn.terminal.printable import printable

TAB_CELLS = 4
CONFIDENCE = [Style.parse(f"{INK} on {colour}") for colour in colours_of("orange to blue")]
STYLES = [*CONFIDENCE, Style(), Style(underline=True, bold=True), Style(reverse=True), Style(dim=True)]
PLAIN, UNKNOWN, CURSOR, DIM = range(STEPS, STEPS + 4)


def page_of(
    text: str,
    suggestion: str,
    width: int,
    height: int,
    known: Callable[[str], np.ndarray],
    probabilities: np.ndarray | None = None,
) -> list[Strip]:
    """The last lines of a text with the suggestion, as many as there is room for.

    Args:
      text: the whole of it.
      suggestion: its first character is the cursor.
      width: of the screen, in cells.
      height: of the screen, in lines.
      known: which characters of a text the model knows.
      probabilities: of the characters, (N,) or fewer, NaN where there is none; None for a text without colours.
    """
    # No more of a long text is looked at than may be seen. A line that is longer than that begins, for a screen of
    # keys, where it did before: else it would be broken elsewhere at each of them.
    screen = width * height
    start = max(0, (len(text) // screen - 1) * screen)
    start = max(text.rfind("\n", 0, start) + 1, start - screen) if start else 0
    tail = text[start:]
    steps = np.where(known(tail), PLAIN, UNKNOWN)
    if probabilities is not None:
        p = probabilities[start:]
        guessed = np.flatnonzero(~np.isnan(p))
        steps[guessed] = np.minimum(p[guessed] * STEPS, STEPS - 1)
    first = suggestion[:1] or " "
    first = first if first == " " else mark_of(first) + "\n" * (first == "\n")
    kinds = bytes(steps.astype(np.uint8)) + bytes([CURSOR]) * len(first) + bytes([DIM]) * len(suggestion[1:])
    shown, lines = tail + first + suggestion[1:], list[Strip]()
    end: int = len(shown)
    while end >= 0 and len(lines) < height:  # paragraph by paragraph, from the end
        begin = shown.rfind("\n", 0, end) + 1
        lines = [*_broken(shown[begin:end], kinds[begin:end], width), *lines]
        end = begin - 1
    return lines[-height:]


@functools.lru_cache(maxsize=512)
def _broken(paragraph: str, kinds: bytes, width: int) -> list[Strip]:
    """A paragraph in lines."""
    console, styled, begin = Console(width=width), Text(), 0
    while begin < len(kinds):
        rest = kinds[begin:].lstrip(kinds[begin : begin + 1])
        end = len(kinds) - len(rest)
        styled.append(printable(paragraph[begin:end]), STYLES[kinds[begin]])
        begin = end
    lines = styled.wrap(console, width, tab_size=TAB_CELLS)
    return [Strip(line.render(console), line.cell_len) for line in lines] or [Strip.blank(0)]
