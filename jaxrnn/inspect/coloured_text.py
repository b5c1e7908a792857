"""A text whose characters are coloured by the probability that a model gave them: for notebooks, terminals, papers."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.reading import Guesses
from jaxrnn.terminal.printable import printable

STEPS = 10
INK = "#111111"  # readable on each of the colours
# The colours of probability 0, 1/2 and 1. The colour-blind tell orange from blue, not the thesis's red from green.
SCALES = {"orange to blue": ("#ef8a2c", "#f7f4ee", "#5ba3dc"), "red to green": ("#e8604c", "#ffe48a", "#53b457")}
FORMER_NAMES = {"thesis": "red to green"}  # still accepted
MARKS = {"\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\t": "\N{RIGHTWARDS ARROW TO BAR}", " ": "\N{OPEN BOX}"}
TAB = "    "


def colours_of(scale: str) -> list[str]:
    """The ten colours of a scale, that of the least probable first.

    Raises:
      ConfigurationError: if there is no such scale.

    Example:
      >>> len(colours_of("red to green")), colours_of("orange to blue")[0]
      (10, '#ef8a2c')
    """
    scale = FORMER_NAMES.get(scale, scale)
    if scale not in SCALES:
        raise ConfigurationError(f"scale expects {' or '.join(SCALES)}; got {printable(repr(scale), keep='')[:40]}")
    points = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in SCALES[scale]]
    parts = [np.interp(np.linspace(0, 2, STEPS), range(3), part) for part in zip(*points, strict=True)]
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.rint(parts).astype(int).T.tolist()]


def mark_of(symbol: str) -> str:
    r"""A symbol as something to see: a blank and a line end as a mark, what a terminal would obey as its escape.

    Example:
      >>> mark_of(" "), mark_of("a"), mark_of("\x1b")
      ('␣', 'a', '\\x1b')
    """
    return MARKS.get(symbol) or printable(symbol, keep="")


@dataclass(frozen=True, eq=False)
class ColouredText:
    r"""A text and what a model thought of each of its characters. A notebook shows it in colour.

    The ten steps are of 0.1 each; below 0.1 a character is underlined as well.

    Args:
      text: N characters.
      probabilities: of each true character, (N,); NaN where none was guessed, as of the first.
      best: the most probable characters at each place, the best first, (N, K).
      best_p: their probabilities, (N, K).
      scale: "orange to blue", or "red to green", as the thesis has it.
      beneath: whether the best guess stands beneath each character where it was wrong.

    Example:
      >>> seen = ColouredText("a<b", np.array([np.nan, 0.95, 0.05]))
      >>> seen.to_html(style=False)
      '<div class="jx jx-orange">a<span class=p9>&lt;</span><span class=p0>b</span></div>'
    """

    text: str
    probabilities: np.ndarray
    best: np.ndarray | None = None
    best_p: np.ndarray | None = None
    scale: str = "orange to blue"
    beneath: bool = False

    def __post_init__(self) -> None:
        colours_of(self.scale)
        object.__setattr__(self, "scale", FORMER_NAMES.get(self.scale, self.scale))
        counts = [len(of) for of in (self.probabilities, self.best, self.best_p) if of is not None]
        if any(count != len(self.text) for count in counts):
            raise ConfigurationError(f"a text of {len(self.text):,} characters expects as many guesses, got {counts}")

    @property
    def steps(self) -> np.ndarray:
        """Each character's step, 0 to 9, (N,); -1 where it was not guessed."""
        p = np.asarray(self.probabilities, np.float64)
        return np.where(np.isnan(p), -1, np.clip(np.nan_to_num(p) * STEPS, 0, STEPS - 1)).astype(int)

    def wrong_guess(self, n: int) -> str:
        """The best guess at a place, if it was wrong, to be seen; else nothing."""
        if self.best is None or self.best[n, 0] in ("", self.text[n]):
            return ""
        return mark_of(str(self.best[n, 0]))

    def to_html(self, *, hover: bool = False, style: bool = True) -> str:
        """A `div`, with its styles. Runs of one step are one element; no script, and nothing is loaded.

        Args:
          hover: whether each character tells its probability and the best guesses when it is pointed at; a page can
            show more of one that is pointed at or has the focus, `i:focus`.
          style: whether the `style` element is in it; a page with many texts needs it once.
        """
        parts = []
        steps = self.steps
        for step, run in itertools.groupby(range(len(self.text)), key=lambda n: int(steps[n])):
            inside = "".join(self._element(n, hover) for n in run)
            parts.append(inside if step < 0 else f"<span class=p{step}>{inside}</span>")
        name = self.scale.split()[0]
        return f'{self.style() if style else ""}<div class="jx jx-{name}">{"".join(parts)}</div>'

    _repr_html_ = to_html

    def _element(self, n: int, hover: bool) -> str:
        shown = html.escape(printable(self.text[n]), quote=False)
        told = (
            f' tabindex=0 title="{html.escape(self._told(n))}"' if hover and not np.isnan(self.probabilities[n]) else ""
        )
        beneath = self.wrong_guess(n) if self.beneath else ""
        told += f' data-g="{html.escape(beneath)}"' if beneath else ""
        return f"<i{told}>{shown}</i>" if told else shown

    def _told(self, n: int) -> str:
        told = f"{100 * self.probabilities[n]:.2g}%"
        if self.best is None or self.best_p is None:
            return told
        best = zip(self.best[n], self.best_p[n], strict=True)
        return f"{told}: " + " ".join(f"{mark_of(str(c))} {100 * p:.0f}" for c, p in best)

    def style(self) -> str:
        """The `style` element: ten classes, the colours of the scale."""
        name = self.scale.split()[0]
        rules = [
            f".jx{{white-space:pre-wrap;overflow-wrap:anywhere;font:14px/{2.3 if self.beneath else 1.5} monospace;"
            f"background:#fff;color:{INK}}}.jx i{{font-style:normal}}.jx i[data-g]{{position:relative}}",
            ".jx i[data-g]::after{content:attr(data-g);position:absolute;left:0;top:1.3em;font-size:80%;color:#555}",
            f".jx-{name} .p0{{text-decoration:underline}}",
        ]
        rules += [f".jx-{name} .p{step}{{background:{colour}}}" for step, colour in enumerate(colours_of(self.scale))]
        return f"<style>{''.join(rules)}</style>"

    def legend(self) -> str:
        """What the colours are, as HTML."""
        names = [f"{step / STEPS:.1f}" for step in range(STEPS)]
        swatches = "".join(f"<span class=p{step}>&nbsp;{name}&nbsp;</span>" for step, name in enumerate(names))
        return (
            f'<div class="jx jx-{self.scale.split()[0]} legend">{swatches} and above: the probability of the '
            "character; underlined: below 0.1</div>"
        )

    def to_ansi(self, width: int = 80) -> Any:
        """A `rich.text.Text`, lines of at most `width` cells; with another line beneath each if `beneath`."""
        from rich.cells import cell_len
        from rich.style import Style
        from rich.text import Text

        styles = [Style(color=INK, bgcolor=c, underline=step == 0) for step, c in enumerate(colours_of(self.scale))]
        steps, made = self.steps, Text(no_wrap=True, end="")
        for row in self.rows(width):
            under = ""
            for step, run in itertools.groupby(row, key=lambda cell: int(steps[cell[0]])):
                made.append("".join(shown for _, shown in run), styles[step] if step >= 0 else None)
            if self.beneath:
                for n, shown in row:
                    guess = self.wrong_guess(n)
                    wide = cell_len(shown)
                    under += (guess if cell_len(guess) <= wide else "?").ljust(wide - cell_len(guess) + len(guess))
                made.append("\n" + under.rstrip(), Style(dim=True))
            made.append("\n")
        return made

    def rows(self, width: int) -> Iterator[list[tuple[int, str]]]:
        """Lines of at most `width` cells, broken after a blank where there is one: (place, what is shown) of each."""
        from rich.cells import cell_len

        row: list[tuple[int, str]] = []
        used = 0
        for n, c in enumerate(self.text):
            if c == "\n":
                yield row
                row, used = [], 0
                continue
            shown = TAB if c == "\t" else printable(c, keep="")
            if row and used + cell_len(shown) > width:
                blanks = [place for place, (m, _) in enumerate(row) if self.text[m] in " \t"]
                cut = blanks[-1] + 1 if blanks else len(row)
                yield row[:cut]
                row = row[cut:]
                used = sum(cell_len(part) for _, part in row)
            row.append((n, shown))
            used += cell_len(shown)
        if row:
            yield row

    def to_figure(self, width: int = 60, title: str = "") -> Any:
        """A matplotlib figure for papers, lines of at most `width` characters. Needs the extra `plots`."""
        from jaxrnn.inspect.coloured_figure import coloured_figure

        return coloured_figure(self, colours_of(self.scale), width, title)


def coloured(vocabulary: Vocabulary, ids: np.ndarray, guesses: Guesses, **options: Any) -> ColouredText:
    """The text that a model was asked about, with what `guess` gave; in byte mode each byte is a character.

    Args:
      vocabulary: the model's.
      ids: the text, (N,), as it was given to `guess`.
      guesses: of the same text.
      options: `scale` and `beneath` of `ColouredText`.

    Example:
      run = jaxrnn.open_run("runs/my-run")
      ids = run.vocabulary.encode("He said that he would come.")
      coloured(run.vocabulary, ids, guess(run.model(), ids))
    """
    vocabulary.require_characters("coloured")
    symbols = np.array(list(vocabulary.symbols))
    first = np.full((1, guesses.best.shape[1]), "")
    return ColouredText(
        vocabulary.decode(ids),
        np.concatenate([[np.nan], np.exp(guesses.log_p)]),
        np.concatenate([first, symbols[guesses.best]]),
        np.concatenate([np.zeros(first.shape), guesses.best_p]),
        **options,
    )
