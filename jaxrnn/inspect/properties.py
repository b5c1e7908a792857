r"""Properties of a text, one number a character, that a unit might track.

Each says something of the text up to and with its character n; a unit that has read that character could know it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

BRACKETS = {"(": ")", "[": "]", "{": "}"}
URL = re.compile(r"\b(?:https?://|www\.)\S+")
NUMBER = re.compile(r"\d[\d.,]*")
LONGEST_QUOTE = 2000  # characters; a quote open for longer was not closed, and the state begins anew


def properties_of(text: str) -> dict[str, np.ndarray]:
    """Every property of a text by its name, (N,) float32; what the text has none of is left out.

    `inside quotes` (double ones, straight or curved, to an empty line at the latest), `inside brackets`, `position in
    line` (characters since the line feed), `indentation` (blanks at the line's start, so far), `position in word`,
    `inside a number`, `inside a URL`, `capital` (the character is one), `after a full stop` (at most three ago).

    Example:
      >>> properties_of('a "bc" d')["inside quotes"].astype(int).tolist()
      [0, 0, 1, 1, 1, 0, 0, 0]
    """
    found = {
        "inside quotes": _inside_quotes(text),
        "inside brackets": _inside_brackets(text),
        "position in line": _since(text, lambda c: c == "\n"),
        "indentation": _indentation(text),
        "position in word": _since(text, lambda c: not c.isalnum()),
        "inside a number": _within(text, NUMBER),
        "inside a URL": _within(text, URL),
        "capital": np.array([c.isupper() for c in text]),
        "after a full stop": np.minimum(_since(text, lambda c: c in ".!?"), 4) <= 3,
    }
    columns = {name: np.asarray(values, np.float32) for name, values in found.items()}
    return {name: values for name, values in columns.items() if values.size and values.min() < values.max()}


def _inside_quotes(text: str) -> list[int]:
    inside, since, before, marks = 0, 0, "", []
    for c in text:
        since += 1
        if c == before == "\n":  # a paragraph has ended: the next one of a long speech has a mark of its own
            inside = 0
        before = c
        if c == "\N{LEFT DOUBLE QUOTATION MARK}" or (c == '"' and not inside):
            inside, since = 1, 0
        elif c in '"\N{RIGHT DOUBLE QUOTATION MARK}' or since > LONGEST_QUOTE:
            inside = 0
        marks.append(inside)
    return marks


def _inside_brackets(text: str) -> list[int]:
    open_ones: list[str] = []
    marks = []
    for c in text:
        if c in BRACKETS:
            open_ones.append(BRACKETS[c])
        elif open_ones and c == open_ones[-1]:
            open_ones.pop()
        marks.append(int(bool(open_ones)))
    return marks


def _since(text: str, is_start: Callable[[str], bool]) -> np.ndarray:
    """Characters since the last start, which is 0 itself; from the text's own start if there was none."""
    starts = np.array([is_start(c) for c in text], bool)
    index = np.arange(len(text))
    return index - np.maximum.accumulate(np.where(starts, index, -1))


def _indentation(text: str) -> list[int]:
    depth, counting, depths = 0, True, []
    for c in text:
        if c == "\n":
            depth, counting = 0, True
        elif counting and c in " \t":
            depth += 1
        else:
            counting = False
        depths.append(depth)
    return depths


def _within(text: str, pattern: re.Pattern[str]) -> np.ndarray:
    marks = np.zeros(len(text), bool)
    for match in pattern.finditer(text):
        marks[match.start() : match.end()] = True
    return marks
