"""The host's side of a population of generated sequences: calls, curves, checkpoints, and going on after a kill."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec

from jaxrnn.config import DEFAULT_UPDATES, TrainConfig
from jaxrnn.devices.mesh import BATCH_AXIS
from jaxrnn.errors import ConfigurationError
from jaxrnn.evaluate import evaluate_sequences
from jaxrnn.random_streams import STREAM_VALIDATION, run_key_from_data, stream_key
from jaxrnn.storage import checkpoint as checkpoints
from jaxrnn.tasks.protocol import row_numbers
from jaxrnn.terminal.progress import Progress
from jaxrnn.training.job import make_job
from jaxrnn.training.population_devices import place_on
from jaxrnn.training.population_host import (
    as_saved,
    fetch_members,
    from_saved,
    on_host,
    place_members,
    slots_for,
)
from jaxrnn.training.population_structure import refuse_other_structures
from jaxrnn.training.sequence_population import (
    MAX_CALL_UPDATES,
    SequenceMember,
    UpdateMetrics,
    initial_sequence_members,
    make_sequence_advance,
    sequence_member_specs,
    sequence_settings,
)
from jaxrnn.training.state import RECENT_UPDATES

CALL_SECONDS = 5.0  # about so long a call of the program may take, so that Ctrl-C is heard
CHECKPOINT_SECONDS = 30.0
FIRST_CALL_UPDATES = 10  # until the pace is known


class SequenceReport(NamedTuple):
    """Where a population stands.

    Attributes:
      update: updates done by the members that run.
      updates: updates in all.
      running: members that run.
      members: members in all.
      accuracy: mean over all members of their recent accuracy.
      seconds_left: estimate; less if members end early.
    """

    update: int
    updates: int
    running: int
    members: int
    accuracy: float
    seconds_left: float


class SequenceResult(NamedTuple):
    """How one member ended.

    Attributes:
      number: which of the population.
      status: "solved", "finished" or "diverged".
      updates: updates done.
      recent_accuracy: mean accuracy of the latest 100 updates.
      valid_accuracy: on fresh sequences, with the parameters of the last update.
      valid_loss: loss on them.
      skipped: updates left out as not finite.
    """

    number: int
    status: str
    updates: int
    recent_accuracy: float
    valid_accuracy: float
    valid_loss: float
    skipped: int


class SequencePopulationRun:
    """A population on generated sequences, with its checkpoints in a directory.

    Between two calls of the program all members lie on the host, and those that run are spread anew over the devices.
    A population stopped and started again gives the bits of one never stopped; on a CPU also on another number of
    devices, as long as there are as many members as devices.

    Args:
      directory: where the checkpoints live; made if missing. What is found there is gone on with.
      configs: the settings of the members, of one structure (`group_by_structure`).
      devices: JAX devices in use.
      validation_sequences: fresh sequences that each member is scored on at its end; 0 scores none.
      report: called after each call of the program.
      should_stop: asked between two calls; true saves and leaves.

    Attributes:
      curves: loss and accuracy of every update so far, (members, updates) each; 0 past a member's end.

    Raises:
      ConfigurationError: if the settings do not fit into one population, or the directory holds one of other settings.
    """

    def __init__(
        self,
        directory: Path,
        configs: list[TrainConfig],
        *,
        devices: int = 1,
        validation_sequences: int = 10_000,
        report: Callable[[SequenceReport], None] = lambda report: None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        refuse_other_structures(configs)
        self.directory, self.configs, self.validation_sequences = directory, configs, validation_sequences
        self.report, self.should_stop = report, should_stop
        self.updates = configs[0].updates or DEFAULT_UPDATES
        self.settings = sequence_settings(configs, devices, jax.default_backend() != "cpu")
        self.graphdef = make_job(configs[0], devices=self.settings.step.devices).graphdef
        self.advance = make_sequence_advance(self.graphdef, self.settings)
        self.rows = place_on(self.settings, PartitionSpec(None, BATCH_AXIS), row_numbers(configs[0].batch_size))
        self.start = on_host(initial_sequence_members(configs))
        shape, dtype = (len(configs), self.updates), np.dtype(configs[0].dtype)
        self.curves = UpdateMetrics(np.zeros(shape, dtype), np.zeros(shape, dtype))
        self.seconds_an_update = math.nan

    def run(self) -> list[SequenceResult] | None:
        """Trains to the end. None if it was stopped before; the same call then goes on."""
        self.directory.mkdir(parents=True, exist_ok=True)
        full = self._train(self._begin())
        return self._results(full) if not self._open(full).any() else None

    def _train(self, full: SequenceMember) -> SequenceMember:
        saved, compiled = time.monotonic(), set[int]()
        while (running := self._open(full)).any() and not self.should_stop():
            slots = slots_for(running, self.settings)
            done = int(full.train.update[running][0])
            # A new number of places is compiled by a call of no updates, so that the others can be timed.
            updates = self._updates_of_next_call(self.updates - done) if len(slots) in compiled else 0
            compiled.add(len(slots))
            full, elapsed = self._call(full, slots, done, updates)
            if updates:
                self.seconds_an_update = elapsed / updates
                still = self._open(full)
                left = self.seconds_an_update * (self.updates - done - updates) * bool(still.any())
                accuracy = float(np.mean(recent_accuracy(full)))
                now = done + updates if still.any() else int(full.train.update.max())
                self.report(SequenceReport(now, self.updates, int(still.sum()), len(still), accuracy, left))
            if time.monotonic() - saved >= CHECKPOINT_SECONDS or not self._open(full).any():
                self._save(full)
                saved = time.monotonic()
        if self._open(full).any():
            self._save(full)
        return full

    def _call(self, full: SequenceMember, slots: list[int], done: int, updates: int) -> tuple[SequenceMember, float]:
        members = place_members(self.settings, sequence_member_specs(), full, slots)
        started = time.perf_counter()
        members, metrics = self.advance(members, self.rows, np.int32(updates))
        jax.block_until_ready(metrics)
        elapsed = time.perf_counter() - started
        for place, number in enumerate(slots):
            if number >= 0:
                for curve, values in zip(self.curves, metrics, strict=True):
                    curve[number, done : done + updates] = np.asarray(values[place])[:updates]
        return fetch_members(members, slots, full), elapsed

    def _updates_of_next_call(self, left: int) -> int:
        if math.isnan(self.seconds_an_update):
            return min(left, FIRST_CALL_UPDATES)
        return min(left, MAX_CALL_UPDATES, max(int(CALL_SECONDS / self.seconds_an_update), 1))

    def _open(self, full: SequenceMember) -> np.ndarray:
        return np.asarray(full.running) & (np.asarray(full.train.update) < self.updates)

    # ---- what is saved ----

    def _begin(self) -> SequenceMember:
        template = self._saved(self.start)
        found, warnings = checkpoints.load_latest(self.directory / "checkpoints", template)
        for warning in warnings:
            Progress(quiet=True).warning(warning)
        if found is None:
            return self.start
        if found.metadata["settings"] != self._digest():
            raise ConfigurationError(f"{self.directory} holds a population of other settings; choose another directory")
        self.curves = UpdateMetrics(*(np.array(found.state[f"curve_{name}"]) for name in UpdateMetrics._fields))
        return from_saved(found.state, self.start)

    def _save(self, full: SequenceMember) -> None:
        update = int(full.train.update.sum())
        extra = {"settings": self._digest()}
        checkpoints.save_checkpoint(self.directory / "checkpoints", self._saved(full), update, extra)

    def _saved(self, full: SequenceMember) -> dict[str, Any]:
        return as_saved(full) | {f"curve_{name}": curve for name, curve in self.curves._asdict().items()}

    def _digest(self) -> str:
        settings = [config.to_json() for config in self.configs]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def _results(self, full: SequenceMember) -> list[SequenceResult]:
        recent = recent_accuracy(full)
        results = []
        for number in range(len(self.configs)):
            updates, diverged = int(full.train.update[number]), bool(full.diverged[number])
            ended = "finished" if full.running[number] else "solved"
            loss, accuracy = self._validate(full, number) if self.validation_sequences else (math.nan, math.nan)
            results.append(
                SequenceResult(
                    number,
                    "diverged" if diverged else ended,
                    updates,
                    float(recent[number]),
                    accuracy,
                    loss,
                    int(full.train.skipped[number]),
                )
            )
        return results

    def _validate(self, full: SequenceMember, number: int) -> tuple[float, float]:
        # The first are those that `jaxrnn.train` validates this run on after as many updates.
        config, state = self.configs[number], jax.tree.map(lambda leaf: leaf[number], full.train)
        seed = run_key_from_data(jax.numpy.asarray(state.seed))
        key = stream_key(seed, STREAM_VALIDATION, int(state.update))
        task, batch_size, sequences = self.settings.step.task, config.batch_size, self.validation_sequences
        scores = evaluate_sequences(self.graphdef, state.params, task, key, batch_size=batch_size, sequences=sequences)
        return scores.loss, scores.accuracy


def recent_accuracy(full: SequenceMember) -> np.ndarray:
    """The mean accuracy of each member's latest 100 updates, or of all if there are fewer, (members,)."""
    recent = np.asarray(full.train.recent_accuracy)
    return recent.sum(axis=1) / np.clip(np.asarray(full.train.update), 1, RECENT_UPDATES)
