"""Texts known by name: where they are published, their SHA-256 and counts, and how the reports read them."""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from jaxrnn.data.cache import cache_folder
from jaxrnn.data.download import Archive, fetch
from jaxrnn.data.local_texts import LOCAL_TEXTS
from jaxrnn.data.reading import ReadingOptions, open_regular
from jaxrnn.errors import DataError
from jaxrnn.terminal.printable import printable

_SCHEME = "https://"


@dataclass(frozen=True)
class KnownText:
    """One published text, a table of known_texts.toml."""

    name: str
    description: str
    address: str
    file_name: str
    sha256: str | None = None
    bytes: int | None = None
    characters: int | None = None
    distinct: int | None = None
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    archive: Archive | None = None


def _read_table() -> tuple[KnownText, ...]:
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    for row in table.values():
        row["reading"] = ReadingOptions(**row.get("reading", {}))
        row["archive"] = Archive(**row["archive"]) if "archive" in row else None
    return tuple(KnownText(name, **row) for name, row in table.items())


KNOWN_TEXTS = _read_table()


def names() -> list[str]:
    """Every name that `load_corpus` knows."""
    return [*LOCAL_TEXTS, *(known.name for known in KNOWN_TEXTS)]


def nearest(name: str) -> str | None:
    """The known name most like this one, if any is like it."""
    return next(iter(difflib.get_close_matches(name.lower(), names(), 1, 0.6)), None)


def find_by_name(name: str) -> KnownText:
    """The known text of this name. Raises DataError with all names, and the nearest, if there is none."""
    for known in KNOWN_TEXTS:
        if known.name == name:
            return known
    like = nearest(name)
    raise DataError(
        f"expected a file or a known text, got '{printable(name, keep='')[:60]}'"
        + (f"; did you mean {like}?" if like else "; give a path.")
        + f" Known texts: {', '.join(names())}"
    )


def reading_with(text: Any, asked: dict[str, Any]) -> ReadingOptions | None:
    """The options asked for, which are not None, the others as a known text of this name says; None if none is."""
    given = {name: value for name, value in asked.items() if value is not None}
    own = next((known.reading for known in KNOWN_TEXTS if known.name == text), ReadingOptions())
    alone = own.bytes_mode or "bytes_mode" in given  # it goes with no other option
    return replace(ReadingOptions() if alone else own, **given) if given else None


def recognise(file: BufferedReader) -> KnownText | None:
    """The known text that an open file is, whatever its name; its digest is only taken if one has its size."""
    size = os.fstat(file.fileno()).st_size
    digest = _digest_of(file) if any(known.bytes == size for known in KNOWN_TEXTS) else ""
    return next((known for known in KNOWN_TEXTS if known.sha256 == digest), None)


def _digest_of(file: BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def locate(known: KnownText) -> Path:
    """The file of a known text: in the folder $JAXRNN_DATA, in the cache, or downloaded into the cache.

    Raises:
      DataError: if the file in $JAXRNN_DATA is another one, or there is none and it cannot be downloaded.
    """
    folder = os.environ.get("JAXRNN_DATA")
    if folder:
        given = Path(folder) / known.file_name
        if not Path(folder).is_dir():
            raise DataError(
                f"JAXRNN_DATA expects a folder of texts, got {printable(folder, keep='')}; mend or unset it"
            )
        if os.path.lexists(given):
            if not _is_right(given, known):
                shown = printable(str(given), keep="")
                raise DataError(
                    f"expected {known.name} with SHA-256 {known.sha256}, got another file: {shown}; replace it"
                )
            return given
    cached = cache_folder("texts") / known.file_name
    if os.path.lexists(cached):
        if _is_right(cached, known):
            return cached
        print(f"the cached copy of {known.name} is damaged and fetched again", file=sys.stderr)
        cached.unlink()
    _download(known, cached)
    return cached


def _is_right(path: Path, known: KnownText) -> bool:
    with open_regular(path) as file:
        return known.sha256 is None or _digest_of(file) == known.sha256


def _download(known: KnownText, target: Path) -> None:
    """Fetches a text, or the archive that it is in, into the cache."""
    remedy = f"place {known.file_name} in a folder and name that folder in JAXRNN_DATA (published: {known.address})"
    if known.sha256 is None or known.bytes is None:
        raise DataError(f"{known.name} is not downloaded, as no checksum of it is known; {remedy}")
    source = known.archive or Archive(known.address, known.sha256, known.bytes)
    if not source.address.startswith(_SCHEME):
        raise DataError(f"{known.name} is not downloaded over an unprotected address; {remedy}")
    print(f"downloading {known.name}, {source.bytes:,} bytes, from {source.address}", file=sys.stderr, flush=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            path = fetch(source, Path(folder), known.file_name if known.archive else None)
            if not _is_right(path, known):
                raise ValueError("the unpacked text has another SHA-256")
            os.replace(path, target)
    except (OSError, ValueError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise DataError(
            f"cannot download {known.name} from {source.address}; are you offline? {remedy}",
            details=[printable(line, keep="")[:200] for line in lines[:3]],
        ) from None
