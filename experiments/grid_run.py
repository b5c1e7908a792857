"""The grid's directory: populations one after another, what is finished recorded at once, a table of all of it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.grid_members import Recipe, settings_of, with_hidden_size
from experiments.grid_progress import GridProgress
from experiments.grid_results import (
    COLUMNS,
    add_results,
    best_by_validation,
    identity,
    thesis_table,
)
from experiments.grid_tensorboard import MemberLogs, require_tensorboard
from experiments.result_rows import read_rows, write_csv
from jaxrnn.data.corpus import Corpus, load_corpus
from jaxrnn.devices.hosts import is_writer, of_writer
from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.lock import RunLock
from jaxrnn.storage.small_files import read_json, remove_temporary_files, write_atomically
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.training.population_run import EpochReport, MemberResult, PopulationOptions, PopulationRun
from jaxrnn.training.population_structure import group_by_structure


class Grid:
    """A grid in its directory.

    Args:
      directory: made if missing; one that holds a grid of another recipe is refused.
      recipe: what all members share.
      devices: how many devices; fixed at the start.
      sample_length: greedy characters after each epoch.
      tensorboard: write logs of every member.
    """

    def __init__(self, directory: Path, recipe: Recipe, devices: int, sample_length: int = 200, tensorboard=False):
        import jax

        self.directory, self.recipe, self.sample_length = directory, recipe, sample_length
        self.devices = devices if jax.default_backend() == "cpu" else jax.device_count()
        self.tensorboard = require_tensorboard() if tensorboard else None
        self.corpus = first_characters(load_corpus(recipe.text), recipe.characters)

    def train(self, rows: list[dict[str, Any]], retrain: bool = False) -> str | None:
        """Trains what is not done yet. Returns why it was stopped, or None if all is done."""
        with StopRequest() as stop, self._owned():
            rows = [with_hidden_size(row, len(self.corpus.vocabulary)) for row in rows]
            stopped = self._train(rows, stop, None)
            if retrain and not stopped:
                again, epochs = self._again(rows)
                stopped = self._train(again, stop, epochs)
            self._write_tables()
            return stopped

    @contextlib.contextmanager
    def _owned(self) -> Iterator[None]:
        # One process writes; the others only compute.
        if not is_writer():
            yield
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        with RunLock(self.directory):
            self._record()
            yield

    def _train(self, rows: list[dict[str, Any]], stop: StopRequest, epochs: dict[str, int] | None) -> str | None:
        done = set(of_writer([identity(row) for row in self._results()]))
        left = [row for row in rows if identity(row) not in done]

        def at_most(row: dict[str, Any]) -> int:
            return self.recipe.epochs if epochs is None else epochs[identity(row)]

        stream = sys.stdout if is_writer() else io.StringIO()
        progress = GridProgress(left, len(rows) - len(left), at_most, stream)
        with progress:
            for group in groups_of(left, self.recipe):
                if not self._train_group(group, stop, epochs, progress):
                    return stop.reason or "stopped"  # the signal may have come to another process
                self._write_tables()
        return None

    def _train_group(
        self, group: list[dict[str, Any]], stop: StopRequest, epochs: dict[str, int] | None, progress: GridProgress
    ) -> bool:
        options = PopulationOptions(
            split=self.recipe.split,  # type: ignore[arg-type]
            folds=self.recipe.folds,
            devices=self.devices,
            sample_length=self.sample_length,
            halving=self.recipe.halving,
            validates=epochs is None,
        )
        name = group_name(group)
        directory = self.directory / "populations" / name
        if is_writer():
            directory.mkdir(parents=True, exist_ok=True)
            remove_temporary_files(directory)  # the lock on the grid is ours
            write_atomically(directory / "members.json", json.dumps(group, indent=1) + "\n")
        clock = directory / "seconds.json"
        before = read_json(clock)["seconds"] if clock.is_file() else 0.0
        started = time.monotonic()
        logs = None
        if self.tensorboard is not None and is_writer():
            labels = [f"member {number}, {label(row)}" for number, row in enumerate(group)]
            logs = MemberLogs(self.tensorboard, self.directory / "tensorboard" / name, directory, labels)

        def report(epoch: EpochReport) -> None:
            if not is_writer():
                return
            progress.epoch(name, group, epoch)
            write_atomically(clock, json.dumps({"seconds": before + time.monotonic() - started}) + "\n")
            if logs is not None:
                logs.write(epoch.rows)

        progress.begin(name, group)
        run = PopulationRun(
            directory,
            [settings_of(row, self.recipe) for row in group],
            self.corpus,
            options,
            folds=[row["fold"] for row in group],
            epochs=None if epochs is None else [epochs[identity(row)] for row in group],
            report=report,
            should_stop=lambda: stop.reason is not None,
        )
        try:
            results = run.run()
        finally:
            if logs is not None:
                logs.close()
        if results is None:
            return False
        seconds = (before + time.monotonic() - started) / len(group)
        if is_writer():
            add_results(self.directory, [finished_row(group[r.number], r, seconds) for r in results])
        progress.finished(group, results)
        return True

    def _again(self, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, int]]:
        # The best of each structure, on training and validation data, for its best number of epochs.
        wanted = {identity(row) for row in rows}
        found = [row for row in of_writer(self._results()) if identity(row) in wanted]
        best = [row | {"retrained": True} for row in best_by_validation(found).values() if row["best_epoch"]]
        return best, {identity(row): row["best_epoch"] for row in best}

    def _record(self) -> None:
        record = {
            "recipe": dataclasses.asdict(self.recipe) | {"split": list(self.recipe.split)},
            "text_sha256": self.corpus.digest,
            "devices": self.devices,
        }
        path = self.directory / "grid.json"
        if not path.is_file():
            write_atomically(path, json.dumps(record, indent=2) + "\n")
            return
        known = read_json(path)
        if known != record:
            here, there = flat(record), flat(known)
            names = sorted(name for name in here | there if here.get(name) != there.get(name))
            raise ConfigurationError(
                f"{self.directory} holds a grid of another recipe; choose another --run, or the same "
                f"{', '.join(names)}",
                [f"{name}: there {there.get(name)!r}, asked {here.get(name)!r}" for name in names],
            )

    def _results(self) -> list[dict[str, Any]]:
        return read_rows(self.directory) if is_writer() else []

    def _write_tables(self) -> None:
        if not is_writer():
            return
        rows = read_rows(self.directory)
        write_csv(self.directory, rows, COLUMNS)
        write_atomically(self.directory / "table.md", thesis_table(rows))


def first_characters(corpus: Corpus, characters: int | None) -> Corpus:
    """The beginning of a corpus; its vocabulary holds only what occurs there."""
    if characters is None or characters >= len(corpus):
        return corpus
    from jaxrnn.data.corpus import corpus_from_text

    text = "".join(corpus.vocabulary.symbols[i] for i in corpus.ids[:characters].tolist())
    return dataclasses.replace(corpus_from_text(text, corpus.name), reading=corpus.reading)


def groups_of(rows: list[dict[str, Any]], recipe: Recipe) -> list[list[dict[str, Any]]]:
    """Rows that fit into one population each."""
    settings = [settings_of(row, recipe) for row in rows]
    places = {id(config): row for config, row in zip(settings, rows, strict=True)}
    return [[places[id(config)] for config in group] for group in group_by_structure(settings)]


def group_name(group: list[dict[str, Any]]) -> str:
    """The directory of a population. Other members make another name, so that none goes on with what is not its own."""
    digest = hashlib.sha256("".join(identity(row) for row in group).encode()).hexdigest()[:8]
    row = group[0]
    dropout = f"-{row['dropout_sites']}" if row["dropout_sites"] else ""
    return f"{row['cell']}-{row['layers']}x{row['hidden']}{dropout}-{digest}"


def label(row: dict[str, Any]) -> str:
    """A member in a few words."""
    fold = f" fold {row['fold']}" if row["fold"] else ""
    return f"rate {row['learning_rate']:.4g} dropout {row['dropout_rate']:g} seed {row['seed']}{fold}"


def finished_row(row: dict[str, Any], result: MemberResult, seconds: float) -> dict[str, Any]:
    """A row of the results: who it is, and what came out. Seconds are the population's, shared evenly."""
    values = result._asdict()
    del values["number"]
    return row | values | {"seconds": round(seconds, 1)}


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the settings of its recipe beside the rest."""
    return record["recipe"] | {name: value for name, value in record.items() if name != "recipe"}
