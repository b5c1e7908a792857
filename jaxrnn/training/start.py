"""Train in a run directory: begin, go on, and say how it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.config import CHANGEABLE, TrainConfig
from jaxrnn.data.corpus import Corpus
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.recorded import moved_text
from jaxrnn.devices.hosts import is_writer, of_writer, progress_here
from jaxrnn.errors import ConfigurationError
from jaxrnn.scoring.evaluation import lost_pieces
from jaxrnn.storage.run_directory import RunDirectory, default_run_path, stored_config
from jaxrnn.tasks.settings import is_reports_recipe
from jaxrnn.tasks.text import Text
from jaxrnn.tasks.users_cells import is_own
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.progress import Progress
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.training.callbacks import Callback
from jaxrnn.training.init_from import begun_before
from jaxrnn.training.job import TrainJob, make_job
from jaxrnn.training.judgement import REMEDY, is_far_above, start_of
from jaxrnn.training.loop import Loop
from jaxrnn.training.member_runs import opened
from jaxrnn.training.memory_files import rows_in_memory
from jaxrnn.training.record import refuse_changed_text, vocabulary_of_run, with_changes
from jaxrnn.training.report import describe_job
from jaxrnn.training.state import RECENT_UPDATES
from jaxrnn.training.step import recent_accuracy
from jaxrnn.training.task import text_of, validation_text_of
from jaxrnn.training.trace import refuse_more_than_there_are, tracing
from jaxrnn.training.trainer import Trainer
from jaxrnn.training.validation import reason_in_words

FINAL_SAMPLE_TEMPERATURE = 0.6
FINAL_SAMPLE_LENGTH = 400


class FitResult(NamedTuple):
    """How a call of `fit` or `train` ended.

    Attributes:
      trainer: holds the states as they are now: `model`, `params`, `predict`, `evaluate`, `write`.
      directories: the run directory of each member; none where it trained in memory.
      updates: done, by member.
      ends: how each has ended, "finished", "solved", "stopped early" or "diverged"; None where it goes on when called
        again.
      stopped: None if all came to their ends, "interrupted" by Ctrl-C or "stopped" by SIGTERM; saved in each case.
      rows: by member, what metrics.jsonl would hold, where it trained in memory.
    """

    trainer: Trainer
    directories: list[Path]
    updates: list[int]
    ends: list[str | None]
    stopped: str | None
    rows: list[list[dict[str, Any]]] = []

    @property
    def directory(self) -> Path:
        """That of the first, or the only one."""
        return self.directories[0]

    @property
    def update(self) -> int:
        """Updates done by the first, or the only one."""
        return self.updates[0]


def train(
    config: TrainConfig,
    run: str | Path | None = None,
    progress: Progress | None = None,
    corpus: Corpus | None = None,
    callbacks: Sequence[Callback] = (),
    devices: int | None = None,
    init_from: Any = None,
    validation: Corpus | None = None,
) -> FitResult:
    """Trains what the settings name in a run directory, going on from its latest checkpoint if there is one.

    Args:
      config: the settings. In a directory that holds a run, only totals and intervals may differ from its own.
      run: the run directory; if not given, runs/TEXT-CELL-HIDDEN (a task: TASK-LENGTH for TEXT), then xLAYERS above 1
        and -from-SOURCE.
      progress: what shows the progress; by default a bar or lines on stdout.
      corpus: the text, if it was read already.
      callbacks: see `fit`.
      devices: another number than a run was begun with, if it is to go on so: its bits are others from there on.
      init_from: an opened run, or a model in one file, to begin with: see `jaxrnn.models.carrying_over`. The settings
        have to name the same model, or a larger one.
      validation: the text of `validation_text`, if it was read already.

    Raises:
      JaxrnnError: one of its kinds, for each fault that the user can mend. What was saved stays.
    """
    directory = RunDirectory(run if run is not None else default_run_path(config, getattr(init_from, "path", None)))
    begun, was_read = directory.exists(), corpus is not None
    if begun and not was_read:
        directory.refuse_other_settings(config)
    with StopRequest() as stop:
        if begun:
            corpus = corpus or text_of(config)
            validation = validation or (validation_text_of(config, corpus.reading) if corpus else None)
            refuse_changed_text(directory, config, corpus, validation)
        if begun and was_read:  # after the text: settings may have been fitted to its length
            directory.refuse_other_settings(config)
        job = make_job(config, corpus, init_from, vocabulary_of_run(directory, config), validation)
        return train_alone(job, directory, progress or progress_here(), stop, callbacks, devices)


def train_alone(
    job: TrainJob,
    directory: RunDirectory | None,
    progress: Progress,
    stop: StopRequest,
    callbacks: Sequence[Callback] = (),
    devices: int | None = None,
) -> FitResult:
    """Trains one job, in a directory or in memory; on other devices than before where that is asked for."""
    refuse_more_than_there_are(job.config.profile, 0, job.updates)  # whatever was done before
    record = directory.read_config() if directory is not None and directory.exists() else {}
    before = of_writer(record.get("devices"))
    directories = [] if directory is None else [directory.path]
    with (
        opened([job], devices or before, directories, None, progress, stop, callbacks=callbacks) as loop,
        tracing(job.config.profile, directory.path if directory else None, progress) as traced,
    ):
        _say_how_it_begins(loop, job, directory)
        if loop.begin():
            _note_devices(loop, directory, before)
            loop.callbacks = [*callbacks, *traced(int(loop.updates[0]), job.updates)]
            loop.run()
            _say_how_it_ended(loop, job, directory)
        else:
            loop.ends, loop.updates = ["finished"], loop.totals
            progress.message(f"already finished at update {job.updates:,}; more --updates or --epochs train longer")
        return result_of(loop)


def result_of(loop: Loop) -> FitResult:
    """What a loop has come to."""
    directories = [files.path for files in loop.files if files.path is not None]
    stopped = _why_stopped(loop) if None in loop.ends else None
    return FitResult(loop.trainer, directories, loop.updates.tolist(), loop.ends, stopped, rows_in_memory(loop.files))


def resume(
    run: str | Path,
    changed: dict[str, Any] | None = None,
    progress: Progress | None = None,
    devices: int | None = None,
) -> FitResult:
    """Goes on with a run; `changed` may hold new totals and intervals; `devices` as for `train`.

    Raises:
      ConfigurationError: if there is no run, or something else is to be changed.
    """
    directory = RunDirectory(run)
    record = directory.read_config()
    if "parts" in record:
        raise ConfigurationError(
            f"{printable(str(directory.path))} was made by jaxrnn.fit of a program's own parts; run that program again"
        )
    values = record["config"] | {"profile": 0}
    stored_config(values, directory.config_path)
    changed = {name: value for name, value in (changed or {}).items() if value is not None}
    wrong = sorted(set(changed) - CHANGEABLE)
    if wrong:
        raise ConfigurationError(f"a resumed run may change {', '.join(sorted(CHANGEABLE))}; got {', '.join(wrong)}")
    if "updates" in changed:
        values["epochs"] = None
    if "epochs" in changed:
        values["updates"] = None
    config = TrainConfig.from_json(values | changed)
    corpus = validation = None
    if path := moved_text(config.text, record["data"]):
        corpus = text_of(config, path)
    if path := moved_text(config.validation_text, record.get("validation")):
        reading = ReadingOptions.from_json(record["data"]["reading"])
        validation = validation_text_of(config, reading, path)
    begun = begun_before(record)
    return train(config, directory.path, progress, corpus, devices=devices, init_from=begun, validation=validation)


def _why_stopped(loop: Loop) -> str:
    return loop.stop.reason or "stopped"  # where another process was told to


def _say_how_it_begins(loop: Loop, job: TrainJob, directory: RunDirectory | None) -> None:
    for line in [*describe_job(job), *([f"run directory {directory.path}"] if directory else [])]:
        loop.progress.message(line)
    if job.config.learning_rate == 0:
        loop.progress.warning("--learning-rate 0: the parameters will not change")


def _note_devices(loop: Loop, directory: RunDirectory | None, before: int | None) -> None:
    now, update = loop.trainer.layout.devices, int(loop.updates[0])
    if directory is None or before in (None, now) or not is_writer():
        return
    changed = f"devices {before} -> {now}"
    directory.write_config(with_changes(directory.read_config(), update, [changed]) | {"devices": now})
    loop.progress.warning(f"bit-exactness ends at update {update}: {changed}")


def _say_how_it_ended(loop: Loop, job: TrainJob, directory: RunDirectory | None) -> None:
    progress, state, objective = loop.progress, loop.trainer.glance(), job.task.objective
    update, end = int(loop.updates[0]), loop.ends[0]
    path = str(directory.path) if directory else ""
    again = path + (f" --cell {job.config.cell}" if is_own(job.config.cell) else "")  # what no file can bring
    progress.close()
    if end is None:
        go_on = f"jaxrnn resume {again}" if job.parts is None else "the same program again"
        saved = f"saved at update {update:,}; go on with: {go_on}" if directory else f"at update {update:,}"
        progress.message(f"{_why_stopped(loop)}: {saved}")
        return
    if end != "finished":
        progress.message(reason_in_words(job.config, end))
    best, lowest = float(state.best_smooth_loss), float(state.early_stopping.best)
    unit = f" {objective.loss_unit}" if objective.loss_unit else ""
    measured = [f"validation loss {lowest:.4f}{unit}"] if math.isfinite(lowest) else []
    if state.best_score is not None:
        kept = start_of(loop.trainer.state()) is not None  # of all processes together
        begin = "a kept carry of training" if kept else "fresh starts"
        measured.append(f"{float(state.best_score):.3f} nats from {begin}")
    if is_reports_recipe(job.config):
        over = f"{best * objective.steps:.2f} over {objective.steps} {objective.units}"
        measured.append(f"smoothed loss {best:.3f} nats ({over})")
    skipped = f"; {int(state.skipped):,} updates were left out as not finite" if int(state.skipped) else ""
    progress.message(
        f"finished at update {update:,}; loss {loop.files[0].rows.shown_loss:.4f}{unit}; best "
        f"{', '.join(measured)}{' ' if measured else ''}at update {int(state.best_update):,}{skipped}"
    )
    if state.recent_accuracy is not None:
        accuracy = recent_accuracy(state)
        progress.message(f"mean accuracy of the latest {min(update, RECENT_UPDATES)} updates: {accuracy:.4f}")
    if job.task.tests:
        _test(loop)
    if not job.task.writes:
        if directory:
            progress.message(f"curves: jaxrnn plot {again}")
        return
    split = loop.trainer.split()  # of all processes together
    if not is_writer():
        return
    if job.judges and is_far_above(best, float(state.best_score), update):
        assert isinstance(job.task, Text)
        pieces = job.task.parts.train, objective.chance
        lost, starts = lost_pieces(*split, *pieces, document_end=objective.document_end)
        if lost:
            told = f"from {lost} of {starts} fresh starts the best parameters are worse than knowing nothing"
            progress.warning(f"{told} ({objective.chance_in_words}); {REMEDY}")
    text = loop.trainer.write(0, FINAL_SAMPLE_LENGTH, FINAL_SAMPLE_TEMPERATURE, split=split)
    progress.message(f"the best parameters write, at temperature {FINAL_SAMPLE_TEMPERATURE:g}:\n\n{printable(text)}\n")
    if directory:  # a model that no settings name has to be given
        more = f"jaxrnn sample {again}" if job.parts is None else f'jaxrnn.open_run("{path}", model).sample()'
        progress.message(f"more: {more}    learning curve: jaxrnn plot {again}")


def _test(loop: Loop) -> None:
    checkpoint = "best" if int(loop.trainer.glance().valid_update) else "latest"
    score = loop.trainer.score([0], "test", checkpoint)[0]
    loop.progress.message(f"the {checkpoint} parameters: {score.line}")
    loop.files[0].write_test(int(loop.updates[0]), checkpoint, score)
