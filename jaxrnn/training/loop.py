"""The training loop of a run: chunks of updates on the device; progress, log, samples and checkpoints on the host."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrnn.config import CHANGEABLE, TrainConfig, parse_interval
from jaxrnn.data.corpus import Corpus, load_corpus
from jaxrnn.devices.compile_cache import compiled
from jaxrnn.devices.mesh import on_first_device
from jaxrnn.errors import ConfigurationError, NumericError, StorageError
from jaxrnn.random_streams import STREAM_SAMPLES, stream_key
from jaxrnn.sample import sample_ids
from jaxrnn.storage import checkpoint as checkpoints
from jaxrnn.storage.logs import AppendLog, sample_entry
from jaxrnn.storage.run_directory import RunDirectory, default_run_path
from jaxrnn.terminal.progress import Progress
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.training.job import TrainJob, describe_job, make_job, state_template
from jaxrnn.training.record import identity_of, record_of, restore
from jaxrnn.training.report import metric_row, status_of
from jaxrnn.training.state import RECENT_UPDATES, TrainState
from jaxrnn.training.step import MAX_CHUNK_UPDATES, latest_accuracy, make_train_chunk, place
from jaxrnn.training.validation import reason_to_stop, score_state, with_score

CHUNK_SECONDS = 1.0
MAX_FAILED_SAVES = 3
MAX_SKIPPED_IN_A_ROW = 10
SAMPLE_TEMPERATURE = 1.0
FINAL_SAMPLE_TEMPERATURE = 0.6
FINAL_SAMPLE_LENGTH = 400


class TrainResult(NamedTuple):
    """How a call of `train` ended.

    Attributes:
      directory: the run directory.
      update: updates done.
      stopped: None if all updates are done, "interrupted" by Ctrl-C or "stopped" by SIGTERM; saved in each case.
    """

    directory: Path
    update: int
    stopped: str | None


def train(
    config: TrainConfig,
    run: str | Path | None = None,
    progress: Progress | None = None,
    corpus: Corpus | None = None,
) -> TrainResult:
    """Trains in a run directory, going on from its latest checkpoint if there is one.

    Args:
      config: the settings. In a directory that holds a run, only totals and intervals may differ from its own.
      run: the run directory; runs/TEXT-CELL-HIDDEN or runs/TASK-LENGTH-CELL-HIDDEN if not given.
      progress: what shows the progress; by default a bar or lines on stdout.
      corpus: the text, if it was read already.

    Raises:
      JaxrnnError: one of its kinds, for each fault that the user can mend. What was saved stays.
    """
    progress = progress or Progress()
    directory = RunDirectory(run if run is not None else default_run_path(config))
    devices = None
    if directory.exists():
        directory.refuse_other_settings(config)
        devices = directory.read_config().get("devices")
    with StopRequest() as stop:
        job = make_job(config, corpus, devices)
        directory.prepare()
        with directory.lock(), jax.enable_x64(config.dtype == "float64"):
            loop = _Loop(job, directory, progress, stop)
            try:
                return loop.run()
            finally:
                loop.close()


def resume(run: str | Path, changed: dict[str, Any] | None = None, progress: Progress | None = None) -> TrainResult:
    """Goes on with a run; `changed` may hold new totals and intervals.

    Raises:
      ConfigurationError: if there is no run, or something else is to be changed.
    """
    directory = RunDirectory(run)
    record = directory.read_config()
    values = record["config"]
    changed = {name: value for name, value in (changed or {}).items() if value is not None}
    wrong = sorted(set(changed) - CHANGEABLE)
    if wrong:
        raise ConfigurationError(f"a resumed run may change {', '.join(sorted(CHANGEABLE))}; got {', '.join(wrong)}")
    if "updates" in changed:
        values["epochs"] = None
    if "epochs" in changed:
        values["updates"] = None
    config = TrainConfig.from_json(values | changed)
    path = record["data"].get("path")
    corpus = None
    if path is not None and not Path(config.text).exists():  # resumed from another folder than it was begun in
        corpus = load_corpus(path, config.reading_options())
    return train(config, directory.path, progress, corpus)


class _Loop:
    def __init__(self, job: TrainJob, directory: RunDirectory, progress: Progress, stop: StopRequest):
        self.job, self.directory, self.progress, self.stop = job, directory, progress, stop
        self.config = job.config
        self.total = job.updates
        self.writes_samples = job.corpus is not None
        self.sample_every = self.config.sample_every if self.writes_samples else 0
        self.validate_every = self.config.validation_every or (job.windows.windows if len(job.validation_ids) else 0)
        self.save_updates, self.save_seconds = parse_interval(self.config.checkpoint_every)
        self.logs: dict[str, AppendLog] = {}
        self.failed_saves = 0
        self.saved_update = -1
        self.seconds_an_update = 0.0

    def run(self) -> TrainResult:
        saved = self._begin()
        if self.saved_update >= self.total:
            self.progress.message(f"already finished at update {self.total:,}; train longer with a larger --updates")
            return TrainResult(self.directory.path, self.total, None)
        state, streams, train_chunk = self._compile(saved)
        update = int(state.update)
        # The sample before the first update is drawn after it, from a copy: the first numbers are seen sooner.
        untrained = jax.tree.map(np.array, state.params) if update == 0 and self.sample_every else None
        last_save = time.monotonic()
        while update < self.total and self.stop.reason is None and not reason_to_stop(self.job, state):
            steps = self._steps_of_next_chunk(update)
            started = time.perf_counter()
            state, metrics = train_chunk(state, streams, np.int32(steps))
            steps = int(state.update) - update  # fewer than asked for where the task was solved on the way
            measured = {
                name: np.asarray(values)[:steps] for name, values in metrics._asdict().items() if values is not None
            }
            self.seconds_an_update = (time.perf_counter() - started) / steps
            update += steps
            self._log(update, measured, state)
            self._show(update, {name: float(values[-1]) for name, values in measured.items()}, force=update == 1)
            self._refuse_divergence(state, update)
            if untrained is not None:
                self._write_sample(untrained, state.seed, 0)
                untrained = None
            if self.validate_every and update % self.validate_every == 0:
                state = self._validate(state, update)
            if self._is_sample_point(update):
                self._write_sample(state.params, state.seed, update)
            due = self.save_updates and update % self.save_updates == 0
            if due or (self.save_seconds and time.monotonic() - last_save >= self.save_seconds):
                self._save(state, update)
                last_save = time.monotonic()
        self._save(state, update, final=True)
        self.progress.close()
        stopped = self.stop.reason if update < self.total else None
        if stopped is None and update < self.total:
            self.progress.message(reason_to_stop(self.job, state) or "stopped early")
        self._say_how_it_ended(state, update, stopped)
        return TrainResult(self.directory.path, update, stopped)

    def close(self) -> None:
        self.progress.close()
        for log in self.logs.values():
            log.close()

    def _begin(self) -> TrainState | None:
        job = self.job
        for line in describe_job(job):
            self.progress.message(line)
        self.progress.message(f"run directory {self.directory.path}")
        if self.config.learning_rate == 0:
            self.progress.warning("--learning-rate 0: the parameters will not change")
        record, saved = record_of(job), None
        if self.directory.exists():
            record, saved, warnings = restore(self.directory, job, record)
            for warning in warnings:
                self.progress.warning(warning)
            start = "training starts at update 0, since no checkpoint was saved here yet"
            self.progress.message(start if saved is None else f"resumed at update {saved.metadata['update']:,}")
        elif job.corpus is not None:
            job.corpus.vocabulary.save(self.directory.vocabulary_path)
        self.directory.write_config(record)
        for path in (self.directory.metrics_path, *((self.directory.samples_path,) if self.writes_samples else ())):
            self.logs[path.name] = AppendLog(path, saved.metadata["files"].get(path.name) if saved else None)
        if saved is None:
            return None
        self.saved_update = saved.metadata["update"]
        return saved.state

    def _compile(self, state: TrainState | None) -> tuple[TrainState, jax.Array, Callable]:
        started = time.perf_counter()
        job, devices = self.job, self.job.settings.devices
        streams = job.streams()
        template = state_template(self.config, job.vocabulary_size)
        train_chunk = compiled(make_train_chunk(job.graphdef, job.settings), template, streams, np.int32(1))
        state, placed = place(job.initial_state() if state is None else state, streams, devices)
        self.progress.message(f"compiled in {time.perf_counter() - started:.1f} s")
        return state, placed, train_chunk

    def _steps_of_next_chunk(self, update: int) -> int:
        ends = [self.total, update + MAX_CHUNK_UPDATES]
        for interval in (self.job.windows.windows, self.validate_every, self.sample_every, self.save_updates):
            if interval:
                ends.append(update + interval - update % interval)
        if update == 0:
            return 1
        planned = max(int(CHUNK_SECONDS / self.seconds_an_update), 1) if update > 1 and self.seconds_an_update else 10
        return min(min(ends) - update, planned)

    def _is_sample_point(self, update: int) -> bool:
        return bool(self.sample_every) and (update == 1 or update % self.sample_every == 0)

    def _log(self, update: int, measured: dict[str, np.ndarray], state: TrainState) -> None:
        # Rows are read from the chunk's arrays, so a log point need not end a chunk.
        rows, steps = [], len(measured["loss_nats"])
        last = update if reason_to_stop(self.job, state) else self.total
        for i, number in enumerate(range(update - steps + 1, update + 1)):
            if number == 1 or number % self.config.log_every == 0 or number == last:
                values = {name: column[i] for name, column in measured.items()}
                row = metric_row(self.job, number, values, state, self.seconds_an_update)
                rows.append(json.dumps(row, allow_nan=False))
        if rows:
            self.logs["metrics.jsonl"].append("\n".join(rows) + "\n")

    def _show(self, update: int, measured: dict[str, float], force: bool) -> None:
        left = (self.total - update) * self.seconds_an_update if update > 1 else math.nan  # the first is a start-up
        status = status_of(self.job, update, measured, self.seconds_an_update, left)
        self.progress.show(status, force or update == self.total)

    def _refuse_divergence(self, state: TrainState, update: int) -> None:
        in_a_row = int(state.skipped_in_a_row)
        if in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise NumericError(
                f"the loss or its gradient was not finite for {in_a_row} updates up to update {update}; they were "
                f"left out, and the checkpoint of update {max(self.saved_update, 0)} is intact: lower --learning-rate "
                "or set --clip-value in a new run"
            )

    def _validate(self, state: TrainState, update: int) -> TrainState:
        score = score_state(self.job, state, update)
        self.progress.message(score.line)
        return with_score(state, update, score)

    def _write_sample(self, params: Any, seed: jax.Array, update: int) -> None:
        text = self._sample(params, seed, update, self.config.sample_length, SAMPLE_TEMPERATURE)
        self.logs["samples.txt"].append(sample_entry(update, SAMPLE_TEMPERATURE, text))

    def _sample(self, params: Any, seed: jax.Array, update: int, length: int, temperature: float) -> str:
        key = stream_key(seed, STREAM_SAMPLES, update)
        end = self.job.settings.document_end
        params, key = on_first_device((params, key))
        parts = sample_ids(self.job.graphdef, params, length=length, key=key, temperature=temperature, document_end=end)
        assert self.job.corpus is not None
        return self.job.corpus.vocabulary.display_text(np.concatenate(list(parts)))

    def _save(self, state: TrainState, update: int, final: bool = False) -> None:
        if update == self.saved_update:
            return
        files = {}
        try:
            for name, log in self.logs.items():
                log.sync()
                files[name] = log.position()
            extra = {"files": files, **identity_of(self.job)}
            checkpoints.save_checkpoint(self.directory.checkpoints, state, update, extra)
        except (StorageError, OSError) as error:
            self.failed_saves += 1
            if final or self.failed_saves >= MAX_FAILED_SAVES:
                raise StorageError(str(error)) from error
            self.progress.warning(
                f"{error}; training goes on, {MAX_FAILED_SAVES - self.failed_saves} more failures stop it"
            )
            return
        self.failed_saves = 0
        self.saved_update = update

    def _best_validation(self, state: TrainState) -> str:
        best = float(state.early_stopping.best)
        unit = " nats" if self.job.settings.task.loss_name == "loss_nats" else ""
        return f" validation loss {best:.4f}{unit}," if math.isfinite(best) else ""

    def _say_how_it_ended(self, state: TrainState, update: int, stopped: str | None) -> None:
        path, length, writes = self.directory.path, self.config.bptt_length, self.writes_samples
        if stopped:
            self.progress.message(f"{stopped}: saved at update {update:,}; go on with: jaxrnn resume {path}")
            return
        best = float(state.best_smooth_loss_nats)
        skipped = f"; {int(state.skipped):,} updates were left out as not finite" if int(state.skipped) else ""
        loss = f"{best:.3f} nats ({best * length:.2f} over {length} characters)" if writes else f"{best:.4f}"
        self.progress.message(
            f"finished at update {update:,}; best{self._best_validation(state)} smoothed loss {loss} "
            f"at update {int(state.best_update):,}{skipped}"
        )
        if state.recent_accuracy is not None:
            accuracy = float(latest_accuracy(state)[1])
            self.progress.message(f"mean accuracy of the latest {min(update, RECENT_UPDATES)} updates: {accuracy:.4f}")
        if not writes:
            self.progress.message(f"curves: jaxrnn plot {path}")
            return
        text = self._sample(state.best_params, state.seed, update, FINAL_SAMPLE_LENGTH, FINAL_SAMPLE_TEMPERATURE)
        self.progress.message(f"the best parameters write, at temperature {FINAL_SAMPLE_TEMPERATURE:g}:\n\n{text}\n")
        self.progress.message(f"more: jaxrnn sample {path}    learning curve: jaxrnn plot {path}")
