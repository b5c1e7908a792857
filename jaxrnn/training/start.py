"""Train in a run directory: begin, go on, and say how it ended."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.config import CHANGEABLE, TrainConfig
from jaxrnn.data.corpus import Corpus, load_corpus
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.run_directory import RunDirectory, default_run_path
from jaxrnn.tasks.settings import is_reports_recipe
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.progress import Progress
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.training.job import TrainJob, make_job, make_trainer
from jaxrnn.training.loop import Loop
from jaxrnn.training.report import describe_job
from jaxrnn.training.run_files import RunFiles
from jaxrnn.training.state import RECENT_UPDATES
from jaxrnn.training.step import recent_accuracy
from jaxrnn.training.trainer import Trainer
from jaxrnn.training.validation import reason_in_words

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
    at: Mapping[int, Callable[[Trainer], None]] | None = None,
) -> TrainResult:
    """Trains in a run directory, going on from its latest checkpoint if there is one.

    Args:
      config: the settings. In a directory that holds a run, only totals and intervals may differ from its own.
      run: the run directory; runs/TEXT-CELL-HIDDEN or runs/TASK-LENGTH-CELL-HIDDEN if not given.
      progress: what shows the progress; by default a bar or lines on stdout.
      corpus: the text, if it was read already.
      at: what is called with the trainer when so many updates are done. It may look, not change the state. It is called
        before they are saved, so what it has left undone when it is killed is called for again.

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
        job = make_job(config, corpus)
        trainer = make_trainer([job], devices)
        directory.prepare()
        with directory.lock(), numerics(config.dtype):
            files = RunFiles(job, directory, trainer.layout.share)
            loop = Loop([job], trainer, [files], progress, stop, at=at)
            with contextlib.closing(loop):
                _say_how_it_begins(loop, job, directory)
                if not loop.begin():
                    progress.message(
                        f"already finished at update {job.updates:,}; train longer with a larger --updates"
                    )
                    return TrainResult(directory.path, job.updates, None)
                loop.run()
                _say_how_it_ended(loop, job, directory)
                update = int(loop.updates[0])
                return TrainResult(directory.path, update, stop.reason if loop.ends[0] is None else None)


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


def _say_how_it_begins(loop: Loop, job: TrainJob, directory: RunDirectory) -> None:
    for line in [*describe_job(job), f"run directory {directory.path}"]:
        loop.progress.message(line)
    if job.config.learning_rate == 0:
        loop.progress.warning("--learning-rate 0: the parameters will not change")


def _say_how_it_ended(loop: Loop, job: TrainJob, directory: RunDirectory) -> None:
    progress, state, objective = loop.progress, loop.trainer.glance(), job.task.objective
    update, end = int(loop.updates[0]), loop.ends[0]
    path = str(directory.path)
    progress.close()
    if end is None:
        progress.message(f"{loop.stop.reason}: saved at update {update:,}; go on with: jaxrnn resume {path}")
        return
    if end != "finished":
        progress.message(reason_in_words(job.config, end))
    best, lowest = float(state.best_smooth_loss), float(state.early_stopping.best)
    unit = f" {objective.loss_unit}" if objective.loss_unit else ""
    measured = [f"validation loss {lowest:.4f}{unit}"] if math.isfinite(lowest) else []
    if state.best_score is not None:
        measured.append(f"{float(state.best_score):.3f} nats from fresh starts")
    if is_reports_recipe(job.config):
        over = f"{best * objective.steps:.2f} over {objective.steps} characters"
        measured.append(f"smoothed loss {best:.3f} nats ({over})")
    skipped = f"; {int(state.skipped):,} updates were left out as not finite" if int(state.skipped) else ""
    progress.message(
        f"finished at update {update:,}; loss {loop.files[0].rows.shown_loss:.4f}{unit}; best "
        f"{', '.join([*measured, f'at update {int(state.best_update):,}'])}{skipped}"
    )
    if state.recent_accuracy is not None:
        accuracy = recent_accuracy(state)
        progress.message(f"mean accuracy of the latest {min(update, RECENT_UPDATES)} updates: {accuracy:.4f}")
    if job.config.test_fraction:
        _test(loop)
    if not job.task.writes:
        progress.message(f"curves: jaxrnn plot {path}")
        return
    params = loop.trainer.params(checkpoint="best")
    text = loop.trainer.write(0, FINAL_SAMPLE_LENGTH, FINAL_SAMPLE_TEMPERATURE, params=params)
    progress.message(f"the best parameters write, at temperature {FINAL_SAMPLE_TEMPERATURE:g}:\n\n{printable(text)}\n")
    progress.message(f"more: jaxrnn sample {path}    learning curve: jaxrnn plot {path}")


def _test(loop: Loop) -> None:
    checkpoint = "best" if int(loop.trainer.glance().valid_update) else "latest"
    score = loop.trainer.score([0], "test", checkpoint)[0]
    loop.progress.message(f"the {checkpoint} parameters: {score.line}")
    loop.files[0].write_test(int(loop.updates[0]), checkpoint, score)
