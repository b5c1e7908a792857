"""Make text from outside safe to show: a terminal obeys control characters, so none of them is printed raw."""

from __future__ import annotations


def printable(text: str, keep: str = "\n\t") -> str:
    r"""Escapes every character that is not printable, but for those in `keep`.

    Escape sequences, bidirectional controls and other invisible characters become their Python escapes, so a
    sample or a vocabulary can be printed without it moving the cursor or renaming the window.

    Example:
      >>> printable("a\x1b[2Jb")
      'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text
    )


def first_line(error: BaseException, most: int = 200) -> str:
    """What an error says first, safe to show and of so many characters at most; its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable((lines[0] if lines else type(error).__name__)[:most], keep="")
