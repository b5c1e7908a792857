"""Settings that were not asked for, made smaller for a text that is too small for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from jaxrnn.checks import flag
from jaxrnn.data.splits import held_out

SHORTEST = 4  # characters to train on: below it what is wrong is the text


def fit_to_text(settings: dict[str, Any], characters: int, asked: Collection[str]) -> tuple[dict[str, Any], str]:
    """Lowers the batch, and then the window, until one window of each fits; then leaves the validation out.

    Args:
      settings: all by name.
      characters: N of the whole text.
      asked: the names of those that somebody asked for, which stay.

    Returns:
      The settings, and what was changed, in words; empty if nothing was.

    Example:
      >>> settings = {"batch_size": 32, "bptt_length": 64, "validation_fraction": 0.05, "test_fraction": 0.0}
      >>> fit_to_text(settings, 1000, ())[1]
      'the text has 1,000 characters: --batch-size 14, not 32; --bptt-length 49, not 64'
    """
    lowered, shares = dict(settings), ("validation_fraction", "test_fraction")
    lowered |= {name: 0.0 for name in shares if name not in asked and held_out(characters, settings[name]) < 2}
    parts = [held_out(characters, lowered[name]) for name in shares if lowered[name]]
    trained = characters - sum(parts)
    if trained >= SHORTEST:
        if "batch_size" not in asked:
            lowered["batch_size"] = max(min(settings["batch_size"], (trained - 1) // settings["bptt_length"]), 1)
        if "bptt_length" not in asked:
            longest = min([(trained - 1) // lowered["batch_size"], *(part - 1 for part in parts)])
            lowered["bptt_length"] = max(min(settings["bptt_length"], longest), 1)
    changed = [f"{flag(name)} {lowered[name]:g}, not {old:g}" for name, old in settings.items() if lowered[name] != old]
    return lowered, f"the text has {characters:,} characters: {'; '.join(changed)}" if changed else ""
