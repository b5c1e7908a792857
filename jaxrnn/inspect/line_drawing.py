"""Small drawings as inline SVG: lines with axes and units, and a unit's trace over the characters that it read."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxrnn.inspect.coloured_text import mark_of

# Okabe and Ito's colours, which the colour-blind tell apart; each line has dashes of its own as well.
LINES = (("#0072B2", ""), ("#D55E00", "6 3"), ("#555555", "2 2"))
WIDE, HIGH, LEFT, RIGHT, BELOW, ABOVE = 760, 240, 60, 40, 44, 24
MOST_TICKS = 7
ROW, CELL = 90, 9  # characters in a line of a trace, and points for each


def drawn_lines(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    x_label: str,
    y_label: str,
    *,
    marks: bool = False,
    borders: Mapping[str, float] | None = None,
) -> str:
    """An `svg` element with lines, in a `figure`.

    Args:
      lines: x and y of each by its name, at most as many as there are `LINES`; what is not finite is left out.
      x_label: with the unit.
      y_label: likewise.
      marks: whether each point is marked.
      borders: x where a named part begins, within the lines.

    Example:
      >>> drawn_lines({"loss": (np.arange(3), np.arange(3))}, "characters", "nats").count("<polyline")
      1
    """
    lines = {name: tuple(np.asarray(of, float)[np.isfinite(x + y)] for of in (x, y)) for name, (x, y) in lines.items()}
    xs, ys = (np.concatenate([line[axis] for line in lines.values()] or [np.zeros(1)]) for axis in (0, 1))
    x_ticks, y_ticks, x_high = _ticks(xs), _ticks(ys), _limits(xs)[1]
    x_low, y_low, y_high = x_ticks[0], y_ticks[0], y_ticks[-1]
    made = [f'<figure><svg class=plot viewBox="0 0 {WIDE} {HIGH}" role=img aria-label="{html.escape(y_label)}">']

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (x - x_low) / (x_high - x_low), (y - y_low) / (y_high - y_low)
        return LEFT + across * (WIDE - LEFT - RIGHT), HIGH - BELOW - up * (HIGH - BELOW - ABOVE)

    for up in y_ticks:
        py = at(x_low, up)[1]
        made.append(f'<path class=grid d="M{LEFT} {py:.1f}H{WIDE - RIGHT}"/>')
        made.append(f'<text x="{LEFT - 6}" y="{py + 4:.1f}" text-anchor=end>{up:.4g}</text>')
    for across in (tick for tick in x_ticks if tick <= x_high):
        shown = f"{across:,.0f}" if x_high > 2 * MOST_TICKS else f"{across:.4g}"
        px = at(across, y_low)[0]
        made.append(f'<text x="{px:.1f}" y="{HIGH - BELOW + 16}" text-anchor=middle>{shown}</text>')
    for number, ((name, (x, y)), (colour, dashes)) in enumerate(zip(lines.items(), LINES, strict=False)):
        points = [at(float(a), float(b)) for a, b in zip(x, y, strict=True)]
        drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        made.append(f'<polyline points="{drawn}" fill=none stroke="{colour}" stroke-dasharray="{dashes}"/>')
        made += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r=3 fill="{colour}"/>' for a, b in points if marks]
        place = LEFT + 10 + 230 * number
        made.append(f'<path d="M{place} 12h26" stroke="{colour}" stroke-dasharray="{dashes}" stroke-width=2 />')
        made.append(f'<text x="{place + 32}" y=16>{html.escape(name)}</text>')
    for number, (name, across) in enumerate((borders or {}).items()):  # names at two heights, lest they meet
        px = at(across, y_low)[0]
        made.append(f'<path class=border d="M{px:.1f} {ABOVE}V{HIGH - BELOW}"/>')
        made.append(f'<text x="{px + 4:.1f}" y="{ABOVE + 12 + 14 * (number % 2)}">{html.escape(name)}</text>')
    made.append(
        f'<text x="{(WIDE + LEFT - RIGHT) // 2}" y="{HIGH - 8}" text-anchor=middle>{html.escape(x_label)}</text>'
    )
    turned = f"rotate(-90 14 {(HIGH - BELOW) // 2})"
    middle = (HIGH - BELOW) // 2
    made.append(
        f'<text x=14 y="{middle}" text-anchor=middle transform="{turned}">{html.escape(y_label)}</text></svg></figure>'
    )
    return "".join(made)


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(values: np.ndarray) -> list[float]:
    """Round numbers, at most `MOST_TICKS`, from below the smallest value to above the largest."""
    low, high = _limits(values)
    power = 10.0 ** math.floor(math.log10((high - low) / MOST_TICKS))
    for step in (power * factor for factor in (1, 2, 5, 10, 20)):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < MOST_TICKS:
            break
    return [k * step for k in range(first, last + 1)]


def drawn_trace(text: str, values: np.ndarray, marked: Sequence[float] | np.ndarray) -> str:
    """An `svg` element in a `figure`: a unit's value above each character, from lowest to highest, in lines of `ROW`.

    Args:
      text: N characters.
      values: the unit's, after each character, (N,).
      marked: the property, (N,); its larger half is shaded.
    """
    (low, high), high_of_row = _limits(np.asarray(values)), 78
    (m_low, m_high), rows = _limits(np.asarray(marked)), -(-len(text) // ROW)
    made = [
        f'<figure><svg class=trace viewBox="-4 0 {ROW * CELL + 8} {rows * high_of_row}" role=img aria-label="trace">'
    ]
    for row in range(rows):
        part = slice(row * ROW, (row + 1) * ROW)
        top, letters = row * high_of_row, [_one_letter(c) for c in text[part]]
        shade = [n for n, of in enumerate(marked[part]) if of > (m_low + m_high) / 2]
        made += [f'<path class=on d="M{n * CELL} {top + 6}h{CELL}v66h-{CELL}z"/>' for n in shade]
        if low < 0 < high:
            zero = top + 54 - 46 * (0 - low) / (high - low)
            made.append(f'<path class=grid d="M0 {zero:.0f}H{ROW * CELL}"/>')
        ups = (top + 54 - 46 * (float(v) - low) / (high - low) for v in values[part])
        points = " ".join(f"{n * CELL + CELL / 2:g},{up:.0f}" for n, up in enumerate(ups))
        made.append(f'<polyline points="{points}" fill=none stroke="{LINES[0][0]}"/>')
        places = " ".join(str(n * CELL + CELL // 2) for n in range(len(letters)))
        made.append(f'<text x="{places}" y="{top + 70}" text-anchor=middle>{html.escape("".join(letters))}</text>')
    return "".join(made) + "</svg></figure>"


def _one_letter(c: str) -> str:
    shown = mark_of(c)
    return shown if len(shown) == 1 else "\N{REPLACEMENT CHARACTER}"
