"""The text of a run that is read once more: where it lies, and the parts that it was cut into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrnn.data.several import STDIN
from jaxrnn.data.splits import CUT_BY, TextSplit, from_fold, split_text
from jaxrnn.errors import CheckpointError


def moved_text(text: Any, data: Any) -> str | None:
    """Where a run's text lies by its record, if it is not found by its name: the run is used from another folder.

    Args:
      text: as the settings name it.
      data: what config.json holds of it, if anything.
    """
    path = data.get("path") if isinstance(data, Mapping) else None
    return path if isinstance(path, str) and isinstance(text, str) and not Path(text).exists() else None


def recorded_text(config: Any, data: Mapping[str, Any]) -> Any:
    """What names the text of a run; None where nothing does, as of standard input and of what was made in a program.

    Args:
      config: its settings. Those of `jaxrnn.fit`, whose text was an object, name none.
      data: what config.json holds of its data.
    """
    if config.task != "text":
        return data.get("path")
    return moved_text(config.text, data) or (None if config.text in STDIN else config.text)


def split_again(ids: np.ndarray, config: Any, data: Mapping[str, Any]) -> TextSplit:
    """The parts that the text of a run was cut into.

    Its settings say how; of a `Text` that `jaxrnn.fit` was given only the counts do, in characters.

    Args:
      ids: of the whole text, in characters, (N,).
      config, data: as for `recorded_text`.

    Raises:
      CheckpointError: if the counts are not those of a text of N characters.

    Example:
      >>> from types import SimpleNamespace
      >>> data = {"train_characters": 5, "validation_characters": 0, "test_characters": 1, "fold": 1, "folds": 2}
      >>> [part.tolist() for part in split_again(np.arange(6), SimpleNamespace(task="own"), data)]
      [[3, 4, 5, 0, 1], [], [2]]
    """
    if config.task == "text":
        return split_text(ids, **{name: getattr(config, name) for name in CUT_BY})
    counts: list[Any] = [data.get(f"{part}_characters") for part in ("train", "validation", "test")]
    fold, folds = data.get("fold", 0), data.get("folds", 1)
    whole = all(isinstance(number, int) and number >= 0 for number in (*counts, fold, folds))
    if not whole or sum(counts) != len(ids) or fold >= folds:  # versions before 2026-11-27 did not keep `folds`
        raise CheckpointError(
            f"the run does not say how its text of {len(ids):,} characters was cut: parts of {counts}, fold "
            f"{fold!r:.20} of {folds!r:.20}; name a text for it"
        )
    return TextSplit(*np.split(from_fold(ids, fold, folds), np.cumsum(counts[:2])))
