"""What a checkpoint says of itself: its format, its update, and the digest of every leaf."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from jaxrnn.errors import CheckpointError
from jaxrnn.terminal.printable import printable

MAX_METADATA_BYTES = 1 << 20


def metadata_digest(metadata: dict[str, Any]) -> str:
    """128 bits of BLAKE2b over all of the metadata but the digest itself."""
    text = json.dumps({k: v for k, v in metadata.items() if k != "digest"}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_metadata(path: Path, formats: tuple[int, ...]) -> dict[str, Any]:
    """The metadata of one checkpoint, if they are what was saved and of one of these formats.

    Raises:
      CheckpointError: if not, or if something in the checkpoint is no regular file or directory.
      OSError, ValueError: if they cannot be read.
    """
    # No link, pipe or device is ever followed, and no file of metadata is parsed before its size is known.
    for folder, folders, files in os.walk(path):
        if any(os.path.islink(os.path.join(folder, name)) for name in folders):
            raise CheckpointError("a directory in it is a link, not a regular directory")
        for name in files:
            status = os.lstat(os.path.join(folder, name))
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(f"{printable(name)} in it is not a regular file")
            if name.startswith("_") and status.st_size > MAX_METADATA_BYTES:
                raise CheckpointError(f"{printable(name)} in it has {status.st_size} bytes of metadata")
    content = json.loads((path / "_CHECKPOINT_METADATA").read_bytes())
    metadata = content.get("custom_metadata") if isinstance(content, dict) else None
    if not isinstance(metadata, dict) or metadata.get("digest") != metadata_digest(metadata):
        raise CheckpointError("its metadata are damaged")
    if metadata.get("format") not in formats:
        known = ", ".join(map(str, sorted(formats)))
        raise CheckpointError(f"its format is {metadata.get('format')!r}, this version reads {known}")
    return metadata
