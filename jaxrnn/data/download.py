"""Download a file whose size and SHA-256 are known, and unpack a text from it: never more than was promised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxrnn.data.reading import BLOCK_BYTES

_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Archive:
    """The zip file that a text is published in: its address, SHA-256 and size; the member has the text's file name."""

    address: str
    sha256: str
    bytes: int


def fetch(source: Archive, folder: Path, member: str | None = None) -> Path:
    """Downloads into a private folder, checks the SHA-256, and gives the path of the file or of its archive's member.

    Raises:
      OSError, ValueError: if it cannot be had, or is something else.
    """
    import pooch
    import requests

    def download(url: str, target: str, _: Any) -> None:
        left = source.bytes
        with (
            requests.get(url, timeout=_TIMEOUT_SECONDS, allow_redirects=False, stream=True) as response,
            open(target, "wb") as file,
        ):
            response.raise_for_status()
            for block in response.iter_content(BLOCK_BYTES):
                left -= len(block)
                if left < 0:
                    raise ValueError("more bytes came than the text has")
                file.write(block)

    pooch.get_logger().setLevel("ERROR")
    unzip = pooch.Unzip(members=[member]) if member else None
    found = pooch.retrieve(
        source.address, f"sha256:{source.sha256}", "download", folder, processor=unzip, downloader=download
    )
    if not found:
        raise ValueError(f"the archive has no {member}")
    return Path(found[0] if member else found)
