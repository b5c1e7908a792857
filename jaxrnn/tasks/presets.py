"""Recipes by name, and how a recipe, a file of settings and single settings make one. Nothing here loads JAX."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.cells.initializers import SCALED
from jaxrnn.cells.table import CELL_TABLE, GATE_BIASES
from jaxrnn.checks import choice_error, flag
from jaxrnn.errors import EXIT_DONE, ConfigurationError
from jaxrnn.optim.table import CONSTANTS, OPTIMIZERS, USUAL_RATES
from jaxrnn.tasks.settings import ONLY_FOR_TEXT
from jaxrnn.terminal.command import write_output
from jaxrnn.terminal.printable import first_line, printable

MAX_FILE_BYTES = 1 << 20
DEFAULT_PRESET = "minute"  # of a text
BOOK = "the defaults of `TrainConfig`: in `jaxrnn train --help` those after book:, else those that are shown"


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


def settings_of(preset: str | None, from_file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe, over them those of a file, over these single ones.

    What a setting contradicts in what lies below it is dropped: `updates` drops epochs, `optimizer` the constants of
    another rule and a recipe's rate, for which the rule's usual one is taken, `init` a scale that it does not use,
    `cell` the bias of a gate that it does not have, a plan of the rate a recipe's other plan, `best_by` the validation,
    one way to validate the other, a `task` what only a text has, with the decay that goes by its epochs.

    Args:
      preset: a key of `PRESETS`; None is `DEFAULT_PRESET`, or the defaults for generated sequences.
      from_file: what `read_settings` gave; empty if there is no file.
      given: single settings by name.

    Raises:
      ConfigurationError: for an unknown recipe.

    Example:
      >>> settings = settings_of("minute", {}, {"updates": 100})
      >>> settings["updates"], "epochs" in settings
      (100, False)
    """
    if preset not in (None, *PRESETS):
        raise choice_error("preset", preset, list(PRESETS))
    task = {**from_file, **given}.get("task", "text")
    settings = PRESETS[preset or (DEFAULT_PRESET if task == "text" else "book")].settings
    return with_given(with_given(settings, from_file), given, "learning_rate" in from_file)


def with_given(settings: Mapping[str, Any], given: Mapping[str, Any], keeps_rate: bool = False) -> dict[str, Any]:
    """Settings, over them others, which drop what they contradict: see `settings_of`. One may keep the rate."""
    useless = {"updates": ["epochs"], "epochs": ["updates"], "best_by": ["validation_fraction", "validation_text"]}
    useless |= {"validation_fraction": ["validation_text"], "validation_text": ["validation_fraction", "retrain"]}
    useless |= {name: ["decay_after_epochs"] for name in ("decay_every_updates", "plateau_patience")}
    optimizer = given.get("optimizer", "")
    useless["optimizer"] = [name for name in CONSTANTS if name not in OPTIMIZERS.get(optimizer, ())]
    useless["init"] = ["init_scale"] if given.get("init") not in SCALED else []
    cell = CELL_TABLE.get(given.get("cell", ""))
    useless["cell"] = [name for name in GATE_BIASES if cell is not None and not getattr(cell, name)]
    if given.get("task", "text") != "text":
        by_epochs = [] if {**settings, **given}.get("decay_every_updates") else ["decay_rate"]
        useless["task"] = [*ONLY_FOR_TEXT, *by_epochs]
    set_now = [name for name, value in given.items() if value is not None]
    dropped = {name for setting in set_now for name in useless.get(setting, ())} - set(given)
    usual = {}
    has_rate = "learning_rate" in settings and not keeps_rate
    if has_rate and optimizer in USUAL_RATES and optimizer != settings.get("optimizer"):
        usual["learning_rate"] = USUAL_RATES[optimizer]
    return {name: value for name, value in settings.items() if name not in dropped} | usual | dict(given)


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
    lists = [name for name, value in settings.items() if isinstance(value, list)] if isinstance(settings, dict) else []
    if not isinstance(settings, dict) or lists not in ([], ["text"]) or dict in map(type, settings.values()):
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
        if not path.is_file():  # a pipe would be waited for, a device read for ever
            raise OSError("no regular file; give a copy that is one")
        text = path.read_text("utf-8")
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ConfigurationError:
        raise
    except FileNotFoundError as error:
        raise ConfigurationError(f"{option}: there is no file {shown}; check the path") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{option} expects a TOML file with lines such as hidden = 200{other}; {shown}: {first_line(error)}"
        ) from error


def presets() -> int:
    """The recipes that `jaxrnn train --preset` knows: their options, and what they reach."""
    for name, preset in PRESETS.items():
        options = " ".join(f"{flag(option)} {value}" for option, value in preset.settings.items())
        write_output(f"{name}: {preset.reaches}\n    {options or BOOK}\n")
    return EXIT_DONE
