"""Facts of its texts that the thesis tells beyond counts: direct speech, readability, functions and variables.

Command: python -m experiments.corpus_facts [--csv FILE]

Published (thesis, 2.1 and 2.2): of War and Peace that it scores relatively high in readability and makes heavy use of
direct speech, both without a number; of the Linux source about 8,700 functions and 5,000 different variables.
Obtained: experiments/README.md. In place of the Linux source stands that of Python's standard library, as the grid
reads it, so its numbers are of another language.

What is chosen here: direct speech is what lies between two quotation marks of one paragraph; one that is left open ends
with it. Readability is Flesch's reading ease, 206.835 - 1.015 words a sentence - 84.6 syllables a word, more is easier
(60 to 70 is plain English), with groups of vowels as syllables, a silent final e not counted. Functions are each `def`,
variables the different names that are assigned to with `=` at the beginning of a line.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jaxrnn import load_corpus
from jaxrnn.inspect import words_of
from jaxrnn.terminal import run_app

SOURCE_CHARACTERS = 6_200_000
VOWELS = re.compile(r"[aeiouy]+")
SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?=\s)")
FUNCTION = re.compile(r"^ *(?:async )?def (\w+)", re.MULTILINE)
VARIABLE = re.compile(r"^ *(\w+)(?:: [^=\n]+)? = ", re.MULTILINE)


def direct_speech(text: str) -> float:
    """The share of characters within quotation marks, paragraph by paragraph.

    Example:
      >>> direct_speech('"Go," he said.') == 3 / 14
      True
    """
    inside = 0
    for paragraph in re.split(r"\n\s*\n", text):
        parts = re.split('["“”]', paragraph)
        inside += sum(len(part) for part in parts[1::2])
    return inside / len(text)


def syllables(word: str) -> int:
    """Groups of vowels; a final e after a consonant is silent.

    Example:
      >>> [syllables(word) for word in ("peace", "war", "the", "prince", "battalion")]
      [1, 1, 1, 1, 3]
    """
    groups = len(VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith(("le", "ee")) and groups > 1
    return max(groups - silent, 1)


def reading_ease(text: str) -> float:
    """Flesch's reading ease.

    Example:
      >>> reading_ease("The cat sat on the mat. It was fat. ") > 100
      True
    """
    words, sentences = words_of(text), len(SENTENCE_END.findall(text))
    of_words = sum(map(syllables, words)) / len(words)
    return 206.835 - 1.015 * len(words) / max(sentences, 1) - 84.6 * of_words


def main(*, csv_file: Annotated[Path | None, Parameter("--csv")] = None) -> int:
    """Tells the facts of War and Peace and of Python's standard library.

    Args:
      csv_file: where they go.
    """
    rows: list[tuple[str, str, float]] = []
    novel, code = load_corpus("warpeace"), load_corpus("python-stdlib")
    text = novel.vocabulary.display_text(novel.ids)
    rows += [("warpeace", "direct speech, share of the characters", round(direct_speech(text), 4))]
    rows += [("warpeace", "Flesch reading ease", round(reading_ease(text), 1))]
    source = code.vocabulary.display_text(code.ids[:SOURCE_CHARACTERS])
    functions, variables = FUNCTION.findall(source), VARIABLE.findall(source)
    rows += [
        ("python-stdlib", "functions", len(functions)),
        ("python-stdlib", "different functions", len({*functions})),
    ]
    rows += [("python-stdlib", "different variables", len({*variables}))]
    for name, what, value in rows:
        print(f"{name}: {what} {value:,}")
    if csv_file:
        with open(csv_file, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("text", "fact", "value"), *rows])
    return 0


if __name__ == "__main__":
    run_app(main)
