"""Test losses that the thesis and Karpathy, Johnson and Li (2015, KJL) published, in nats a character."""

from __future__ import annotations

import math

KJL = "KJL"
RATES = {"2e-2.2": 2 * 10**-2.2, "2e-2.5": 2 * 10**-2.5, "2e-3": 2 * 10**-3.0}

# (text, model size, KJL or the thesis's learning rate): LSTM of 1, 2 and 3 layers, then GRU.
PUBLISHED = {
    ("warpeace", 64, "KJL"): (1.449, 1.442, 1.540, 1.398, 1.373, 1.472),
    ("warpeace", 64, "2e-2.2"): (1.492, 1.459, 1.484, 1.448, 1.403, 1.429),
    ("warpeace", 64, "2e-2.5"): (1.531, 1.514, 1.544, 1.474, 1.424, 1.443),
    ("warpeace", 64, "2e-3"): (1.809, 1.779, 3.064, 1.608, 1.567, 1.694),
    ("warpeace", 128, "KJL"): (1.227, 1.227, 1.279, 1.230, 1.226, 1.253),
    ("warpeace", 128, "2e-2.2"): (1.325, 1.318, 1.335, 1.325, 1.302, 1.326),
    ("warpeace", 128, "2e-2.5"): (1.352, 1.356, 1.375, 1.337, 1.311, 1.333),
    ("warpeace", 128, "2e-3"): (1.544, 1.573, 1.876, 1.434, 1.409, 1.502),
    ("warpeace", 256, "KJL"): (1.189, 1.137, 1.141, 1.198, 1.164, 1.138),
    ("warpeace", 256, "2e-2.2"): (1.303, 1.238, 1.254, 1.281, 1.234, 1.236),
    ("warpeace", 256, "2e-2.5"): (1.285, 1.255, 1.297, 1.289, 1.227, 1.268),
    ("warpeace", 256, "2e-3"): (1.397, 1.412, 1.532, 1.316, 1.313, 1.314),
    ("warpeace", 512, "KJL"): (1.161, 1.092, 1.082, 1.170, 1.201, 1.107),
    ("warpeace", 512, "2e-2.2"): (1.355, 1.223, 1.217, 1.268, 1.332, 1.547),
    ("warpeace", 512, "2e-2.5"): (1.310, 1.205, 1.207, 1.266, 1.219, 1.197),
    ("warpeace", 512, "2e-3"): (1.327, 1.303, 1.348, 1.274, 1.225, 1.234),
    ("linux", 64, "KJL"): (1.355, 1.331, 1.366, 1.335, 1.298, 1.357),
    ("linux", 64, "2e-2.2"): (1.639, 1.636, 1.641, 1.597, 1.573, 1.605),
    ("linux", 64, "2e-2.5"): (1.660, 1.642, 1.657, 1.624, 1.583, 1.582),
    ("linux", 128, "KJL"): (1.149, 1.128, 1.177, 1.154, 1.125, 1.150),
    ("linux", 128, "2e-2.2"): (1.483, 1.435, 1.500, 1.482, 1.412, 1.447),
    ("linux", 128, "2e-2.5"): (1.498, 1.476, 1.528, 1.487, 1.431, 1.472),
    ("linux", 256, "KJL"): (1.026, 0.972, 0.998, 1.039, 0.991, 1.026),
    ("linux", 256, "2e-2.2"): (1.475, 1.355, 1.375, 1.477, 1.366, 1.365),
    ("linux", 256, "2e-2.5"): (1.468, 1.375, 1.388, 1.484, 1.359, 1.369),
    ("linux", 512, "KJL"): (0.952, 0.840, 0.846, 0.943, 0.861, 0.829),
    ("linux", 512, "2e-2.2"): (1.525, 1.331, 1.316, 1.515, 1.385, 1.323),
    ("linux", 512, "2e-2.5"): (1.477, 1.338, 1.336, 1.493, 1.330, 1.327),
}  # fmt: skip


def rate_name(learning_rate: float) -> str | None:
    """The name of a published column, 2e-2.2 for 2 x 10^-2.2, or None if no table has this rate."""
    return next((name for name, rate in RATES.items() if math.isclose(learning_rate, rate, rel_tol=1e-4)), None)


def published(text: str, cell: str, layers: int, size: int) -> dict[str, float]:
    """The published test losses of a cell: KJL's, and the thesis's by rate; empty where there are none.

    Example:
      >>> published("warpeace", "gru", 2, 512)
      {'KJL': 1.201, '2e-2.2': 1.332, '2e-2.5': 1.219, '2e-3': 1.225}
    """
    kinds = {"lstm": 0, "gru": 3}
    kind = next((start for prefix, start in kinds.items() if cell.startswith(prefix)), None)
    if kind is None or not 1 <= layers <= 3:
        return {}
    rows = ((name, PUBLISHED.get((text, size, name))) for name in (KJL, *RATES))
    return {name: losses[kind + layers - 1] for name, losses in rows if losses}


def of_thesis(known: dict[str, float], learning_rate: float | None = None) -> float | None:
    """The thesis's number out of what is `published`: that of the same rate where it has one, else its best."""
    theirs = {name: loss for name, loss in known.items() if name != KJL}
    name = rate_name(learning_rate) if learning_rate is not None else None
    return theirs.get(name or "", min(theirs.values(), default=None))
