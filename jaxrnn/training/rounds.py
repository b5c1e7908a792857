"""Which updates the members of a population were saved at together, so that all go on from the same round."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from jaxrnn.errors import CheckpointError
from jaxrnn.storage.small_files import read_json, write_atomically
from jaxrnn.terminal.printable import printable


class Rounds:
    """The latest round in which every member was saved, in a small file.

    A kill between the saves of two members leaves some of them ahead; they go back to this round.

    Args:
      path: the file; it need not be there.
      members: their names, in order.

    Attributes:
      updates: of each member that is known, the update at which it was saved then.
      stopped: of each member that was stopped from outside, the update. It is stopped there again if its state had to
        be read from before, when the others are too far to be asked once more.

    Raises:
      CheckpointError: if the file is damaged.
    """

    def __init__(self, path: Path, members: Sequence[str]):
        self.path, self.members = path, list(members)
        known = read_json(path) if path.is_file() else {"updates": {}, "stopped": {}}
        try:
            self.updates, self.stopped = (
                {number: int(known[part][name]) for number, name in enumerate(members) if name in known[part]}
                for part in ("updates", "stopped")
            )
        except (TypeError, KeyError, ValueError) as error:
            raise CheckpointError(f"{printable(str(path))} does not hold rounds; restore it from a copy") from error

    def note(self, updates: Sequence[int], stopped: Sequence[int] = ()) -> None:
        """All members are saved, at these updates.

        Args:
          updates: of each.
          stopped: the members that have been stopped from outside.
        """
        all_stopped = self.stopped | {member: updates[member] for member in stopped}
        content = {
            "updates": dict(zip(self.members, updates, strict=True)),
            "stopped": {self.members[member]: update for member, update in all_stopped.items()},
        }
        write_atomically(self.path, json.dumps(content) + "\n")
        self.updates, self.stopped = dict(enumerate(updates)), all_stopped
