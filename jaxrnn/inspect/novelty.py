"""How much of a generated text is new: words that the book does not contain."""

from __future__ import annotations

import re

import numpy as np

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def words_of(text: str) -> list[str]:
    """The words of a text: runs of letters, apostrophes inside them kept, in lower case.

    Example:
      >>> words_of("Don't stop, 3 times!")
      ["don't", 'stop', 'times']
    """
    return [word.lower() for word in WORD.findall(text)]


def distinct_words(text: str, every: int = 1000) -> np.ndarray:
    """How many different words a text has had when each window of it ends: rising fast where much is new.

    Args:
      text: N characters.
      every: characters a window; the last one may be shorter. A word counts where it ends.

    Returns:
      (ceil(N / every),) whole numbers.

    Example:
      >>> distinct_words("a cat, a dog", every=6).tolist()
      [2, 3]

    Source: the thesis, figure 5.3.
    """
    found, known = np.zeros(-(-len(text) // every), np.int64), set[str]()
    for match in WORD.finditer(text):
        word = match[0].lower()
        found[(match.end() - 1) // every] += word not in known
        known.add(word)
    return found.cumsum()


def known_word_share(sample: str, book_words: frozenset[str] | set[str]) -> float:
    """The share of a sample's words that the book contains; NaN for a sample without words.

    The first and the last word of a sample may be cut, so they are left out where there are others.

    Args:
      sample: generated text.
      book_words: `set(words_of(book))`.

    Example:
      >>> known_word_share("he the cat sad an", {"the", "cat", "sat"})
      0.6666666666666666
    """
    words = words_of(sample)
    inner = words[1:-1] if len(words) > 2 else words
    if not inner:
        return float("nan")
    return sum(word in book_words for word in inner) / len(inner)
