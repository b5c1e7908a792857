"""Texts that every machine with Python has, so that nothing need be downloaded to try the library."""

from __future__ import annotations

import os
import platform
import sysconfig
from pathlib import Path

LOCAL_TEXTS = ("python-reference", "python-stdlib")

_LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})


def local_text(name: str) -> tuple[str, tuple[str, ...]]:
    """One of LOCAL_TEXTS, made from this Python's own files, with notes on what was read.

    The reference's tables are left out: drawn in lines and spaces, they are 8 % of its characters and no text.
    """
    version = platform.python_version()
    if name == "python-reference":
        from pydoc_data.topics import topics

        lines = "\n".join(topics[key].strip("\n") + "\n" for key in sorted(topics)).split("\n")
        prose = [line for line in lines if not line.lstrip().startswith(("|", "+-", "+="))]
        left_out = len(lines) - len(prose)
        note = f"the language reference of Python {version}, {len(topics)} topics, {left_out} lines of tables left out"
        return "\n".join(prose), (note,)
    return _standard_library(Path(sysconfig.get_path("stdlib")), version)


def _standard_library(folder: Path, version: str) -> tuple[str, tuple[str, ...]]:
    import tokenize

    paths = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        paths += [
            Path(parent, name) for name in files if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    texts, skipped = [], 0
    for path in sorted(paths, key=lambda path: path.relative_to(folder).parts):
        try:
            with tokenize.open(path) as file:
                text = file.read()
        except (OSError, SyntaxError, UnicodeDecodeError):
            skipped += 1
            continue
        if text:
            texts.append(text if text.endswith("\n") else text + "\n")
    note = f"the standard library of Python {version}, {len(texts)} files, tests left out"
    return "".join(texts), (note, f"{skipped} files cannot be decoded and are left out") if skipped else (note,)
