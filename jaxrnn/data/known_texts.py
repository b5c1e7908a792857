"""Texts known by name: found in a folder or the cache, downloaded and verified."""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from jaxrnn.data.local_texts import LOCAL_TEXTS
from jaxrnn.data.published_texts import KNOWN_TEXTS, Archive, KnownText
from jaxrnn.data.reading import BLOCK_BYTES, open_regular
from jaxrnn.errors import DataError
from jaxrnn.terminal.printable import printable

_SCHEME = "https://"
_TIMEOUT_SECONDS = 30


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


def find_by_digest(sha256: str) -> KnownText | None:
    """The known text whose file has this SHA-256."""
    return next((known for known in KNOWN_TEXTS if known.sha256 == sha256), None)


def has_size(size: int) -> bool:
    """Whether some known text has this many bytes, so that its digest is worth taking."""
    return any(known.bytes == size for known in KNOWN_TEXTS)


def digest_of(file: BinaryIO) -> str:
    """The SHA-256 of an open file, hexadecimal."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


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
    cached = _cache_folder() / known.file_name
    if os.path.lexists(cached):
        if _is_right(cached, known):
            return cached
        print(f"the cached copy of {known.name} is damaged and fetched again", file=sys.stderr)
        cached.unlink()
    _download(known, cached)
    return cached


def _is_right(path: Path, known: KnownText) -> bool:
    with open_regular(path) as file:
        return known.sha256 is None or digest_of(file) == known.sha256


def _cache_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("jaxrnn")) / "texts"


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
        if known.archive is None:
            _fetch(source, target)
        else:
            packed = target.with_name(target.name + ".zip")
            try:
                _fetch(source, packed)
                _unpack(packed, target, known)
            finally:
                packed.unlink(missing_ok=True)
    except ImportError:
        raise DataError(f"cannot download {known.name} without the package pooch; {remedy}") from None
    except (OSError, ValueError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise DataError(
            f"cannot download {known.name} from {source.address}; are you offline? {remedy}",
            details=[printable(line, keep="")[:200] for line in lines[:3]],
        ) from None


class _Limited:
    """A file that takes at most so many bytes."""

    def __init__(self, file: BinaryIO, limit: int):
        self.file, self.left = file, limit

    def write(self, data: bytes) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise ValueError("more bytes came than the text has")
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _fetch(source: Archive, target: Path) -> None:
    """Downloads into a private temporary file beside the target, and moves it there if its SHA-256 is right."""
    import pooch

    def limited(url: str, output_file: Any, manager: Any) -> None:
        responses: list[Any] = []
        keep = {"response": lambda response, **_: responses.append(response)}
        get = pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS, allow_redirects=False, hooks=keep)
        try:
            with open(output_file, "wb") as file:
                get(url, _Limited(file, source.bytes), manager)
        finally:
            for response in responses:
                response.close()

    pooch.get_logger().setLevel("ERROR")
    pooch.retrieve(source.address, f"sha256:{source.sha256}", target.name, target.parent, downloader=limited)


def _unpack(packed: Path, target: Path, known: KnownText) -> None:
    """Takes the one member with the text's name out of a zip file, never more bytes than the text has."""
    import zipfile
    import zlib

    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        digest = hashlib.sha256()
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(packed) as archive:
            limited = _Limited(file, known.bytes or 0)
            with archive.open(known.file_name) as member:
                while block := member.read(BLOCK_BYTES):
                    digest.update(block)
                    limited.write(block)
        if digest.hexdigest() != known.sha256:
            raise ValueError("the unpacked text has another SHA-256")
        os.replace(temporary, target)
    except (KeyError, zipfile.BadZipFile, zlib.error) as error:
        os.unlink(temporary)
        raise ValueError(f"the archive cannot be unpacked: {error}") from None
    except BaseException:
        os.unlink(temporary)
        raise
