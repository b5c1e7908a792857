"""Two runs side by side: the settings in which they differ, what came of them, and their curves."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrnn.errors import ConfigurationError, JaxrnnError
from jaxrnn.storage.run_directory import RunDirectory, check_output
from jaxrnn.storage.run_list import StoredRun, number
from jaxrnn.storage.small_files import read_json, write_atomically
from jaxrnn.storage.sweep_table import said
from jaxrnn.terminal.table import table


def columns_of(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The columns of metrics.jsonl by name; NaN where a row does not have it or it was not measured."""
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    return {name: np.array([math.nan if value is None else value for value in of]) for name, of in columns.items()}


def comparison(runs: Sequence[StoredRun]) -> str:
    """Two tables: the settings in which the first two differ, and the final numbers of each."""
    first, second = runs
    names = names_of(runs)
    settings = [[name, said(a), said(b)] for name, a, b in first.config.differences(second.config)]
    for name, of in (("data", "name"), ("data, SHA-256", "sha256")):
        a, b = (str(run.record["data"][of]) for run in runs)
        settings += [[name, a[:40], b[:40]]] if a != b else []
    models = [run.model for run in runs]
    if len(set(models)) > 1 and any("parts" in run.record or ":" in run.model for run in runs):
        settings.append(["model", *models])
    numbers = [_numbers(run) for run in runs]
    rows = [[name, *(of.get(name, "") for of in numbers)] for name in dict.fromkeys(n for of in numbers for n in of)]
    told = table(["setting", *names], settings) if settings else "the settings are the same\n"
    return told + "\n" + table(["result", *names], rows)


def draw(runs: Sequence[StoredRun], path: Path) -> Path:
    """Draws the learning curves of runs into one picture.

    Raises:
      ConfigurationError: if the name has another ending, a run has no numbers yet, or their losses are not of one kind.
    """
    from jaxrnn.inspect.plots import learning_curves, picture_name

    check_output(picture_name(path))
    for run in runs:
        if not run.rows:
            raise ConfigurationError(f"{run.path} has no row in metrics.jsonl yet; compare it when it has trained")
        if run.loss_name != runs[0].loss_name:
            losses = " and ".join(of.loss_name for of in runs)
            raise ConfigurationError(f"one plot expects losses of one kind, these are {losses}; leave --output out")
    curves = {name: columns_of(run.rows) for name, run in zip(names_of(runs), runs, strict=True)}
    is_text = all(run.record["data"].get("windows_per_epoch") for run in runs)
    title = " and ".join(dict.fromkeys(f"{run.record['data']['name']}: {run.model}" for run in runs))
    figure = learning_curves(curves, runs[0].loss_name, is_text, title)
    write_atomically(path.resolve(), figure.drawn(path.suffix[1:]))
    return path


def names_of(runs: Sequence[StoredRun]) -> list[str]:
    """What tells the paths of runs apart: without the folders that they share."""
    paths = [Path(os.path.abspath(run.path)) for run in runs]
    shared = os.path.commonpath([path.parent for path in paths])
    names = [path.relative_to(shared).as_posix() for path in paths]
    return names if len(set(names)) == len(names) else [f"{name} ({n})" for n, name in enumerate(names, start=1)]


def _numbers(run: StoredRun) -> dict[str, str]:
    unit, lowest, accuracy = f" {run.unit}" if run.unit else "", run.lowest(), "recent_accuracy"
    told = {"state": run.state(), "updates": run.of_updates(), "parameters": f"{run.record['parameters']:,}"}
    if run.rows:
        told["training loss, latest row"] = f"{number(run.training_loss())}{unit}"
        if run.rows[-1].get(f"train/{accuracy}") is not None:
            told["training accuracy, latest 100 updates"] = f"{run.rows[-1][f'train/{accuracy}']:.4f}"
    if lowest is not None:
        told["lowest validation loss"] = f"{number(lowest[f'valid/{run.loss_name}'])}{unit}"
        told["its update"] = f"{int(lowest['valid/update']):,}"
        if lowest.get("valid/accuracy") is not None:
            told["its accuracy"] = f"{lowest['valid/accuracy']:.4f}"
    try:
        test = read_json(RunDirectory(run.path).test_path) if os.path.lexists(RunDirectory(run.path).test_path) else {}
        told |= {"test loss": f"{number(float(test['loss_nats']))}{unit}"} if test else {}
    except (JaxrnnError, LookupError, TypeError, ValueError) as error:
        told["test loss"] = f"test.json cannot be read: {type(error).__name__}"
    for name in ("chars_per_second", "sequences_per_second"):
        if rates := [row[name] for row in run.rows if row.get(name) is not None]:
            told[name.replace("_", " ")] = f"{np.median(rates):,.0f}"
    return told
