"""A run seen from inside: its own text or another, and what a terminal shows."""

from __future__ import annotations

import shutil
import sys
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.recorded import recorded_text, split_again
from jaxrnn.errors import ConfigurationError, DataError
from jaxrnn.inspect.coloured_text import STEPS, ColouredText
from jaxrnn.inspect.errors_by_kind import NGRAM_ORDERS
from jaxrnn.inspect.look import LOOK, SHOWN_IN_TERMINAL, SHOWN_ON_PAGE, Look
from jaxrnn.inspect.report import READ_BEFORE, Inside, look_inside
from jaxrnn.inspect.sample_quality import quality_of_sample, read_training_text
from jaxrnn.terminal.command import write_output
from jaxrnn.terminal.printable import printable

SAMPLED = 2000  # characters that the model writes for a page
COLD_SHOWN = 500  # characters; later both starts are all but equal
MOST_ORDERS = 50


class TextToLookAt(NamedTuple):
    """A text for `look_inside`.

    Attributes:
      ids: the text, (N,).
      before: what stands before it, to start warm; empty to start cold.
      document_end: see `read_windows`.
      source: what it is called.
      parts: of the text that the model was trained on, by name, if it is this text.
    """

    ids: np.ndarray
    before: np.ndarray
    document_end: int | None
    source: str
    parts: dict[str, np.ndarray]


def find_text(opened: Any, text: str | None = None, start: str = "warm") -> TextToLookAt:
    """A text for an opened run: the one asked for, else its own validation, test or training part, the first there is.

    Of a text that is asked for, a warm start reads the first `READ_BEFORE` characters, or half of a shorter one.

    Args:
      opened: of `jaxrnn.open_run`.
      text: what `load_corpus` takes.
      start: "warm" or "cold".

    Raises:
      ConfigurationError: if `start` is neither, or the run's own text is not to be had.
      DataError: if the text cannot be read.
    """
    if start not in ("cold", "warm"):
        raise ConfigurationError(f"--start expects cold or warm; got {printable(repr(start), keep='')[:40]}")
    vocabulary, data, config = opened.vocabulary, opened.record["data"], opened.config
    vocabulary.require_characters("jaxrnn inspect")
    if text is not None:
        corpus = load_corpus(text, opened.reading, vocabulary)
        cut = min(READ_BEFORE, len(corpus) // 2) if start == "warm" else 0
        return TextToLookAt(corpus.ids[cut:], corpus.ids[:cut], corpus.document_end, corpus.name, {})
    name, fault = printable(str(data["name"]), keep=""), "is not the one that it was trained on"
    lies = recorded_text(config, data)
    fault = "lies in no file that it names" if lies is None else fault
    try:
        own = None if lies is None else load_corpus(lies, opened.reading, vocabulary)
    except DataError:
        own, fault = None, "is not found here"
    if own is None or own.digest != data.get("sha256"):
        raise ConfigurationError(f"the text of {printable(str(opened.path))}, {name}, {fault}; name a file with --text")
    split = split_again(own.ids, config, data)
    parts = {"training": split.train, "validation": split.valid, "test": split.test}
    part = next((of for of in ("validation", "test") if len(parts[of]) > 1), "training")
    known = [split.train, split.valid][: list(parts).index(part)] if start == "warm" else []
    before = np.concatenate([own.ids[:0], *(of[-READ_BEFORE:] for of in known)])
    return TextToLookAt(parts[part], before, own.document_end, f"{name}, {part} part", parts)


def look_inside_run(opened: Any, look: Look = LOOK, *, for_page: bool = False) -> Inside:
    """`look_inside` with the text of `find_text`; for a page more of it, and with a sample of the model.

    Args:
      opened: of `jaxrnn.open_run`.
      look: what to look at.
      for_page: whether it is for a page.

    Raises:
      ConfigurationError: for fewer than 2 characters, and as `find_text` and `Run.params` do.
    """
    orders = (NGRAM_ORDERS if for_page else 0) if look.orders is None else look.orders
    if not 0 <= orders <= MOST_ORDERS:
        raise ConfigurationError(f"--orders expects 0 to {MOST_ORDERS}; got {orders}")
    shown = (SHOWN_ON_PAGE if for_page else SHOWN_IN_TERMINAL) if look.characters is None else look.characters
    if shown < 2:
        raise ConfigurationError(f"--characters expects at least 2; got {shown}")
    found, model, written = find_text(opened, look.text, look.start), opened.model(look.checkpoint), None
    if for_page:
        sample = opened.sample(SAMPLED, checkpoint=look.checkpoint)
        training = found.parts.get("training")
        known = None if training is None else read_training_text(opened.vocabulary.display_text(training))
        written = (sample, None if known is None else quality_of_sample(sample, known))
    options: dict[str, Any] = {"document_end": found.document_end, "source": found.source, "written": written}
    if for_page or orders:
        options["parts"] = found.parts
    if found.parts and found.ids is not found.parts["training"]:  # n-gram models of a text know it by heart
        options["orders"] = orders
    elif look.orders:
        raise ConfigurationError(
            "--orders expects a validation or test part of the run's own text; leave it or --text out"
        )
    cold = COLD_SHOWN if for_page else 0
    return look_inside(model, opened.vocabulary, found.ids, shown=shown, before=found.before, cold=cold, **options)


def show(inside: Inside, *, beneath: bool = False) -> None:
    """Prints the coloured text and the numbers; where stdout is no terminal, as plain text."""
    from rich.console import Console
    from rich.text import Text

    made = Text(no_wrap=True, end="")
    made.append(
        f"{printable(inside.source, keep='')}: the first {inside.shown:,} characters, each by its probability\n\n"
    )
    made.append_text(inside.coloured(beneath=beneath).to_ansi(max(20, shutil.get_terminal_size((80, 24)).columns)))
    legend = "".join(f" .{step} " for step in range(STEPS))
    made.append("\n").append_text(ColouredText(legend, np.arange(len(legend)) / len(legend)).to_ansi()).right_crop(1)
    made.append(" and above; underlined: below 0.1\n\n" + "\n".join(inside.in_words()) + "\n")
    if sys.stdout.isatty():
        Console(highlight=False).print(made, end="", overflow="ignore", crop=False)
    else:
        write_output(made.plain)
