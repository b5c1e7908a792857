"""What the options of the temporal gate's commands may be."""

from __future__ import annotations

from typing import Any

from jaxrnn.checks import check_count, check_number, flag
from jaxrnn.errors import ConfigurationError


def check_counts(**counts: int) -> None:
    """Refuses options that are no whole number of at least 1."""
    for name, value in counts.items():
        check_count(name, value, 1)


def check_positive(**numbers: float) -> None:
    """Refuses options that are no finite number above 0."""
    for name, value in numbers.items():
        check_number(name, value, 0.0)
        if value == 0:
            raise ConfigurationError(f"{flag(name)} expects a number above 0; got 0")


def checked_gate(period_range: tuple[float, float], open_ratio: float) -> dict[str, Any]:
    """What a gate starts with, as options of its cell."""
    least, greatest = period_range
    if not 0 < least <= greatest < float("inf"):
        raise ConfigurationError(f"--period-range expects two numbers above 0 that rise; got {least:g} {greatest:g}")
    if not 0 < open_ratio < 1:
        raise ConfigurationError(f"--open-ratio expects a share between 0 and 1; got {open_ratio:g}")
    return {"period_range": (least, greatest), "open_ratio": open_ratio}
