"""The grid's directory: a sweep of language models, with the losses of every epoch, and a table of all of it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax

from experiments.language_model_grid.members import Recipe, settings_of, with_hidden_size
from experiments.language_model_grid.progress import EpochReport, GridProgress
from experiments.language_model_grid.results import COLUMNS, best_by_validation, identity, thesis_table
from experiments.language_model_grid.tensorboard import MemberLogs, require_tensorboard
from experiments.old_populations import import_old_population
from jaxrnn import Corpus, load_corpus
from jaxrnn.data import count_windows, split_text
from jaxrnn.devices import is_writer, of_writer
from jaxrnn.storage import json_number, read_metrics, write_atomically
from jaxrnn.training import Group, Loop, MemberResult, Report, Sweep, group_by_structure, make_job

Row = dict[str, Any]


class Grid:
    """A grid in its directory: a `Sweep`, and for each program

        populations/NAME/members.json     its members, in order
                         metrics.jsonl    the losses of each member after each epoch

    Args:
      directory: made if missing; one that holds a grid of another recipe is refused.
      recipe: what all members share.
      devices: how many devices; fixed at the start. Where they cannot share a batch evenly, a member that is a program
        by itself takes as many as can.
      sample_length: characters that each member writes after each epoch; 0 writes none.
      tensorboard: write logs of every member.
    """

    def __init__(self, directory: Path, recipe: Recipe, devices: int, sample_length: int = 200, tensorboard=False):
        self.directory, self.recipe, self.sample_length = directory, recipe, sample_length
        self.devices = devices if jax.default_backend() == "cpu" else jax.device_count()
        self.tensorboard = require_tensorboard() if tensorboard else None
        corpus = load_corpus(recipe.text)
        self.corpus = first_characters(corpus, recipe.characters)
        self.is_whole = len(self.corpus) == len(corpus)
        record = {
            "recipe": dataclasses.asdict(recipe) | {"split": list(recipe.split)},
            "text_sha256": self.corpus.digest,
            "devices": self.devices,
        }
        self.sweep = Sweep(directory, COLUMNS, record, "grid.json", finished_row)

    def train(self, rows: list[Row], retrain: bool = False) -> str | None:
        """Trains what is not done yet. Returns why it was stopped, or None if all is done."""
        rows = [with_hidden_size(row, len(self.corpus.vocabulary)) for row in rows]
        stopped = self._train(rows, {})
        if retrain and not stopped:
            best = self._best_of(rows)
            stopped = self._train(best, {identity(row): row["best_epoch"] for row in best})
        self._write_tables()
        return stopped

    def _train(self, rows: list[Row], epochs: dict[str, int]) -> str | None:
        # Older versions knew a finished member by its columns alone.
        done = set(of_writer([identity(row) for row in self._results()]))
        left = [row for row in rows if identity(row) not in done]

        def at_most(row: Row) -> int:
            return epochs.get(identity(row), self.recipe.epochs)

        stream = sys.stdout if is_writer() else io.StringIO()
        programs: dict[str, _Program] = {}

        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(GridProgress(left, len(rows) - len(left), at_most, stream))

            def begin(group: Group) -> None:
                programs[group.name] = _Program(self, group, progress)
                stack.callback(programs[group.name].close)

            def end(group: Group, results: list[MemberResult]) -> None:
                ended = zip(group.rows, results, strict=True)
                progress.finished(group.rows, [finished_row(row, result, 0.0) for row, result in ended])
                self._write_tables()

            return self.sweep.train(
                [self._settings(row, at_most(row)) for row in left],
                left,
                devices=self.devices if self.recipe.batch_size % self.devices == 0 else None,
                corpus=self.corpus,
                halving=self.recipe.halving,
                begin=begin,
                report=lambda group, loop, told: programs[group.name].report(loop, told),
                end=end,
                prepare=self._go_on_with_older,
            )

    def _settings(self, row: Row, epochs: int) -> Any:
        _, valid, test = self.recipe.split
        parts = split_text(self.corpus.ids, valid, test, retrain=row["retrained"])
        of_epoch = count_windows(len(parts.train), self.recipe.bptt_length, self.recipe.batch_size).windows
        samples = {"sample_every": of_epoch, "sample_length": self.sample_length} if self.sample_length else None
        return settings_of(row, self.recipe, epochs, **(samples or {"sample_every": 0}))

    def _best_of(self, rows: list[Row]) -> list[Row]:
        # The best of each structure, on training and validation data, for its best number of epochs.
        wanted = {identity(row) for row in rows}
        found = [row for row in of_writer(self._results()) if identity(row) in wanted]
        return [row | {"retrained": True} for row in best_by_validation(found).values() if row["best_epoch"]]

    def _results(self) -> list[Row]:
        return self.sweep.rows() if is_writer() else []

    def _go_on_with_older(self, group: Group, members: Path) -> None:
        # Older versions kept all members of a program in one checkpoint.
        old = self.directory / "populations" / group_name(group.rows)
        if (old / "checkpoints").is_dir():
            jobs = [make_job(config, self.corpus) for config in group.configs]
            import_old_population(old, jobs, [members / name for name in group.ids])

    def _write_tables(self) -> None:
        if not is_writer() or not self.directory.is_dir():
            return
        self.sweep.write_csv()
        write_atomically(self.directory / "table.md", thesis_table(self.sweep.rows(), self.is_whole))


class _Program:
    """The members of one program while they train: their losses by epoch, what is shown, TensorBoard's logs."""

    def __init__(self, grid: Grid, group: Group, progress: GridProgress):
        self.group, self.progress, self.name = group, progress, group_name(group.rows)
        self.directory = grid.directory / "populations" / self.name
        self.epochs: dict[tuple[Any, Any], Row] = {}
        self.started = time.perf_counter()
        self.logs: MemberLogs | None = None
        self.has_reported = False
        progress.begin(self.name, group.rows)
        if not is_writer():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        write_atomically(self.directory / "members.json", json.dumps(group.rows, indent=1) + "\n")
        self.epochs = {(row["epoch"], row["member"]): row for row in read_metrics(self.directory / "metrics.jsonl")}
        if grid.tensorboard is not None:
            labels = [f"member {number}, {label(row)}" for number, row in enumerate(group.rows)]
            logs = grid.directory / "tensorboard" / self.name
            self.logs = MemberLogs(grid.tensorboard, logs, self.directory, labels)

    def report(self, loop: Loop, told: Report) -> None:
        """Notes the epoch of the members that have just ended one."""
        ended = [m for m in told.members if loop.updates[m] % loop.jobs[m].windows == 0 and loop.ends[m] != "diverged"]
        if not ended:
            return
        glances = {m: loop.trainer.glance(m) for m in ended}
        epoch = max(int(glance.epoch) for glance in glances.values())
        rows = [
            {
                "member": m,
                "epoch": int(glance.epoch),
                "train/loss_nats": json_number(float(glance.epoch_loss)),
                "valid/loss_nats": json_number(float(glance.valid_loss)),
            }
            for m, glance in glances.items()
        ]
        if not self.has_reported:  # epochs that are trained again after a kill
            self.has_reported = True
            self.epochs = {key: row for key, row in self.epochs.items() if row["epoch"] < epoch}
        self.epochs |= {(row["epoch"], row["member"]): row for row in rows}
        lines = [json.dumps(self.epochs[key]) + "\n" for key in sorted(self.epochs)]
        write_atomically(self.directory / "metrics.jsonl", "".join(lines))
        seconds, self.started = time.perf_counter() - self.started, time.perf_counter()
        running = sum(end is None for end in loop.ends)
        self.progress.epoch(self.name, self.group.rows, EpochReport(epoch, rows, seconds, running))
        if self.logs is not None:
            self.logs.write(rows)

    def close(self) -> None:
        """However it ends."""
        if self.logs is not None:
            self.logs.close()


def first_characters(corpus: Corpus, characters: int | None) -> Corpus:
    """The beginning of a corpus; its vocabulary holds only what occurs there."""
    if characters is None or characters >= len(corpus):
        return corpus
    from jaxrnn.data import corpus_from_text

    text = "".join(corpus.vocabulary.symbols[i] for i in corpus.ids[:characters].tolist())
    return dataclasses.replace(corpus_from_text(text, corpus.name), reading=corpus.reading)


def groups_of(rows: list[Row], recipe: Recipe) -> list[list[Row]]:
    """Rows that fit into one program each."""
    settings = [settings_of(row, recipe) for row in rows]
    places = {id(config): row for config, row in zip(settings, rows, strict=True)}
    return [[places[id(config)] for config in group] for group in group_by_structure(settings)]


def group_name(group: list[Row]) -> str:
    """The directory of a program's losses. Other members make another name, so that none is mixed with another's."""
    digest = hashlib.sha256("".join(identity(row) for row in group).encode()).hexdigest()[:8]
    row = group[0]
    dropout = f"-{row['dropout_sites']}" if row["dropout_sites"] else ""
    return f"{row['cell']}-{row['layers']}x{row['hidden']}{dropout}-{digest}"


def label(row: Row) -> str:
    """A member in a few words."""
    fold = f" fold {row['fold']}" if row["fold"] else ""
    return f"rate {row['learning_rate']:.4g} dropout {row['dropout_rate']:g} seed {row['seed']}{fold}"


def finished_row(row: Row, result: MemberResult, seconds: float) -> Row:
    """A row of the results: who it is, and what came out. Seconds are the program's, shared evenly."""
    return row | {
        "status": "stopped" if result.end.startswith("stopped") else result.end,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "train_loss_nats": result.train_loss,
        "valid_loss_nats": result.valid_loss,
        "test_loss_nats": result.test.loss if result.test else float("nan"),
        "skipped": result.skipped,
        "seconds": round(seconds, 1),
    }
