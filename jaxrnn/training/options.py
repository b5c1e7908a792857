"""The settings of training as options of a command; free of JAX."""

from __future__ import annotations

import functools

from jaxrnn.config import CHANGEABLE, TrainConfig
from jaxrnn.tasks.presets import DEFAULT_PRESET, PRESETS
from jaxrnn.terminal.options import with_options

# The settings in their order, by the heading that `--help` has them under: the first of each.
HEADINGS = {
    "text": "Data",
    "cell": "Model",
    "bptt_length": "Windows and batches",
    "optimizer": "Optimizer",
    "decay_rate": "Schedule",
    "early_stopping": "Stopping and validation",
    "dtype": "Machine",
    "sample_every": "Output",
    "encoding": "Reading the text",
}
# Of a text the defaults are those of its preset.
SHOWN = {
    name: f"{value}; book: {getattr(TrainConfig, name)}"
    for name, value in PRESETS[DEFAULT_PRESET].settings.items()
    if value != getattr(TrainConfig, name)
}
with_settings = functools.partial(with_options, TrainConfig, HEADINGS, SHOWN)
# Of a run that goes on they are its own.
with_changeable = with_options(
    TrainConfig, HEADINGS, dict.fromkeys(CHANGEABLE - {"profile"}, "as in the run"), CHANGEABLE.__contains__
)
