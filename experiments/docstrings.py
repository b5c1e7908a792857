"""Short documents that every machine has, in the place of tweets: what Python's library says of its own functions.

    python -m experiments.docstrings docstrings.jsonl
    python -m experiments.book_rnn docstrings.jsonl --preset a-100k --run DIR

The first paragraph of each docstring of the standard library, of 20 to 280 characters, each once, one a line, in the
order of the files. Report A names tweets as a second text and shows nothing of them. A network trained on documents
begins each from a carry of zero and learns where one ends, so a sample holds whole documents; U+0003 ends each.
"""

from __future__ import annotations

import ast
import json
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path

from jaxrnn.terminal import run_app

LEAST, MOST = 20, 280  # characters
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages"}


def docstrings(source: str) -> Iterator[str]:
    """The first paragraph of each docstring in a module, as one line.

    Example:
      >>> list(docstrings('def f():\\n    \"\"\"Does this and nothing\\n    else.\\n\\n    More.\"\"\"'))
      ['Does this and nothing else.']
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            paragraph = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            if LEAST <= len(paragraph) <= MOST and "\x03" not in paragraph:
                yield paragraph


def main(output: Path, /) -> int:
    """Write the docstrings of this Python's standard library as JSON, one a line.

    Args:
      output: a file that ends in .jsonl.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in folder.rglob("*.py") if not LEFT_OUT.intersection(path.relative_to(folder).parts)]
    found: dict[str, None] = {}
    for path in sorted(paths, key=lambda path: path.relative_to(folder).parts):
        try:
            with tokenize.open(path) as file, warnings.catch_warnings(action="ignore"):
                found |= dict.fromkeys(docstrings(file.read()))
        except (OSError, SyntaxError, UnicodeDecodeError):
            continue
    output.write_text("".join(json.dumps(text, ensure_ascii=False) + "\n" for text in found), "utf-8")
    characters = sum(map(len, found))
    print(f"{len(found):,} documents, {characters:,} characters, {characters / len(found):.0f} each: {output}")
    return 0


if __name__ == "__main__":
    run_app(main)
