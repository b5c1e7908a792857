"""The report as one HTML page: no script, nothing loaded from anywhere, readable without colour."""

from __future__ import annotations

import html
import math

import numpy as np

from jaxrnn.inspect.line_drawing import drawn_lines, drawn_trace
from jaxrnn.inspect.report import BEST, Inside, gate_rows, told_of
from jaxrnn.terminal.printable import printable

WINDOW, RUNNING = 200, 10  # characters of a point of the loss; points of its running mean
COLD_SHOWN = 500  # characters; later both starts are all but equal
TRACED = 360
STYLE = """body{max-width:62em;margin:1.5em auto;padding:0 1em;font:15px/1.5 sans-serif;color:#111;background:#fff}
table{border-collapse:collapse}td,th{padding:.15em .9em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}svg{width:100%;font:12px sans-serif}.trace text{font:12px monospace}
.grid{stroke:#ccc;fill:none}.on{fill:#fbe3cd}summary{cursor:pointer;padding:.2em 0}.note{color:#444}
pre{white-space:pre-wrap;overflow-wrap:anywhere}.jx i[title]:hover{outline:2px solid #111}"""
# A browser that reads this loads nothing and runs nothing, whatever the text is.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(inside: Inside, title: str = "", *, beneath: bool = False) -> str:
    """One page with all that was found.

    Args:
      inside: of `look_inside`.
      title: what the model is called.
      beneath: whether the best guess stands beneath each character where it was wrong.
    """
    shown = _escaped(title or "a trained model")
    parts = [
        f'<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=Content-Security-Policy content="{POLICY}">'
        f"<meta name=viewport content='width=device-width'><title>{shown}</title><style>{STYLE}</style>",
        f"<h1>Inside a model</h1><p>{shown}<br>on {_escaped(inside.source)}",
        *_text(inside, beneath),
        *_loss(inside),
        *_gates(inside),
        *_units(inside),
        *_calibration(inside),
        *_written(inside),
    ]
    return "\n".join(parts) + "\n</html>\n"


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{_escaped(cell)}' for cell in head)}"]
    lines += [f"<tr>{''.join(f'<td>{_escaped(cell)}' for cell in row)}" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _text(inside: Inside, beneath: bool) -> list[str]:
    seen = inside.coloured(beneath=beneath)
    start = f"warm, after {inside.read_before:,} characters before it" if inside.read_before else "cold"
    parts = [
        "<h2>The text, each character by its probability</h2>",
        f"<p class=note>The first {inside.shown:,} characters, {start}. The colour is the probability that the model "
        "gave to the character that came, before it saw it. Point at a character: that probability in per cent, then "
        f"the {BEST} best guesses with theirs; ␣ is a blank, ↵ a line end.</p>{seen.style()}{seen.legend()}",
        seen.to_html(hover=True, style=False),
    ]
    if inside.other is not None:
        n = min(COLD_SHOWN, len(inside.other.log_p))
        cold, warm = (float(-of.log_p[:n].mean()) for of in (inside.other, inside.guesses))
        parts += [
            "<h3>The same, started cold</h3>",
            f"<p class=note>The first {n:,} characters, from a fresh start, without the text before them: mean loss "
            f"{cold:.4f} nats a character, warm {warm:.4f}.</p>",
            inside.coloured(inside.other, n + 1, beneath=beneath).to_html(hover=True, style=False),
        ]
    return parts


def _loss(inside: Inside) -> list[str]:
    loss = -inside.guesses.log_p.astype(np.float64)
    starts = np.arange(0, len(loss), WINDOW)
    means = np.array([loss[start : start + WINDOW].mean() for start in starts])
    running = np.array([means[max(0, k - RUNNING + 1) : k + 1].mean() for k in range(len(means))])
    middles = np.minimum(starts + WINDOW / 2, len(loss))
    lines = {f"{WINDOW} characters": (middles, means), f"mean of the last {RUNNING}": (middles, running)}
    return [
        "<h2>Loss along the text</h2>",
        f"<p><b>{inside.loss_nats:.4f}</b> nats a character, {inside.loss_nats / math.log(2):.4f} bits, over "
        f"{len(loss):,} characters.</p><p class=note>The loss is the mean of - ln p of the characters that "
        f"came: 0 is certainty, ln {len(inside.vocabulary)} = {math.log(len(inside.vocabulary)):.2f} "
        "knows nothing.</p>",
        drawn_lines(lines, "place in the text (characters)", "loss (nats a character)"),
    ]


def _gates(inside: Inside) -> list[str]:
    rows = gate_rows(inside.layers)
    told = [[name, f"{low:.1%}", f"{high:.1%}", f"{mean:.3f}"] for name, low, high, mean in rows]
    return [
        "<h2>Gates</h2>",
        "<p class=note>A gate is a number from 0, shut, to 1, open, of each unit at each character. The share of all "
        "units and characters at which it was below 0.1 or above 0.9, where it is called saturated, and its mean. From "
        "a cold start.</p>",
        _table(["gate", "below 0.1", "above 0.9", "mean"], told) if rows else "<p>The cell has none.</p>",
    ]


def _units(inside: Inside) -> list[str]:
    parts = [
        "<h2>Units that track the text</h2>",
        "<p class=note>For each property, the unit of all layers that correlates with it most on the first two thirds "
        "of the text; the correlation is that on the rest, confirmed if it is above what the best of all units and "
        "properties reaches by chance. The probe is a sparse linear sum of units. Choose one: its value h above each "
        "character, from its lowest to its highest, shaded where the property is on (or in the upper half of its "
        "range).</p>",
    ]
    if not inside.units:
        return [*parts, "<p>The text is too short to search in.</p>"]
    text = inside.vocabulary.decode(inside.ids[:-1])
    for number, found in enumerate(inside.units):
        values, property_ = inside.hidden[:, found.unit], inside.properties[found.property]
        on = np.flatnonzero(property_ > (property_.min() + property_.max()) / 2)
        first = max(0, int(on[0]) - 30) if len(on) else 0
        part = slice(first, first + TRACED)
        parts.append(
            f"<details name=unit{' open' if number == 0 else ''}><summary><b>{_escaped(found.property)}</b>: "
            f"{inside.name_of(found)}, {found.held_out:+.2f}, {told_of(found)}; probe of {found.probe_units} units "
            f"{found.probe:+.2f}</summary>{drawn_trace(text[part], values[part], property_[part])}</details>"
        )
    return parts


def _calibration(inside: Inside) -> list[str]:
    of = inside.calibration
    even = np.linspace(0, 1, 11)
    lines = {"this model": (of.confidence, of.accuracy), "as sure as right": (even, even)}
    return [
        "<h2>Calibration</h2>",
        f"<p>It gives its best guess {of.mean_confidence:.1%} on average, and is right {of.mean_accuracy:.1%} of the "
        f"time; expected calibration error {of.expected_error:.4f}. It expects a loss of {of.entropy_nats:.4f} nats a "
        f"character (its entropy) and has {of.loss_nats:.4f}.</p><p class=note>Characters in ten groups by the "
        "probability of the best guess; below the dashed line the model is surer than it is right.</p>",
        drawn_lines(lines, "probability of the best guess", "share that was right", marks=True),
    ]


def _written(inside: Inside) -> list[str]:
    if inside.written is None:
        return []
    sample, quality = inside.written
    parts = ["<h2>What it writes</h2>", f"<pre>{_escaped(sample)}</pre>"]
    if quality is None:
        return [
            *parts,
            "<p class=note>The text that it was trained on is not at hand, so nothing is said of its words.</p>",
        ]
    shares = {
        "known_share": "known words",
        "misspelt_share": "misspelt, one letter off",
        "name_share": "names of the book",
    }
    shares |= {"new_name_share": "new names", "repeated_share": "repeated runs of four words"}
    rows = [[told, f"{getattr(quality, name):.1%}"] for name, told in shares.items()]
    rows += [["longest copy of the training text (characters)", f"{quality.longest_copy:,}"]]
    rows += [["longest repeat within (characters)", f"{quality.longest_repeat:,}"]]
    return [*parts, _table([f"{quality.words:,} words, {quality.characters:,} characters", "share or length"], rows)]
