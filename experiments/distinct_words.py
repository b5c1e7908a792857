"""Different words against the place in the text (figure 5.3 of the thesis), and where a text suddenly brings new ones.

Command: python -m experiments.distinct_words [TEXT ...] [--output FILE] [--csv FILE]

Published (thesis): both texts rise alike; the Linux source has a spike of new words at 0.92 of it, in its test part, a
stretch of struct definitions; War and Peace has none.
Obtained (2026-11-26, one core, 4 s): War and Peace 17,949 different words and no spike; python-stdlib of Python 3.11.7
14,580, with 538 new ones in 20,000 characters at 0.79 (the median is 33, of the second half 20), just before its
validation part.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from jaxrnn import load_corpus
from jaxrnn.inspect import distinct_words, draw_distinct_words
from jaxrnn.terminal import run_app

TEXTS = ("warpeace", "python-stdlib")
CHARACTERS = 6_200_000  # of python-stdlib, as the grid reads
EVERY = 20_000


def main(
    *texts: str,
    output: Path = Path("distinct_words.png"),
    csv_file: Annotated[Path | None, Parameter("--csv")] = None,
) -> int:
    """Count the words of texts along them, and draw them.

    Args:
      texts: known texts or files; War and Peace and the Python standard library if not given.
      output: the picture.
      csv_file: where the counts go.
    """
    counts, borders = {}, {}
    table: list[tuple[str | int, ...]] = [("text", "characters", "distinct_words")]
    for name in texts or TEXTS:
        corpus = load_corpus(name)
        text = corpus.vocabulary.display_text(corpus.ids[:CHARACTERS])
        counts[name] = distinct_words(text, EVERY)
        borders[name] = {"validation": len(text) * 8 // 10, "test": len(text) * 9 // 10}
        ends = [*range(EVERY, len(text), EVERY), len(text)]
        table += [(name, end, count) for end, count in zip(ends, counts[name].tolist(), strict=True)]
        new = np.diff(counts[name], prepend=0)
        late = len(new) // 2 + int(np.argmax(new[len(new) // 2 :]))
        print(
            f"{name}: {len(text):,} characters, {counts[name][-1]:,} different words; in the second half a window of "
            f"{EVERY:,} brings {np.median(new[len(new) // 2 :]):.0f} new ones (median), at most {new[late]} at "
            f"{late / len(new):.2f} of the text"
        )
    if csv_file:
        with open(csv_file, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(table)
    draw_distinct_words(counts, EVERY, borders).savefig(output, dpi=100)
    return 0


if __name__ == "__main__":
    run_app(main)
