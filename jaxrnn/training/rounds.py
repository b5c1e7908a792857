"""The small file of a population that says which updates of its members belong together."""

from __future__ import annotations

import json
from pathlib import Path

from jaxrnn.storage.small_files import read_json, write_atomically


class Rounds:
    """Which updates the members of a population were saved at together, so that all go on from the same round.

    Args:
      path: a small file.
      members: their names, in order.
    """

    def __init__(self, path: Path, members: list[str]):
        self.path, self.members = path, members
        known = read_json(path) if path.is_file() else {}
        self.updates = {number: known[name] for number, name in enumerate(members) if name in known}

    def note(self, updates: list[int]) -> None:
        """All are saved, at these updates."""
        write_atomically(self.path, json.dumps(dict(zip(self.members, updates, strict=True))) + "\n")
