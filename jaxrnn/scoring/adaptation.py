"""What `jaxrnn evaluate` is asked besides a text; free of JAX."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from jaxrnn.checks import check_count, check_number, flag
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.command import Count, Real, Switch

MOST_SYMBOLS = 10_000
LARGEST_RATE = 3.4e38  # of a float32


@dataclass(frozen=True)
class Adaptation:
    """How far parameters follow a text in dynamic evaluation: see `evaluate_adapting`.

    The defaults were chosen on the validation part of War and Peace, for an LSTM of 128 units.

    Args:
      rate: eta, of a step along the gradient.
      decay: lambda, how far each step goes back to the trained parameters.
      segment: symbols between two steps.

    Raises:
      ConfigurationError: if one of them is out of range.
    """

    rate: float = 3e-4
    decay: float = 3e-4
    segment: int = 20

    def __post_init__(self) -> None:
        check_number("adapt_rate", self.rate, 0, LARGEST_RATE)
        check_number("adapt_decay", self.decay, 0, 1)
        check_count("adapt_segment", self.segment, 1, MOST_SYMBOLS)


@dataclass(frozen=True)
class Scoring:
    """How a text is scored.

    Args:
      unknown: refuse a text with characters that the model does not know, or skip these; how many is told.
      ensemble: other runs or models of the same characters, may be repeated; the mean of all probabilities is scored.
      adapt: dynamic evaluation; the parameters follow the text while it is scored.
      adapt_rate: how fast they follow.
      adapt_decay: how fast they come back.
      adapt_segment: after how many characters they move.
      adapt_text: the text that it was trained on, where the run does not find it.
    """

    unknown: Literal["refuse", "skip"] = "refuse"
    ensemble: Annotated[tuple[Path, ...], Parameter(negative="", show_default=False)] = ()
    adapt: Switch = False
    adapt_rate: Real = Adaptation.rate
    adapt_decay: Real = Adaptation.decay
    adapt_segment: Count = Adaptation.segment
    adapt_text: str | None = None

    def adaptation(self) -> Adaptation | None:
        """How the parameters follow the text, if they do.

        Raises:
          ConfigurationError: if they do not, and something is said of how; or if a value is out of range.
        """
        alone = [f.name for f in fields(self) if f.name.startswith("adapt_") and getattr(self, f.name) != f.default]
        if alone and not self.adapt:
            raise ConfigurationError(f"{flag(alone[0])} belongs to --adapt; give that too")
        return Adaptation(self.adapt_rate, self.adapt_decay, self.adapt_segment) if self.adapt else None


AS_IT_IS = Scoring()
