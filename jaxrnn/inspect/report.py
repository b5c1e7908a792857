"""A trained language model seen from inside on one text: all the numbers at once, and what a terminal shows of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.inspect.calibration import Calibration, calibration_of, sums_of_guesses
from jaxrnn.inspect.coloured_text import ColouredText, coloured
from jaxrnn.inspect.errors_by_kind import NGRAM_ORDERS, ErrorKinds, kinds_of_errors
from jaxrnn.inspect.look import SHOWN_IN_TERMINAL
from jaxrnn.inspect.ngrams import ngram_log_p, train_ngrams
from jaxrnn.inspect.properties import properties_of
from jaxrnn.inspect.reading import Guesses, LayerSummary, LossAlong, guess, loss_along, read_once
from jaxrnn.inspect.sample_quality import SampleQuality
from jaxrnn.inspect.tracking_units import FEWEST, TrackingUnit, find_tracking_units

BEST = 3  # guesses
READ_BEFORE = 1000  # characters, of a warm start
LOOKED_AT = 20_000  # characters for the numbers, also where fewer are shown
COUNTED = 5_000_000  # characters at the training text's end for n-gram models: they take a second an order and 0.5 GB
PIECES = 256  # of a whole text, for the loss along it


@dataclass(frozen=True, eq=False)
class Inside:
    """What `look_inside` found.

    Args:
      vocabulary: the symbols.
      ids: the text that was looked at, (N,).
      shown: how many of its characters are shown in colour.
      read_before: characters that were read before it; 0 is a cold start.
      guesses: of the text.
      other: with `read_before` characters read first: of the text's beginning, started cold; else None.
      layers: gates and units over the text.
      hidden: h of all units after each character but the last, the lowest layer's first, (N - 1, U).
      properties: by name, (N - 1,).
      units: what tracks a property; empty if the text is too short to say.
      calibration: how sure it was, and how often right.
      source: what the text is called.
      written: a sample of the model, and how good it is, or None.
      along: of each part of the text that the model was trained on, the loss along it, with places in the whole.
      by_order: loss of n-gram models of the training text on the same characters, nats, order 1 first; else None.
      errors: by kind, where there are n-gram models.
    """

    vocabulary: Vocabulary
    ids: np.ndarray
    shown: int
    read_before: int
    guesses: Guesses
    other: Guesses | None
    layers: list[LayerSummary]
    hidden: np.ndarray
    properties: dict[str, np.ndarray]
    units: list[TrackingUnit]
    calibration: Calibration
    source: str
    written: tuple[str, SampleQuality | None] | None = None
    along: Mapping[str, LossAlong] = field(default_factory=dict)
    by_order: np.ndarray | None = None
    errors: ErrorKinds | None = None

    @property
    def loss_nats(self) -> float:
        """Mean of - log p, nats a character."""
        return float(-self.guesses.log_p.mean())

    def coloured(self, guesses: Guesses | None = None, most: int | None = None, **options: Any) -> ColouredText:
        """The text that is shown, or its first `most` characters, with these guesses or its own."""
        n = min(self.shown, most or self.shown)
        part = Guesses(*(of[: n - 1] for of in guesses or self.guesses))
        return coloured(self.vocabulary, self.ids[:n], part, **options)

    def place_of(self, unit: int) -> tuple[int, int]:
        """Layer and number within it of a unit, both from 0."""
        for layer, summary in enumerate(self.layers):
            if unit < (wide := len(summary.mean["h"])):
                return layer, unit
            unit -= wide
        raise IndexError(f"no unit {unit}")

    def in_words(self) -> list[str]:
        """What a terminal shows beneath the text, lines of at most 80 characters."""
        start = f"warm, after {self.read_before:,} others" if self.read_before else "cold"
        kind = self.vocabulary.kind
        lines = [
            f"loss  {self.loss_nats:.4f} nats, {self.loss_nats / math.log(2):.4f} bits a {kind[:-1]}",
            f"      of {len(self.guesses.log_p):,} {kind}, {start}",
            f"sure  {self.calibration.mean_confidence:.1%} of its best guess, which is right "
            f"{self.calibration.mean_accuracy:.1%} of the time",
            "",
        ]
        gates = gate_rows(self.layers)
        if gates:
            lines.append("gates  share of steps below 0.1, above 0.9, and the mean, over all units")
            lines += [f"  {name:24} {low:6.1%} {high:6.1%}  {mean:.3f}" for name, low, high, mean in gates]
        if self.units:
            lines += ["", "units that track the text: correlation with a property, on held-out text"]
            lines += [
                f"  {self.name_of(found):20} {found.property:20} {found.held_out:+.2f}  {told_of(found)}"
                for found in self.units
            ]
        else:
            lines += ["", f"units that track the text: not searched in fewer than {FEWEST:,} characters"]
        if self.along:
            losses = (f"{part} {of.losses.mean():.3f}" for part, of in self.along.items())
            lines += ["", f"loss of pieces of each part: {', '.join(losses)}"]
        if self.by_order is not None and self.errors is not None:
            orders = [f"{order:4} {loss:.4f}" for order, loss in enumerate(self.by_order, 1)]
            lines += ["", "n-gram models of the training text, loss in nats by order"]
            lines += ["".join(orders[start : start + 6]) for start in range(0, len(orders), 6)]
            lines += ["", "errors (p below 0.5) by what would repair them, in this order; and each alone"]
            lines += [f"  {kind.name:16} {kind.share:6.1%} {kind.alone:6.1%}" for kind in self.errors.kinds]
        return lines

    def name_of(self, found: TrackingUnit) -> str:
        """Its layer, counted from 1, and its number in it, from 0."""
        layer, unit = self.place_of(found.unit)
        return f"layer {layer + 1} unit {unit}"


def told_of(found: TrackingUnit) -> str:
    """Whether a unit is confirmed, in words."""
    return f"{'confirmed' if found.confirmed else 'not confirmed'} (chance: {found.threshold:.2f})"


def gate_rows(layers: list[LayerSummary]) -> list[tuple[str, float, float, float]]:
    """Of each gate of each layer: its name, the shares below 0.1 and above 0.9, and the mean, over all units."""
    return [
        (f"layer {number + 1} {name}", float(of.low.mean()), float(of.high.mean()), float(of.mean.mean()))
        for number, layer in enumerate(layers)
        for name, of in layer.gates.items()
    ]


def calibration_of_guesses(guesses: Guesses, targets: np.ndarray) -> Calibration:
    """How sure a model was, from what `guess` gave.

    Args:
      guesses: of a text.
      targets: its ids without the first, (N - 1,).
    """
    right = guesses.best[:, 0] == targets
    return calibration_of(sums_of_guesses(guesses.best_p[:, 0], right, guesses.entropy, -guesses.log_p))


def look_inside(
    model: Any,
    vocabulary: Vocabulary,
    ids: np.ndarray,
    *,
    shown: int = SHOWN_IN_TERMINAL,
    before: np.ndarray | None = None,
    cold: int = 0,
    parts: Mapping[str, np.ndarray] | None = None,
    orders: int = 0,
    document_end: int | None = None,
    source: str = "text",
    written: tuple[str, SampleQuality | None] | None = None,
) -> Inside:
    """Reads a text and takes all the numbers of a report: at most the larger of `shown` and `LOOKED_AT` characters.

    The model starts warm if there is a text before this one.

    Args:
      model: a language model.
      vocabulary: its symbols.
      ids: the text, (N,).
      shown: how many characters are to be shown in colour.
      before: the text before it; its last `READ_BEFORE` characters are read.
      cold: with a text before it, how many characters are read a second time, from a fresh start.
      parts: "training" and others of the text that the model was trained on, by name.
      orders: of the n-gram models of the training part; with 0 there are none and no kinds of errors.
      document_end: see `read_windows`.
      source: what the text is called.
      written: a sample of the model, and how good it is.

    Example:
      run = jaxrnn.open_run("runs/my-run")
      inside = look_inside(run.model(), run.vocabulary, run.vocabulary.encode(text))
      print("\\n".join(inside.in_words()))
    """
    ids = np.asarray(ids[: max(shown, LOOKED_AT)])
    warm = ids[:0] if before is None else np.asarray(before[-READ_BEFORE:], ids.dtype)
    vocabulary.require_characters("look_inside")
    best, end = min(BEST, len(vocabulary)), document_end
    guesses, by_layer, layers = read_once(model, ids, best=best, before=warm, document_end=end)
    hidden, properties = np.concatenate(by_layer, axis=1), properties_of(vocabulary.decode(ids[:-1]))
    parts, along, begin = parts or {}, {}, 0
    for name, part in parts.items():
        if len(part) > 1:
            of = loss_along(model, part, -(-PIECES * len(part) // sum(map(len, parts.values()))), document_end=end)
            along[name] = of._replace(places=of.places + begin)
        begin += len(part)
    by_order = errors = None
    if orders and len(training := parts.get("training", ids[:0])[-COUNTED:]):
        ngrams, read = train_ngrams(training, len(vocabulary), max(orders, NGRAM_ORDERS)), np.concatenate([warm, ids])
        by_order = -ngram_log_p(ngrams, read)[:orders, 1 - len(ids) :].mean(1)
        errors = kinds_of_errors(guesses.log_p, read, training, vocabulary, ngrams=ngrams)
    return Inside(
        vocabulary,
        ids,
        min(shown, len(ids)),
        len(warm),
        guesses,
        guess(model, ids[: cold + 1], best=best, document_end=end) if cold and len(warm) else None,
        layers,
        hidden,
        properties,
        find_tracking_units(hidden, properties) if len(hidden) >= FEWEST and properties else [],
        calibration_of_guesses(guesses, ids[1:]),
        source,
        written,
        along,
        by_order,
        errors,
    )
