"""Texts known by name: where they are published, their SHA-256 and counts, and how the reports read them."""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from jaxrnn.data.download import Archive, fetch, unpack
from jaxrnn.data.local_texts import LOCAL_TEXTS
from jaxrnn.data.reading import BLOCK_BYTES, ReadingOptions, open_regular
from jaxrnn.errors import DataError
from jaxrnn.terminal.printable import printable

_SCHEME = "https://"
_RAW = "https://raw.githubusercontent.com"
_UVADLC = f"{_RAW}/uvadlc/DL_assignments_2019/b396da3ef01084e06eb8d6791f354c8afa8fafbd/assignment_2/part2/assets"


@dataclass(frozen=True)
class KnownText:
    """One published text. The counts hold for its own reading options; without a SHA-256 it is never downloaded."""

    name: str
    description: str
    address: str
    file_name: str
    sha256: str | None
    bytes: int | None
    characters: int | None
    distinct: int | None
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    archive: Archive | None = None


KNOWN_TEXTS = (
    KnownText(
        name="tinyshakespeare",
        description="a selection of Shakespeare's plays, as used by char-rnn",
        address=f"{_RAW}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
        file_name="tinyshakespeare.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        bytes=1_115_394,
        characters=1_115_394,
        distinct=65,
    ),
    KnownText(
        name="warpeace",
        description="Tolstoy, War and Peace, as prepared for char-rnn",
        address=f"{_RAW}/PacktPublishing/Python-Machine-Learning-By-Example-Third-Edition/"
        "1862fafca270d5b5f240d6c19792c371d8682b7a/chapter13/warpeace_input.txt",
        file_name="warpeace.txt",
        sha256="fb66ba999dafe24017cdd59e04c56d385a9c8466993d374fd4c6f08b2142985e",
        bytes=3_258_246,
        characters=3_196_213,
        distinct=83,
        reading=ReadingOptions(newlines="universal", byte_order_mark="keep"),
    ),
    KnownText(
        name="democracy",
        description="Tocqueville, Democracy in America, volume 1",
        address=f"{_UVADLC}/book_EN_democracy_in_the_US.txt",
        file_name="democracy.txt",
        sha256="1ba23c5acbb00b0ffbfe48be30273f5b965eaedca5e8dfce55253e6bb24f2ca5",
        bytes=1_148_437,
        characters=1_148_435,
        distinct=84,
        reading=ReadingOptions(byte_order_mark="keep"),
    ),
    KnownText(
        name="grimm",
        description="Grimms' Fairy Tales",
        address=f"{_UVADLC}/book_EN_grimms_fairy_tails.txt",
        file_name="grimm.txt",
        sha256="e6439bd511820742e842e21b75e89b394d3809eec82ca56b506c39ff39d4a7d6",
        bytes=550_595,
        characters=540_241,
        distinct=87,
        reading=ReadingOptions(byte_order_mark="keep"),
    ),
    KnownText(  # its SHA-256 is published nowhere that we know of
        name="linux",
        description="Linux kernel source, as prepared for char-rnn, about 6.2 million characters",
        address="https://cs.stanford.edu/people/karpathy/char-rnn/linux_input.txt",
        file_name="linux_input.txt",
        sha256=None,
        bytes=None,
        characters=None,
        distinct=None,
    ),
    KnownText(
        name="enwik8",
        description="the first 100 million bytes of an English Wikipedia dump, read as bytes",
        address="https://mattmahoney.net/dc/textdata.html",
        file_name="enwik8",
        sha256="2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
        bytes=100_000_000,
        characters=100_000_000,
        distinct=205,
        reading=ReadingOptions(bytes_mode=True),
        archive=Archive(
            "https://mattmahoney.net/dc/enwik8.zip",
            "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
            36_445_475,
        ),
    ),
    KnownText(
        name="text8",
        description="100 million characters of English Wikipedia, only a to z and spaces",
        address="https://mattmahoney.net/dc/textdata.html",
        file_name="text8",
        sha256="6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
        bytes=100_000_000,
        characters=100_000_000,
        distinct=27,
        archive=Archive(
            "https://mattmahoney.net/dc/text8.zip",
            "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
            31_344_016,
        ),
    ),
)


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
            fetch(source, target)
        else:
            packed = target.with_name(target.name + ".zip")
            try:
                fetch(source, packed)
                unpack(packed, target, known.sha256, known.bytes)
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
