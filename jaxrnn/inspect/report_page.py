"""The report as one HTML page: no script, nothing loaded from anywhere, readable without colour."""

from __future__ import annotations

import html
import math
import re

import numpy as np

from jaxrnn.inspect.line_drawing import drawn_lines, drawn_trace
from jaxrnn.inspect.report import BEST, COUNTED, Inside, gate_rows, told_of
from jaxrnn.terminal.printable import printable

WINDOW, RUNNING = 200, 10  # characters of a point of the loss; points of its running mean
TRACED = 360
OF_WHAT_IT_WRITES = (
    ("known_share", "known words", ".1%"),
    ("misspelt_share", "misspelt, one letter off", ".1%"),
    ("name_share", "names of the book", ".1%"),
    ("new_name_share", "new names", ".1%"),
    ("repeated_share", "repeated runs of four words", ".1%"),
    ("longest_copy", "longest copy of the training text (characters)", ","),
    ("longest_repeat", "longest repeat within (characters)", ","),
)
STYLE = """body{max-width:62em;margin:1.5em auto;padding:0 1em;font:15px/1.5 sans-serif;color:#111;background:#fff}
body{overflow-wrap:break-word}pre{white-space:pre-wrap}nav a{margin-right:1em}summary{cursor:pointer;padding:.2em 0}
table{border-collapse:collapse}td,th{padding:.15em .9em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}.note{color:#444}.legend{margin-bottom:1em}
.legend span{display:inline-block}figure{margin:0;overflow-x:auto}svg{width:100%;min-width:44em;font:12px sans-serif}
.trace text{font:12px monospace}.grid,.border{stroke:#ccc;fill:none}.border{stroke:#111;stroke-dasharray:1 2}
.border+text{paint-order:stroke;stroke:#fff;stroke-width:3px}
.on{fill:#fbe3cd}.jx i:hover,.jx i:focus{outline:2px solid #111}
.jx i:hover::before,.jx i:focus::before{content:attr(title);position:fixed;left:0;bottom:0;z-index:1;padding:.3em 1em;
background:#111;color:#fff}.jx i:hover::before{z-index:2}"""
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
    sections = (_loss, _ngrams, _gates, _units, _calibration, _written)
    body = "\n".join([*_text(inside, beneath), *(part for section in sections for part in section(inside))])
    headings = re.findall("<h2>(.*?)<", body)
    for number in range(len(headings)):
        body = body.replace("<h2>", f"<h2 id=part{number}>", 1)
    links = " ".join(f"<a href=#part{number}>{name}</a>" for number, name in enumerate(headings))
    return f"""<!doctype html><html lang=en><meta charset=utf-8>
<meta http-equiv=Content-Security-Policy content="{POLICY}"><meta name=viewport content="width=device-width">
<title>{shown}</title><style>{STYLE}</style>
<h1>Inside a model</h1><p>{shown}<br>on {_escaped(inside.source)}<nav>{links}</nav>
{body}
</html>
"""


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
        "gave to the character that came, before it saw it. Point at a character or go there by Tab: that probability "
        f"in per cent, then the {BEST} best guesses with theirs; ␣ is a blank, ↵ a line end."
        f"{' Of this model each byte is a character, here and below.' * inside.vocabulary.bytes_mode}</p>",
        seen.style() + seen.legend(),
        seen.to_html(hover=True, style=False),
    ]
    if inside.other is not None:
        n = len(inside.other.log_p)
        cold, warm = (float(-of.log_p[:n].mean()) for of in (inside.other, inside.guesses))
        parts += [
            "<h3>The same, started cold</h3>",
            f"<p class=note>The first {n:,} characters, from a fresh start, without the text before them: mean loss "
            f"{cold:.4f} nats a character, warm {warm:.4f}.</p>",
            inside.coloured(inside.other, n + 1, beneath=beneath).to_html(hover=True, style=False),
        ]
    return parts


def _running(losses: np.ndarray) -> np.ndarray:
    return np.array([losses[max(0, k - RUNNING + 1) : k + 1].mean() for k in range(len(losses))])


def _loss(inside: Inside) -> list[str]:
    loss = -inside.guesses.log_p.astype(np.float64)
    starts = np.arange(0, len(loss), WINDOW)
    means = np.array([loss[start : start + WINDOW].mean() for start in starts])
    middles, running = np.minimum(starts + WINDOW / 2, len(loss)), f"mean of the last {RUNNING}"
    lines = {f"{WINDOW} characters": (middles, means), running: (middles, _running(means))}
    parts = [
        "<h2>Loss along the text</h2>",
        f"<p><b>{inside.loss_nats:.4f}</b> nats a character, {inside.loss_nats / math.log(2):.4f} bits, over "
        f"{len(loss):,} characters.</p><p class=note>The loss is the mean of - ln p of the characters that "
        f"came: 0 is certainty, ln {len(inside.vocabulary)} = {math.log(len(inside.vocabulary)):.2f} "
        "knows nothing.</p>",
        drawn_lines(lines, "place in the text (characters)", "loss (nats a character)"),
    ]
    if inside.along:
        places, losses = (np.concatenate(of) for of in zip(*inside.along.values(), strict=True))
        told = ", ".join(f"{part} {of.losses.mean():.4f}" for part, of in inside.along.items())
        lines = {"pieces": (places, losses), running: (places, _running(losses))}
        borders = {part: float(of.places[0]) for part, of in inside.along.items()}
        parts += [
            "<h3>Along the whole text that it was trained on</h3>",
            f"<p class=note>{len(places)} evenly spaced pieces, each from a fresh start, without what it read first; "
            f"the mean of each part, nats a character: {told}. Dotted: where a part begins.</p>",
            drawn_lines(lines, "place in the whole text (characters)", "loss (nats a character)", borders=borders),
        ]
    return parts


def _ngrams(inside: Inside) -> list[str]:
    parts, found = ["<h2>N-gram models and kinds of errors</h2>"], inside.errors
    if inside.by_order is None or found is None:
        return [*parts, "<p class=note>None: the text of its training is not at hand, or none were asked for.</p>"]
    orders = np.arange(1, len(inside.by_order) + 1)
    lines = {"n-gram models": (orders, inside.by_order), "this model": (orders, 0 * orders + inside.loss_nats)}
    kinds = [[kind.name, f"{kind.share:.1%}", f"{kind.alone:.1%}"] for kind in found.kinds]
    return [
        *parts,
        "<p class=note>An n-gram model of order n knows the n - 1 characters before. These are smoothed as Kneser and "
        f"Ney do, trained on the same text (the last {COUNTED:,} characters if it is longer), and asked for the same "
        f"characters as the model, which has {inside.loss_nats:.4f} nats. Higher orders: <code>--orders 20</code>.",
        drawn_lines(lines, "order", "loss (nats a character)", marks=True),
        _table(["order", "nats a character"], [[f"{n}", f"{of:.4f}"] for n, of in enumerate(inside.by_order, 1)]),
        f"<p>{found.errors:,} of {found.characters:,} characters are errors: the model gave them less than 0.5.</p>"
        "<p class=note>What would have repaired them, taken off one after the other in this order, on which the shares "
        "depend; and alone. n-gram: such a model of an order up to 9 gave 0.5 or more; memory n: the word stands in "
        "the n characters before; rare n: the word is at most n times in the training text; boost b: the model gave "
        "at least 0.5 - b.",
        _table(["would be repaired by", "share", "alone"], kinds),
    ]


def _gates(inside: Inside) -> list[str]:
    rows = gate_rows(inside.layers)
    told = [[name, f"{low:.1%}", f"{high:.1%}", f"{mean:.3f}"] for name, low, high, mean in rows]
    return [
        "<h2>Gates</h2>",
        "<p class=note>A gate is a number from 0, shut, to 1, open, of each unit at each character. The share of all "
        "units and characters at which it was below 0.1 or above 0.9, where it is called saturated, and its mean.</p>",
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
        return [*parts, "<p class=note>Of its words nothing is said: the text of its training is not at hand.</p>"]
    rows = [[told, f"{getattr(quality, name):{form}}"] for name, told, form in OF_WHAT_IT_WRITES]
    return [*parts, _table([f"{quality.words:,} words, {quality.characters:,} characters", "share or length"], rows)]
