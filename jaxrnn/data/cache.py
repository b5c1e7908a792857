"""The user's cache: downloaded texts, ids, compiled programs. All of it may be deleted at any time."""

from __future__ import annotations

from pathlib import Path


def cache_folder(of: str) -> Path:
    """Where files of one kind are kept; it need not be there."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("jaxrnn", appauthor=False)) / of
