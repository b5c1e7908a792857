"""Text at three temperatures: how much of it repeats, and how many of its words the book has (thesis, 5.4.2).

Command: python -m experiments.temperatures [--csv FILE] [--texts]

Published (thesis): one text each, judged by eye: at 10^-2 the same words cycle, at 10^-0.3 a phrase still repeats, at 1
nothing repeats but many words are misspelt. Its model is a GRU of three layers and size 512; ours is that of the
notebooks, an LSTM of two layers of 128 units, trained on the first 80 % of War and Peace.
Obtained: experiments/README.md.

What is counted: a phrase is four words in a row; its share repeated is that of the phrases that stood in the same text
before. A word is known if the book has it. The model reads a full stop first, as the thesis's does.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from experiments.inside_warpeace import MODEL
from experiments.spread import spread
from jaxrnn import load_corpus, open_run
from jaxrnn.inspect import known_word_share, words_of
from jaxrnn.terminal import run_app, write_output

TEMPERATURES = {"10^-2": 10**-2, "10^-0.3": 10**-0.3, "1": 1.0}
LENGTH, SEEDS, PHRASE = 1000, 10, 4


def repeated_share(text: str, words: int = PHRASE) -> float:
    """The share of runs of so many words that stood in the text before; 0 where there is none.

    Example:
      >>> repeated_share("to be or not to be", 2), repeated_share("to be")
      (0.2, 0.0)
    """
    found = words_of(text)
    runs = [tuple(found[i : i + words]) for i in range(len(found) - words + 1)]
    return (len(runs) - len({*runs})) / len(runs) if runs else 0.0


def main(*, csv_file: Annotated[Path | None, Parameter("--csv")] = None, texts: bool = False) -> int:
    """Lets the model of the notebooks write at three temperatures, ten texts of 1,000 characters each.

    Args:
      csv_file: where the shares of every text go.
      texts: print the first text of each temperature as well.
    """
    model, corpus = open_run(MODEL), load_corpus("warpeace")
    book = frozenset(words_of(corpus.vocabulary.display_text(corpus.ids)))
    rows: list[tuple[str | int | float, ...]] = []
    for name, temperature in TEMPERATURES.items():
        written = [str(model.sample(LENGTH, temperature, ".", seed)) for seed in range(SEEDS)]
        repeats = [repeated_share(text) for text in written]
        misspelt = [1 - known_word_share(text, book) for text in written]
        print(f"{name}: phrases repeated {spread(repeats)}, words that the book lacks {spread(misspelt)}", flush=True)
        rows += [
            (name, seed, round(r, 4), round(m, 4)) for seed, (r, m) in enumerate(zip(repeats, misspelt, strict=True))
        ]
        if texts:
            write_output(f"{written[0]}\n\n")
    if csv_file:
        with open(csv_file, "w", encoding="utf-8", newline="") as file:
            header = ("temperature", "seed", "repeated_phrases", "unknown_words")
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return 0


if __name__ == "__main__":
    run_app(main)
