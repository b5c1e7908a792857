"""A coloured text as a picture for papers. Needs the extra `plots`."""

from __future__ import annotations

from typing import Any

from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.plots import Figure

MOST_LINES = 200
LETTER: dict[str, Any] = {"family": "monospace", "ha": "center", "va": "baseline", "parse_math": False}
CELL, LINE = 0.092, 0.2  # inches, of a character of 10 points


def coloured_figure(seen: Any, colours: list[str], width: int, title: str) -> Figure:
    """Each character on its colour; underlined below 0.1; the wrong best guesses beneath if the text wants them.

    Args:
      seen: a `ColouredText`.
      colours: of its steps, that of the least probable first.
      width: characters in a line.
      title: above it, or nothing.

    Raises:
      ConfigurationError: if it is more than `MOST_LINES` lines long.
    """
    from matplotlib.patches import Rectangle

    rows = list(seen.rows(width))
    if len(rows) > MOST_LINES:
        raise ConfigurationError(
            f"a picture expects at most {MOST_LINES} lines of text, got {len(rows)}; give less text"
        )
    steps, high = seen.steps, 1.8 if seen.beneath else 1.0
    head, foot = 1.5 if title else 0.3, 2.2
    total = head + high * len(rows) + foot
    figure = Figure(figsize=((width + 2) * CELL, total * LINE))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-1, width + 1), ylim=(total - head, -head))
    axes.axis("off")

    def put(x: float, y: float, shown: str, step: int, size: float = 10, colour: str = "#111111") -> None:
        if step >= 0:
            axes.add_patch(Rectangle((x, y), len(shown), 1, color=colours[step], linewidth=0))
        if step == 0:
            axes.plot(
                [x + 0.1, x + len(shown) - 0.1], [y + 0.92] * 2, color="#111111", linewidth=0.8, solid_capstyle="butt"
            )
        for place, letter in enumerate(shown if shown.strip() else ""):
            axes.text(x + place + 0.5, y + 0.75, letter, fontsize=size, color=colour, **LETTER)

    for number, row in enumerate(rows):
        x = 0
        for n, shown in row:
            put(x, number * high, shown, int(steps[n]))
            if seen.beneath and (guess := seen.wrong_guess(n)):
                put(x, number * high + 0.75, guess if len(guess) <= len(shown) else "?", -1, 7.5, "0.35")
            x += len(shown)
    y = high * len(rows) + 0.7
    for step in range(len(colours)):
        put(4 * step, y, f" {step / len(colours):.1f}"[:4], step, 7.5)
    axes.text(4 * len(colours) + 0.5, y + 0.75, "and above; underlined: below 0.1", fontsize=7.5, va="baseline")
    if title:
        axes.text(0, -0.5, title, fontsize=11, parse_math=False, va="baseline")
    return figure
