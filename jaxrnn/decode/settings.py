"""How a model is to write: the rules that choose a symbol, a search instead, and what ends a text. Free of JAX."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Annotated

from cyclopts import Parameter

from jaxrnn.checks import LARGEST_COUNT, check_choice, check_count, check_number, flag, plain
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.command import Count, CountIfAny, Real, RealIfAny, Switch

FILTERS = ("top_k", "top_p", "min_p", "typical")
MOST_BEAMS = 1000
SHARPEST = 1e19  # 1 / temperature, at most: what is greedy then is greedy below it
STARTS = ("fresh", "cold", "learned")


@dataclass(frozen=True)
class Decoding:
    """How the next symbol is chosen, and what ends a text.

    The order is: the repetition penalty changes the logits, the temperature divides them, the filters leave symbols
    out, one of the rest is drawn. Each filter looks at all symbols after the temperature, and what every one of them
    keeps is kept, so they have no order among themselves. (Elsewhere each looks at what the one before has left.)
    Symbols with equal probabilities are kept or left out together. The formulas are those of `jaxrnn.decode.rules`.

    Args:
      temperature: 0 is greedy, 1 the model's own probabilities, higher is more random.
      top_k: only the K most probable symbols.
      top_p: nucleus, only the most probable symbols that have this much of the probability together, such as 0.9.
      min_p: only symbols at least this part as probable as the most probable, such as 0.05.
      typical: only the symbols nearest to the expected surprise that have this much probability together, such as 0.9.
      repetition_penalty: above 1 the symbols of the last --penalty-window are less probable.
      penalty_window: how many of the last symbols, read or written, are penalised.
      beams: search for a probable text with so many candidates, in place of drawing.
      length_penalty: candidates are ranked by log p / length^A; 0 is by log p, which favours those that end soon.
      stop: a text that ends the writing, several if given again; a sentinel is one of a single character.
      until_document_end: the end of a document ends it too, in a run of documents.
      keep_stop: write what ended the text too.
      start: fresh, the model's own start, as after a line end; cold, a carry of zeros and a random first symbol, which
        is not shown; learned, fresh but refused if the model has learned no start.

    Raises:
      ConfigurationError: if a value, or a combination of them, cannot be used.

    Example:
      >>> Decoding(temperature=0.8, top_p=0.9, stop="END").stop
      ('END',)
    """

    temperature: Real = 1.0
    top_k: CountIfAny = None
    top_p: RealIfAny = None
    min_p: RealIfAny = None
    typical: RealIfAny = None
    repetition_penalty: RealIfAny = None
    penalty_window: Count = 64
    beams: CountIfAny = None
    length_penalty: Real = 0.0
    stop: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    until_document_end: Switch = False
    keep_stop: Switch = False
    start: str = "fresh"

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        one = isinstance(self.stop, str) or not isinstance(self.stop, Iterable)
        stop = (self.stop,) if one else tuple(self.stop)
        object.__setattr__(self, "stop", stop)
        noise_scales(self.temperature)
        for name, most in (("top_k", LARGEST_COUNT), ("penalty_window", LARGEST_COUNT), ("beams", MOST_BEAMS)):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), 1, most)
        for name in ("top_p", "min_p", "typical"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value <= 1):
                raise ConfigurationError(f"{flag(name)} expects a number above 0, at most 1; got {value!r}")
        if self.repetition_penalty is not None:
            check_number("repetition_penalty", self.repetition_penalty, 1)
        check_number("length_penalty", self.length_penalty, 0)
        check_choice("start", self.start, STARTS)
        if not all(isinstance(text, str) and text for text in stop):
            raise ConfigurationError("--stop expects a text of at least one character; leave it out to write on")
        self._check_combinations()

    def _check_combinations(self) -> None:
        drawing = ("temperature", *FILTERS, "repetition_penalty")
        if self.beams is not None and (given := [name for name in drawing if name in self.given()]):
            raise ConfigurationError(
                f"--beams searches and draws nothing, so {flag(given[0])} has no effect; leave one of them out"
            )
        if self.beams is None and self.length_penalty:
            raise ConfigurationError("--length-penalty ranks what --beams finds; give --beams too")
        if self.typical is not None and (given := [n for n in FILTERS[:-1] if getattr(self, n) is not None]):
            raise ConfigurationError(
                f"--typical may leave out what {flag(given[0])} keeps, and nothing would remain; leave one of them out"
            )
        if self.repetition_penalty is None and "penalty_window" in self.given():
            raise ConfigurationError("--penalty-window belongs to --repetition-penalty; give that too")
        if self.keep_stop and not self.stop and not self.until_document_end:
            raise ConfigurationError("--keep-stop needs something that ends the text; give --stop too")

    def given(self) -> set[str]:
        """The names of what is not as it is by default."""
        return {field.name for field in fields(self) if getattr(self, field.name) != field.default}

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the temperature and the start is asked for."""
        return self.given() <= {"temperature", "start", "stop", "until_document_end", "keep_stop"}

    def values(self) -> dict[str, float | tuple[float, float]]:
        """What the compiled program takes; a rule that is off is not among it."""
        found: dict[str, float | tuple[float, float]] = {"scales": noise_scales(self.temperature)}
        if any(getattr(self, name) is not None for name in FILTERS):
            found["sharpness"] = min(1 / self.temperature, SHARPEST) if self.temperature > 1 / SHARPEST else SHARPEST
        for name in (*FILTERS, "repetition_penalty"):
            if (value := getattr(self, name)) is not None and not (name in ("top_p", "typical") and value == 1):
                found[name] = float(value)
        if self.repetition_penalty is not None:
            found["penalty_window"] = float(self.penalty_window)
        return found


def noise_scales(temperature: float) -> tuple[float, float]:
    """(a, b) such that argmax(a logits + b Gumbel noise) draws from softmax(logits / temperature).

    Temperature 0 is greedy with ties to the lowest id, infinity is uniform, and no finite one overflows.

    Raises:
      ConfigurationError: if the temperature is negative or not a number.
    """
    temperature = plain(temperature)
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not temperature >= 0:
        raise ConfigurationError(
            f"--temperature expects a number of at least 0 (0 is greedy, 1 the model's own probabilities); "
            f"got {temperature!r}"
        )
    if math.isinf(temperature):
        return 0.0, 1.0
    return (1.0, float(temperature)) if temperature <= 1 else (1.0 / temperature, 1.0)


PLAIN = Decoding()
