"""Recipes by name, and how a recipe, a file of settings and single settings make one. Nothing here loads JAX."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.cells.initializers import SCALED
from jaxrnn.cells.table import CELL_TABLE
from jaxrnn.checks import choice_error
from jaxrnn.errors import ConfigurationError
from jaxrnn.optim.table import CONSTANTS, OPTIMIZERS
from jaxrnn.terminal.printable import printable

MAX_FILE_BYTES = 1 << 20


class Preset(NamedTuple):
    """A recipe.

    Attributes:
      settings: where it differs from the defaults of `TrainConfig`.
      reaches: what it is, and what came of it.
    """

    settings: dict[str, Any]
    reaches: str


_UNIFORM: dict[str, Any] = {"init": "uniform", "init_scale": 0.08, "loss_reduction": "mean"}
PRESETS = {
    "book": Preset(
        {},
        "vanilla RNN of 100 units, AdaGrad, one stream of 25 characters: the recipe of the book reports and of "
        "min-char-rnn; tinyshakespeare, 300,000 updates: smoothed 1.74 nats a character at best",
    ),
    "minute": Preset(
        {
            **_UNIFORM,
            **{"cell": "gru", "hidden": 128, "batch_size": 32, "bptt_length": 64, "optimizer": "adam"},
            **{"learning_rate": 5e-3, "decay_rate": 0.9, "decay_after_epochs": 5, "epochs": 20},
            **{"validation_fraction": 0.05, "sample_every": 1000},
        },
        "GRU of 128 units, Adam: the best text in a minute on two cores, that of `make train`; python-reference: "
        "validation 1.40 nats",
    ),
    "char-rnn": Preset(
        {
            **_UNIFORM,
            **{"cell": "lstm", "hidden": 128, "layers": 2, "batch_size": 50, "bptt_length": 50, "optimizer": "rmsprop"},
            **{"learning_rate": 2e-3, "decay_rate": 0.97, "decay_after_epochs": 10, "epochs": 50},
            **{"validation_fraction": 0.05, "sample_every": 1000},
        },
        "two LSTMs of 128 units, RMSprop: the defaults of Karpathy's char-rnn",
    ),
    "torch-rnn": Preset(
        {
            **{"cell": "lstm", "hidden": 128, "layers": 2, "batch_size": 50, "bptt_length": 50, "optimizer": "adam"},
            **{"loss_reduction": "mean", "learning_rate": 2e-3, "epochs": 50, "validation_fraction": 0.1},
            **{"test_fraction": 0.1, "sample_every": 1000, "init": "lecun-normal"},
        },
        "two LSTMs of 128 units, Adam: near to Johnson's torch-rnn, whose rate also halves every 5 epochs",
    ),
}


def settings_of(
    preset: str, file: Path | None, given: Mapping[str, Any], known: Collection[str] = ()
) -> dict[str, Any]:
    """The settings of a recipe, over them those of a file, over these single ones.

    What a single setting contradicts in the recipe or the file is dropped: `updates` drops epochs, `optimizer` the
    constants of another rule, `init` a scale that it does not use, `cell` the bias of a gate that it does not have.

    Args:
      preset: a key of `PRESETS`.
      file: flat TOML with the names of `TrainConfig`, or the config.json of a run.
      given: single settings by name.
      known: the names of all settings.

    Raises:
      ConfigurationError: for an unknown recipe, or a file that cannot be read so.

    Example:
      >>> settings = settings_of("minute", None, {"updates": 100})
      >>> settings["updates"], "epochs" in settings
      (100, False)
    """
    if preset not in PRESETS:
        raise choice_error("preset", preset, list(PRESETS))
    return with_given(PRESETS[preset].settings | (read_settings(file, known) if file is not None else {}), given)


def with_given(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, over them others, which drop what they contradict: see `settings_of`."""
    useless = {"updates": ["epochs"], "epochs": ["updates"]}
    useless["optimizer"] = [name for name in CONSTANTS if name not in OPTIMIZERS.get(given.get("optimizer", ""), ())]
    useless["init"] = ["init_scale"] if given.get("init") not in SCALED else []
    cell = CELL_TABLE.get(given.get("cell", ""))
    useless["cell"] = ["forget_bias"] if cell is not None and not cell.forget_bias else []
    dropped = {name for setting in given for name in useless.get(setting, ()) if name not in given}
    return {name: value for name, value in settings.items() if name not in dropped} | dict(given)


def read_settings(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The settings in a TOML file, or in a run's config.json.

    Args:
      path: the file.
      known: the names of all settings.

    Raises:
      ConfigurationError: if it cannot be read, or is no table of settings.
    """
    shown, content = printable(str(path)), read_table(path, "--config", ", or a run's config.json")
    settings = content.get("config", content) if isinstance(content, dict) else content
    if not isinstance(settings, dict) or any(isinstance(value, dict | list) for value in settings.values()):
        raise ConfigurationError(f"--config expects one flat table of settings; {shown} holds tables or lists in it")
    if unknown := sorted(set(settings) - set(known)):
        raise ConfigurationError(f"--config {shown} has settings that there are not: {printable(', '.join(unknown))}")
    return settings


def read_table(path: Path, option: str, other: str = "") -> Any:
    """The content of a TOML file, or of JSON where it is called so.

    Args:
      path: the file.
      option: what asked for it, for the error.
      other: what else it could be, for the error.

    Raises:
      ConfigurationError: if it cannot be read.
    """
    shown = printable(str(path))
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"{option} {shown} is larger than {MAX_FILE_BYTES} bytes, no file of settings")
        text = path.read_text("utf-8")
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ConfigurationError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        why = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise ConfigurationError(
            f"{option} expects a TOML file with lines such as hidden = 200{other}; {shown}: {why}"
        ) from error
