"""Download a file whose size and SHA-256 are known, and unpack a text from it: never more than was promised."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from jaxrnn.data.reading import BLOCK_BYTES

_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Archive:
    """The zip file that a text is published in: its address, SHA-256 and size; the member has the text's file name."""

    address: str
    sha256: str
    bytes: int


class Limited:
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


def fetch(source: Archive, target: Path) -> None:
    """Downloads into a private temporary file beside the target, and moves it there if its SHA-256 is right.

    Raises:
      OSError, ValueError: if it cannot be had, or is something else.
    """
    import pooch

    def limited(url: str, output_file: Any, manager: Any) -> None:
        responses: list[Any] = []
        keep = {"response": lambda response, **_: responses.append(response)}
        get = pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS, allow_redirects=False, hooks=keep)
        try:
            with open(output_file, "wb") as file:
                get(url, Limited(file, source.bytes), manager)
        finally:
            for response in responses:
                response.close()

    pooch.get_logger().setLevel("ERROR")
    pooch.retrieve(source.address, f"sha256:{source.sha256}", target.name, target.parent, downloader=limited)


def unpack(packed: Path, target: Path, sha256: str, size: int) -> None:
    """Takes the one member of the target's name out of a zip file.

    Args:
      packed: the zip file.
      target: where the text goes.
      sha256: of the text, hexadecimal.
      size: of the text in bytes; never more are unpacked.

    Raises:
      ValueError: if it is not that text.
    """
    import zipfile
    import zlib

    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        digest = hashlib.sha256()
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(packed) as archive:
            limited = Limited(file, size)
            with archive.open(target.name) as member:
                while block := member.read(BLOCK_BYTES):
                    digest.update(block)
                    limited.write(block)
        if digest.hexdigest() != sha256:
            raise ValueError("the unpacked text has another SHA-256")
        os.replace(temporary, target)
    except (KeyError, zipfile.BadZipFile, zlib.error) as error:
        os.unlink(temporary)
        raise ValueError(f"the archive cannot be unpacked: {error}") from None
    except BaseException:
        os.unlink(temporary)
        raise
