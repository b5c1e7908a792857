"""A trained language model seen from inside on one text: all the numbers at once, and what a terminal shows of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.inspect.calibration import Calibration, CalibrationSums, calibration_of
from jaxrnn.inspect.coloured_text import ColouredText, coloured
from jaxrnn.inspect.look import SHOWN_IN_TERMINAL
from jaxrnn.inspect.properties import properties_of
from jaxrnn.inspect.reading import Guesses, LayerSummary, activations, guess, summarise_layers
from jaxrnn.inspect.sample_quality import SampleQuality
from jaxrnn.inspect.tracking_units import FEWEST, TrackingUnit, find_tracking_units

BEST = 3  # guesses
READ_BEFORE = 1000  # characters, of a warm start
LOOKED_AT = 20_000  # characters for the numbers, also where fewer are shown
BINS = 10


@dataclass(frozen=True, eq=False)
class Inside:
    """What `look_inside` found.

    Args:
      vocabulary: the symbols.
      ids: the text that was looked at, (N,).
      shown: how many of its characters are shown in colour.
      read_before: characters that were read before it; 0 is a cold start.
      guesses: of the text.
      other: with `read_before` characters read first: of the same text, started cold; else None.
      layers: gates and units over the text.
      hidden: h of all units after each character but the last, the lowest layer's first, (N - 1, U).
      properties: by name, (N - 1,).
      units: what tracks a property; empty if the text is too short to say.
      calibration: how sure it was, and how often right.
      source: what the text is called.
      written: a sample of the model, and how good it is, or None.
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
        lines = [
            f"loss  {self.loss_nats:.4f} nats, {self.loss_nats / math.log(2):.4f} bits a character",
            f"      of {len(self.guesses.log_p):,} characters, {start}",
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
    confidence, right = guesses.best_p[:, 0].astype(np.float64), guesses.best[:, 0] == targets
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    characters, sure, correct = (np.bincount(bin_of, w, BINS) for w in (None, confidence, right))
    entropy, loss = float(guesses.entropy.sum(dtype=np.float64)), float(-guesses.log_p.sum(dtype=np.float64))
    return calibration_of(CalibrationSums(characters, sure, correct, entropy, loss))


def look_inside(
    model: Any,
    vocabulary: Vocabulary,
    ids: np.ndarray,
    *,
    shown: int = SHOWN_IN_TERMINAL,
    before: np.ndarray | None = None,
    document_end: int | None = None,
    source: str = "text",
    written: tuple[str, SampleQuality | None] | None = None,
) -> Inside:
    """Reads a text and takes all the numbers of a report: at most the larger of `shown` and `LOOKED_AT` characters.

    The model's guesses start warm if there is a text before this one. Gates and units are those of a cold start.

    Args:
      model: a language model.
      vocabulary: its symbols.
      ids: the text, (N,).
      shown: how many characters are to be shown in colour.
      before: the text before it; its last `READ_BEFORE` characters are read.
      document_end: see `read_windows`.
      source: what the text is called.
      written: a sample of the model, and how good it is.

    Example:
      run = jaxrnn.open_run("runs/my-run")
      inside = look_inside(run.model(), run.vocabulary, run.vocabulary.encode(text))
      print("\\n".join(inside.in_words()))
    """
    ids = np.asarray(ids[: max(shown, LOOKED_AT)])
    warm = None if before is None or not len(before) else before[-READ_BEFORE:]
    best = min(BEST, len(vocabulary))
    cold = guess(model, ids, best=best, document_end=document_end)
    guesses = cold if warm is None else guess(model, ids, best=best, before=warm, document_end=document_end)
    hidden = np.concatenate(activations(model, ids, document_end=document_end), axis=1)
    properties = properties_of(vocabulary.decode(ids[:-1]))
    return Inside(
        vocabulary,
        ids,
        min(shown, len(ids)),
        0 if warm is None else len(warm),
        guesses,
        None if warm is None else cold,
        summarise_layers(model, ids, document_end=document_end),
        hidden,
        properties,
        find_tracking_units(hidden, properties) if len(hidden) >= FEWEST and properties else [],
        calibration_of_guesses(guesses, ids[1:]),
        source,
        written,
    )
