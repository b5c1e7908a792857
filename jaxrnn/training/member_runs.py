"""Train several runs of one structure together, each in a run directory of its own, as one compiled program."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import Corpus
from jaxrnn.devices.hosts import is_writer
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import JaxrnnError
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.tasks.protocol import Score, Task
from jaxrnn.terminal.progress import Progress
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.training.agreement import refuse_other_jobs
from jaxrnn.training.idle_rules import refuse_plateau_that_cannot_act
from jaxrnn.training.job import TrainJob, make_job
from jaxrnn.training.long_streams import refuse_streams_that_are_not_counted
from jaxrnn.training.loop import Loop
from jaxrnn.training.memory_files import MemoryFiles, rows_in_memory
from jaxrnn.training.record import refuse_changed_text
from jaxrnn.training.report import Report
from jaxrnn.training.rounds import Rounds
from jaxrnn.training.run_devices import refuse_engine_that_cannot_run
from jaxrnn.training.run_files import RunFiles
from jaxrnn.training.state import TrainState
from jaxrnn.training.step import recent_accuracy
from jaxrnn.training.task import text_of, validation_text_of
from jaxrnn.training.trainer import Trainer


class MemberResult(NamedTuple):
    """How one member ended.

    Attributes:
      end: "finished", "solved", "stopped early", "stopped" (such as by halving), or "diverged".
      updates: updates done.
      epochs: epochs done; 0 where there are none.
      best_update: the update whose parameters are kept as the best; 0 for none.
      best_epoch: epochs done when they were kept; without validation those of the latest parameters.
      train_loss: mean training loss of the last epoch; the smoothed loss where there are no epochs.
      valid_loss: the lowest validation loss; infinity without validation.
      recent_accuracy: mean of the latest 100 updates; NaN where it is not measured.
      test: on the test data of a text, or on fresh sequences; None where there is none, or for what diverged.
      skipped: updates left out as not finite.
    """

    end: str
    updates: int
    epochs: int
    best_update: int
    best_epoch: int
    train_loss: float
    valid_loss: float
    recent_accuracy: float
    test: Score | None
    skipped: int


def train_members(
    configs: Sequence[TrainConfig],
    directories: Sequence[Path],
    rounds: Path,
    *,
    corpus: Corpus | None = None,
    devices: int | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    report: Callable[[Loop, Report], None] = lambda loop, report: None,
    halving: bool = False,
) -> list[MemberResult] | None:
    """Trains members to their ends. Each directory opens with `open_run`, and holds what the run alone would.

    Args:
      configs: settings that fit into one program: see `jaxrnn.training.values.group_by_structure`.
      directories: the run directory of each; what is found there is gone on with.
      rounds: a file beside them: which updates were saved together last.
      corpus: the text, if it was read already.
      devices: how many devices share the work; all if None.
      progress: what a person sees.
      stop: asked between chunks; a request of this call's own if None.
      report: called with the loop after epochs, validations and ends.
      halving: after epochs 2, 4, 8, ... the worse half of what still runs is stopped.

    Returns:
      How each ended, or None if it was stopped before; the same call then goes on.

    Raises:
      JaxrnnError: one of its kinds, for each fault that the user can mend. What was saved stays.
    """
    with contextlib.ExitStack() as stack:
        stop = stop or stack.enter_context(StopRequest())
        corpus = corpus or text_of(configs[0])
        validation = validation_text_of(configs[0], corpus.reading) if corpus else None
        for path, config in zip(directories, configs, strict=True):
            if RunDirectory(path).exists():
                refuse_changed_text(RunDirectory(path), config, corpus, validation)
        tasks = dict[int, Task]()
        jobs = list[TrainJob]()
        for config in configs:
            job = make_job(config, corpus, validation=validation)
            first = (jobs or [job])[0]
            task = tasks.setdefault(config.fold, job.task)  # one copy of a fold's streams
            jobs.append(job._replace(task=task, validation=first.validation))
        options: dict[str, Any] = {"select": worse_half} if halving else {}
        shown = progress or Progress()
        with opened(jobs, devices, directories, rounds, shown, stop, report=report, **options) as loop:
            loop.begin()
            loop.run()
            return None if None in loop.ends else results_of(loop)


@contextlib.contextmanager
def opened(
    jobs: Sequence[TrainJob],
    devices: int | None,
    directories: Sequence[Path],
    rounds: Path | None,
    progress: Progress,
    stop: StopRequest,
    **options: Any,
) -> Iterator[Loop]:
    """The loop of jobs in their directories, which are locked in the block; in memory where there are none.

    Options are those of `Loop`. The others are those of `train_members`; a run alone has no rounds.
    """
    refuse_other_jobs(jobs)
    if "engine" in jobs[0].options:
        refuse_engine_that_cannot_run(jobs[0], len(jobs))
    for job, path in itertools.zip_longest(jobs, directories):
        if is_writer() and (path is None or not RunDirectory(path).exists()):
            refuse_plateau_that_cannot_act(job)
    trainer = Trainer.of(jobs, devices)
    refuse_streams_that_are_not_counted(jobs, trainer.template)
    with contextlib.ExitStack() as stack:
        files: list[RunFiles | MemoryFiles] = [MemoryFiles(job) for job in jobs]
        for number, path in enumerate(directories):
            run = RunDirectory(path)
            if is_writer():
                if run.exists():
                    run.refuse_other_settings(jobs[number].config)
                run.prepare()
                stack.enter_context(run.lock())
            files[number] = RunFiles(jobs[number], run, trainer.layout.devices)
        if rounds is not None:
            options["rounds"] = Rounds(rounds, [path.name for path in directories])
        stack.enter_context(numerics(jobs[0].config.dtype, jobs[0].config.precision))
        try:
            yield stack.enter_context(contextlib.closing(Loop(jobs, trainer, files, progress, stop, **options)))
        except JaxrnnError as error:
            error.rows = rows_in_memory(files)
            raise


def results_of(loop: Loop) -> list[MemberResult]:
    """How each member of a loop has ended. Test data is read here and nowhere else, for a text into test.json."""
    glances, members = loop.glances(), range(len(loop.jobs))
    tested = [m for m in members if loop.jobs[m].task.tests or not loop.jobs[m].windows]
    tested = [m for m in tested if loop.ends[m] != "diverged" or int(glances[m].valid_update)]
    scores = dict[int, Score]()
    for checkpoint in ("best", "latest"):
        of = [m for m in tested if (int(glances[m].valid_update) > 0) == (checkpoint == "best")]
        scores |= dict(zip(of, loop.trainer.score(of, "test", checkpoint), strict=True)) if of else {}
        for member in of:
            if loop.jobs[member].task.tests:
                loop.files[member].write_test(int(glances[member].update), checkpoint, scores[member])
    return [_result(loop, m, glances[m], scores.get(m)) for m in members]


def _result(loop: Loop, member: int, glance: TrainState, test: Score | None) -> MemberResult:
    end = loop.ends[member]
    assert end is not None
    return MemberResult(
        end=end,
        updates=int(glance.update),
        epochs=int(glance.epoch),
        best_update=int(glance.best_update),
        best_epoch=_best_epoch(glance, loop.jobs[member].windows, end),
        train_loss=float(glance.epoch_loss if loop.jobs[member].windows else glance.smooth_loss),
        valid_loss=float(glance.early_stopping.best),
        recent_accuracy=math.nan if glance.recent_accuracy is None else recent_accuracy(glance),
        test=test,
        skipped=int(glance.skipped),
    )


def _best_epoch(glance: TrainState, windows: int, end: str) -> int:
    if int(glance.valid_update):
        return int(glance.best_update) // windows if windows else 0
    return 0 if end == "diverged" else int(glance.epoch)


def worse_half(glances: Sequence[TrainState], ends: Sequence[str | None]) -> list[int]:
    """Successive halving (Jamieson and Talwalkar, 2016), asked after an epoch: the members that stop.

    After epochs 2, 4, 8, ... it is the half of those that run at that epoch with the higher lowest validation loss; of
    an odd number the one in the middle goes on. Those that were stopped at this very epoch are counted again, so that
    the answer is the same where one member comes to it later than the others.

    Args:
      glances: the state of each member.
      ends: how each has ended, None for those that run.
    """
    epoch = max(int(glance.epoch) for glance in glances)
    asked = [m for m, glance in enumerate(glances) if int(glance.epoch) == epoch and int(glance.window) == 0]
    asked = [m for m in asked if ends[m] in (None, "stopped")]
    if epoch < 2 or epoch & (epoch - 1):
        return []
    order = sorted(asked, key=lambda m: float(glances[m].early_stopping.best))
    return order[(len(order) + 1) // 2 :]
