"""The host's side of a population: epochs, log, samples and checkpoints, and going on after a kill."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import Corpus
from jaxrnn.devices.hosts import any_process, arrays_of_writer, is_writer, of_writer, on_this_host, reading_alone
from jaxrnn.sample import sample_ids
from jaxrnn.storage import checkpoint as checkpoints
from jaxrnn.storage.logs import AppendLog, json_number, read_metrics
from jaxrnn.terminal.progress import Progress
from jaxrnn.training.job import model_structure, step_settings
from jaxrnn.training.population import Member, data_specs, initial_members, make_advance, make_score, member_specs
from jaxrnn.training.population_data import THESIS_SPLIT, population_data, split_in_order
from jaxrnn.training.population_devices import PopulationSettings, device_layout, place_on
from jaxrnn.training.population_host import (
    as_saved,
    fetch_members,
    from_saved,
    on_host,
    place_members,
    slots_for,
    worse_half_stopped,
)

EXPLOSION = 3.0  # times ln V, the loss of a model that knows nothing; char-rnn stops at three times its first loss
CALL_SECONDS = 20.0  # about so long a call of the program may take, so that Ctrl-C is heard
CHECKPOINT_SECONDS = 30.0


class PopulationOptions(NamedTuple):
    """What the members of a population share beside their settings.

    Attributes:
      split: shares of training, validation and test data.
      folds: how many folds of the text there are.
      devices: JAX devices in use.
      sample_length: greedy characters written after each epoch; 0 writes none.
      halving: after epochs 2, 4, 8, ... the worse half of what still runs is stopped.
      validates: keep the parameters best by validation; else train on validation data too and keep the latest.
    """

    split: tuple[float, float, float] = THESIS_SPLIT
    folds: int = 1
    devices: int = 1
    sample_length: int = 200
    halving: bool = False
    validates: bool = True


class MemberResult(NamedTuple):
    """How one member ended.

    Attributes:
      number: which of the population.
      status: "finished", "stopped" by the rule or by halving, or "diverged".
      epochs: epochs done.
      best_epoch: epochs done when the best parameters were kept; 0 for none.
      train_loss_nats: mean training loss of the last epoch.
      valid_loss_nats: the lowest validation loss.
      test_loss_nats: test loss of the best parameters; NaN for what diverged.
      skipped: updates left out as not finite.
    """

    number: int
    status: str
    epochs: int
    best_epoch: int
    train_loss_nats: float
    valid_loss_nats: float
    test_loss_nats: float
    skipped: int


class EpochReport(NamedTuple):
    """What the population tells after an epoch: rows as in metrics.jsonl, seconds of the epoch, members that run."""

    epoch: int
    rows: list[dict[str, Any]]
    seconds: float
    running: int


class PopulationRun:
    """A population in its directory: metrics.jsonl, samples.txt and checkpoints.

    Args:
      directory: where it lives; made if missing. What is found there is gone on with.
      configs: the settings of the members; equal but for seeds, learning rates and sizes of dropout rates.
      corpus: the text.
      options: what they share.
      folds: the fold of each member; all 0 if None.
      epochs: epochs of each member; those of its settings if None.
      report: called after each epoch.
      should_stop: asked between two calls of the program; true saves and leaves.
    """

    def __init__(
        self,
        directory: Path,
        configs: list[TrainConfig],
        corpus: Corpus,
        options: PopulationOptions,
        *,
        folds: list[int] | None = None,
        epochs: list[int] | None = None,
        report: Callable[[EpochReport], None] = lambda report: None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        self.directory, self.configs, self.corpus, self.options = directory, configs, corpus, options
        self.report, self.should_stop = report, should_stop
        config, vocabulary_size = configs[0], len(corpus.vocabulary)
        spread, share = device_layout(len(configs), options.devices, config.batch_size)
        self.settings = PopulationSettings(
            step_settings(config, corpus.document_end, share),
            spread,
            jax.default_backend() != "cpu",
            config.early_stopping,
            config.patience,
            options.validates,
            EXPLOSION * math.log(vocabulary_size),
        )
        self.graphdef = model_structure(config, vocabulary_size)[0]
        splits = [split_in_order(corpus.ids, options.split, fold, options.folds) for fold in range(options.folds)]
        batch_size, T = config.batch_size, config.bptt_length
        self.data, self.test = population_data(splits, batch_size, T, retrain=not options.validates)
        self.windows = (self.data.train.shape[1] - 1) // T
        epochs = epochs or [c.epochs or 1 for c in configs]
        self.start = initial_members(configs, folds or [0] * len(configs), epochs, vocabulary_size)
        self.advance = make_advance(self.graphdef, self.settings)
        self.score = make_score(self.graphdef, self.settings)
        self.logs: dict[str, AppendLog] = {}
        self.seconds_an_update = math.nan

    def run(self) -> list[MemberResult] | None:
        """Trains to the end. None if it was stopped before; the same call then goes on."""
        if is_writer():
            self.directory.mkdir(parents=True, exist_ok=True)
        full = self._begin()
        try:
            full = self._train(full)
            return self._results(full) if not full.running.any() else None
        finally:
            for log in self.logs.values():
                log.close()

    # ---- the epochs ----

    def _train(self, full: Member) -> Member:
        data = place_on(self.settings, data_specs(), self.data)
        saved, started = time.monotonic(), time.perf_counter()
        while full.running.any() and not any_process(self.should_stop()):
            slots = slots_for(np.asarray(full.running), self.settings)
            members = self._place(full, slots)
            running = int(full.running.sum())
            changed, ends = False, False
            window = int(full.train.window[full.running][0])
            while not changed and running:
                updates = self._updates_of_next_call(window, running)
                ends = window + updates == self.windows
                call = time.perf_counter()
                members = self.advance(members, data, np.int32(updates), np.bool_(ends))
                still = int(on_this_host(members.running)[: len(slots)].sum())  # waits for the device
                elapsed = of_writer(time.perf_counter() - call)
                self.seconds_an_update = elapsed / updates / running
                window = 0 if ends else window + updates
                changed = ends or still < running or self._is_time_to_leave(saved)
                running = still
            before, full = full, fetch_members(members, slots, full)
            if ends:
                full = self._end_of_epoch(before, full, time.perf_counter() - started)
                started = time.perf_counter()
            if not full.running.any() or self._is_time_to_leave(saved):
                self._save(full)
                saved = time.monotonic()
        return full

    def _is_time_to_leave(self, saved: float) -> bool:
        # The same answer on all processes: whether to save, and perhaps to end.
        return any_process(self.should_stop()) or of_writer(time.monotonic() - saved > CHECKPOINT_SECONDS)

    def _updates_of_next_call(self, window: int, running: int) -> int:
        left = self.windows - window
        if math.isnan(self.seconds_an_update):
            return min(left, 10)
        return min(left, max(int(CALL_SECONDS / (self.seconds_an_update * running)), 1))

    def _end_of_epoch(self, before: Member, full: Member, seconds: float) -> Member:
        ran = np.flatnonzero(before.running & ~full.diverged)
        rows = []
        for number in ran.tolist():
            row: dict[str, Any] = {
                "member": number,
                "epoch": int(full.train.epoch[number]),
                "train/loss_nats": json_number(float(full.train_loss_nats[number])),
                "valid/loss_nats": json_number(float(full.train.valid_loss_nats[number])),
            }
            rows.append(row)
            if not is_writer():
                continue
            self.logs["metrics.jsonl"].append(json.dumps(row) + "\n")
            if self.options.sample_length:
                self._write_sample(full, number, row["epoch"])
        if self.options.halving:
            full = worse_half_stopped(full)
        epoch = int(full.train.epoch.max())
        self.report(EpochReport(epoch, rows, seconds, int(full.running.sum())))
        return full

    def _write_sample(self, full: Member, number: int, epoch: int) -> None:
        params = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf[number]), full.train.params)
        vocabulary = self.corpus.vocabulary
        prime = vocabulary.encode(".") if "." in vocabulary.symbols else np.zeros((1,), np.int32)
        parts = sample_ids(
            self.graphdef,
            params,
            length=self.options.sample_length,
            key=jax.random.key(0),
            temperature=0.0,
            prime=prime,
            document_end=self.corpus.document_end,
        )
        text = vocabulary.display_text(np.concatenate(list(parts)))
        self.logs["samples.txt"].append(f"=== member {number}, epoch {epoch}, greedy ===\n{text}\n\n")

    # ---- between host and devices ----

    def _place(self, full: Member, slots: list[int]) -> Member:
        return place_members(self.settings, member_specs(), full, slots)

    # ---- what is saved ----

    def _begin(self) -> Member:
        full = on_host(self.start)
        return arrays_of_writer(self._from_files(full) if is_writer() else full)

    def _from_files(self, full: Member) -> Member:
        with reading_alone():
            saved, warnings = checkpoints.load_latest(self.directory / "checkpoints", as_saved(full))
        for warning in warnings:
            Progress(quiet=True).warning(warning)
        names = ("metrics.jsonl", "samples.txt")
        positions = saved.metadata["files"] if saved else {}
        self.logs = {name: AppendLog(self.directory / name, positions.get(name)) for name in names}
        return full if saved is None else from_saved(saved.state, full)

    def _save(self, full: Member) -> None:
        directory, update = self.directory / "checkpoints", int(full.train.update.sum())
        if not is_writer():
            checkpoints.take_part_in_save(directory, as_saved(full), update)
            return
        files = {}
        for name, log in self.logs.items():
            log.sync()
            files[name] = log.position()
        checkpoints.save_checkpoint(directory, as_saved(full), update, {"files": files})

    def _results(self, full: Member) -> list[MemberResult]:
        # All members at once, on as few devices as fill up: the test data is read here and nowhere else.
        settings = self.settings
        count = -(-len(self.configs) // settings.member_devices) * settings.member_devices
        slots = [*range(len(self.configs)), *([-1] * (count - len(self.configs)))]
        test = place_on(settings, data_specs().valid, self.test)
        losses = on_this_host(self.score(self._place(full, slots), test))
        results = []
        for number in range(len(self.configs)):
            epochs, diverged = int(full.train.epoch[number]), bool(full.diverged[number])
            ended = "finished" if epochs >= int(full.epochs[number]) else "stopped"
            results.append(
                MemberResult(
                    number,
                    "diverged" if diverged else ended,
                    epochs,
                    int(full.best_epoch[number]),
                    float(full.train_loss_nats[number]),
                    float(full.train.early_stopping.best[number]),
                    math.nan if diverged and not full.best_epoch[number] else float(losses[number]),
                    int(full.train.skipped[number]),
                )
            )
        return results

    def history(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl: a member, an epoch, its training and its validation loss."""
        return read_metrics(self.directory / "metrics.jsonl")
