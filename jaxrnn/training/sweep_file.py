"""A sweep in a TOML file: what all runs share, and lists of values of which each combination is a run."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import Corpus, load_corpus
from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.run_directory import holds_something_else, names_in
from jaxrnn.tasks.presets import PRESETS, read_table, settings_of, with_given
from jaxrnn.terminal.printable import printable
from jaxrnn.training.task import validation_text_of

MAX_RUNS = 10_000
TABLES = ("base", "grid")
NUMBERS_TOO = ("devices", "checkpoint_every")  # of the settings that are text


def read_sweep(path: Path) -> list[TrainConfig]:
    """The settings of every run of a file such as

        [base]
        preset = "minute"
        text = "book.txt"

        [grid]
        hidden = [64, 128]
        learning_rate = [1e-3, 3e-3, 1e-2]

    the first name of the grid slowest. As with options, a setting drops what it contradicts in the preset, and one in
    the grid what it contradicts in [base].

    Raises:
      ConfigurationError: if the file cannot be read or is not of this form, with the name and what was expected.
    """
    content, shown = read_table(path, "FILE"), printable(str(path))
    tables = content if isinstance(content, dict) else {"a list": content}
    for name, table in tables.items():
        if name not in TABLES or not isinstance(table, dict):
            raise ConfigurationError(
                f"{shown} expects the tables [base] and [grid] only, got {printable(name, keep='')}"
            )
    base, grid = dict(tables.get("base", {})), tables.get("grid", {})
    if not grid:
        raise ConfigurationError(f"{shown} expects a table [grid] with at least one line such as hidden = [64, 128]")
    preset = base.pop("preset", None)
    if preset not in [None, *PRESETS]:
        raise ConfigurationError(f"{shown}, preset expects one of {', '.join(PRESETS)}; got {_said(preset)}")
    for name, value in base.items():
        _check(f"{shown}, [base]", name, [value], "one value, lists go to [grid]", value)
    for name, values in grid.items():
        listed = values if isinstance(values, list) else []
        _check(f"{shown}, [grid]", name, listed, "a list of values such as [1, 2]", values)
    if (runs := math.prod(map(len, grid.values()))) > MAX_RUNS:
        raise ConfigurationError(f"{shown}, [grid] makes {runs:,} runs, at most {MAX_RUNS:,} are trained as one sweep")
    points = (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    return [_config(shown, preset, base, point) for point in points]


def corpus_of(configs: Sequence[TrainConfig]) -> Corpus | None:
    """The text, if it is the same for all; each is read, so that one that cannot be is refused before anything is made.

    So is what they validate on.

    Raises:
      DataError: for a text that cannot be read.
    """
    of_texts = [config for config in configs if config.task == "text"]
    read = {
        of: load_corpus(*of) for of in dict.fromkeys((config.text, config.reading_options()) for config in of_texts)
    }
    for config in {(config.text, config.validation_text): config for config in of_texts}.values():
        validation_text_of(config, read[config.text, config.reading_options()].reading)
    return next(iter(read.values())) if len(read) == 1 else None


def sweep_path(file: Path, run: Path | None) -> Path:
    """Where a sweep goes: what was asked for, or runs/NAME-OF-FILE.

    Raises:
      ConfigurationError: if that holds something else than a sweep, or cannot be a directory.
    """
    path = run or Path("runs") / (re.sub(r"[^A-Za-z0-9_.-]+", "-", file.stem).strip("-.")[:100] or "sweep")
    others = sorted(set(names_in(path)) - {"lock", "owner.json"})
    if others and "sweep.json" not in others:
        raise holds_something_else(path, "a run" if "config.json" in others else others[0], "sweep")
    return path


def _config(shown: str, preset: str | None, base: Mapping[str, Any], point: dict[str, Any]) -> TrainConfig:
    try:
        return TrainConfig(**settings_of(preset, {}, with_given(base, point, keeps_rate=True)))
    except ConfigurationError as error:
        at = ", ".join(f"{name} = {_said(value)}" for name, value in point.items())
        raise ConfigurationError(f"{shown}, at {at}: {error}", error.details) from error


def _check(where: str, name: str, values: list[Any], expected: str, got: Any) -> None:
    if name not in TrainConfig.__dataclass_fields__:
        near = difflib.get_close_matches(name, TrainConfig.__dataclass_fields__, n=1)
        hint = f"did you mean {near[0]}?" if near else "`jaxrnn train --help` lists the settings"
        hint = "it goes to [base]" if name == "preset" else hint
        raise ConfigurationError(f"{where} has a setting that there is not, {printable(name, keep='')}; {hint}")
    if not values or any(isinstance(value, list | dict) for value in values):
        raise ConfigurationError(f"{where}, {name} expects {expected}; got {_said(got)}")
    if "str" in TrainConfig.__annotations__[name] and name not in NUMBERS_TOO:
        for value in values:
            if not isinstance(value, str):
                raise ConfigurationError(f"{where}, {name} expects text in quotation marks; got {_said(value)}")


def _said(value: Any) -> str:
    return printable(repr(value), keep="")[:60]
