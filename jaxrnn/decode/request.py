"""What `jaxrnn sample` is asked for beside how to write, and the answer to it; free of JAX."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from jaxrnn.decode.settings import Decoding
from jaxrnn.terminal.command import Count, Switch, write_output


@dataclass(frozen=True)
class Request:
    """How much is to be written, after what, and where to.

    Args:
      length: how many characters to generate, in byte mode bytes; fewer where something ends the text.
      prime: text that the model reads first; it is not printed again. Without it, it begins as after a line end.
      prime_file: a file whose text the model reads first, whole; - is standard input.
      show_prime: print what was read before what is written.
      samples: how many texts, written at once, text k from seed + k - 1; or the best that --beams finds.
      seed: the same seed gives the same text.
      output: write the text to this file; several to NAME-1.txt, NAME-2.txt and so on for NAME.txt.
    """

    length: Count = 1000
    prime: str = ""
    prime_file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None  # a lone dash
    show_prime: Switch = False
    samples: Count = 1
    seed: Count = 0
    output: Path | None = None

    def output_of(self, number: int) -> Path | None:
        """The file of text `number`, counted from 1; None where it is printed."""
        if self.output is None or self.samples == 1:
            return self.output
        return self.output.parent / f"{self.output.stem}-{number}{self.output.suffix}"

    def answer(self, opened: Any, how: Decoding, checkpoint: str | None, save: Callable[[Path, Any], None]) -> None:
        """Prints the texts or saves them, one as it is written.

        Args:
          opened: a `TrainedModel`.
          how: how it writes.
          checkpoint: which parameters.
          save: writes a file whole, of a text or its parts.
        """
        names = ("length", "prime", "prime_file", "show_prime", "seed")
        options = {name: getattr(self, name) for name in names} | vars(how) | {"checkpoint": checkpoint}
        if self.samples != 1:
            texts = opened.samples(self.samples, **options)
            for number, text in enumerate(texts, 1):
                if (path := self.output_of(number)) is not None:
                    save(path, str(text))
                    continue
                told = f"seed {self.seed + number - 1}" if text.log_p is None else f"log p {text.log_p:.3f}"
                write_output(f"--- {number} of {len(texts)}, {told} ---\n")
                write_output(text + "\n" * (not text.endswith("\n")), escape=False)
        elif self.output is not None:
            save(self.output, opened.stream(**options))
        else:
            for part in opened.stream(**options):
                write_output(part, escape=False)
            if sys.stdout.isatty():
                write_output("\n")


ONE = Request()
