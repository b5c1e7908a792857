"""What `jaxrnn inspect` is asked to look at; free of JAX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jaxrnn.terminal.command import CountIfAny, Switch

SHOWN_IN_TERMINAL, SHOWN_ON_PAGE = 2000, 20_000


@dataclass(frozen=True)
class Look:
    """What to look at, and how to show it.

    Args:
      text: a file, a directory, - (standard input) or a known text; the run's own validation part if not given.
      characters: how many are shown in colour; 2,000, on a page 20,000.
      start: warm (after the text before it) or cold (from a fresh start).
      beneath: whether the best guess stands beneath each character where it was wrong.
      orders: n-gram models of up to this order beside the model, and kinds of errors; on a page 9, in the terminal 0.
      html: write one page with all of it to this file.
      checkpoint: best (by its loss; if not given) or latest; a file holds one of them.
    """

    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None  # a lone dash
    characters: CountIfAny = None
    start: str = "warm"
    beneath: Switch = False
    orders: CountIfAny = None
    html: Path | None = None
    checkpoint: str | None = None


LOOK = Look()
