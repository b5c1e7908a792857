"""The one loop: chunks of updates on the devices; progress, logs, samples and checkpoints on the host.

It trains one run, or the members of a population. All who run are at the same update, and the loop is written for that
one number; a member that has fallen behind (its newest checkpoint was damaged) catches up while the others wait.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxrnn.checks import parse_interval
from jaxrnn.devices.hosts import any_process, arrays_of_writer, is_writer, of_writer, training_begins
from jaxrnn.devices.mesh import like
from jaxrnn.errors import NumericError, StorageError
from jaxrnn.random_streams import as_data, as_keys, is_key
from jaxrnn.tasks.protocol import Score
from jaxrnn.terminal.progress import Progress
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.training.callbacks import Callback, call_watched, is_due, next_points
from jaxrnn.training.choice import choose
from jaxrnn.training.chunk import MAX_CHUNK_UPDATES, ChunkMetrics
from jaxrnn.training.divergence import divergence_in_words, mark_ruined
from jaxrnn.training.job import TrainJob
from jaxrnn.training.judgement import is_lost, shown, taken_back
from jaxrnn.training.memory_files import MemoryFiles
from jaxrnn.training.report import Report, mean_of_latest, status_of
from jaxrnn.training.rounds import Rounds
from jaxrnn.training.run_files import RunFiles
from jaxrnn.training.state import TrainState
from jaxrnn.training.trainer import Trainer
from jaxrnn.training.validation import end_of

SECONDS_A_CHUNK, SECONDS_A_CHUNK_OF_MEMBERS = 1.0, 5.0  # so that Ctrl-C is heard
FIRST_CHUNK = 10  # until the pace is known
SAVING_SHARE = 0.05  # of the time at most is spent on checkpoints that are due by time
MAX_FAILED_SAVES, SAMPLE_TEMPERATURE = 3, 1.0


class Loop:
    """Trains jobs of one program to their ends, in their directories.

    Args:
      jobs: one, or the members of a population.
      trainer: of these jobs.
      files: the files of each.
      progress: what a person sees.
      stop: asked between chunks.
      rounds: the updates of the members that were saved together last, and how to note the next; None for a run alone.
      report: called with the loop where a `Report` is due.
      select: `(glances, ends)` gives numbers of members that are stopped after a validation, as by successive halving.
      callbacks: what is called as updates are done, before they are saved; chunks end there.

    Attributes:
      ends: how each has ended, see `end_of`; None while it goes on.
    """

    def __init__(
        self,
        jobs: Sequence[TrainJob],
        trainer: Trainer,
        files: Sequence[RunFiles | MemoryFiles],
        progress: Progress,
        stop: StopRequest,
        *,
        rounds: Rounds | None = None,
        report: Callable[[Loop, Report], None] = lambda loop, report: None,
        select: Callable[[Sequence[TrainState], Sequence[str | None]], list[int]] = lambda glances, ends: [],
        callbacks: Sequence[Callback] = (),
    ):
        self.jobs, self.trainer, self.files, self.progress, self.stop = jobs, trainer, files, progress, stop
        self.rounds, self.report, self.select, self.callbacks = rounds, report, select, callbacks
        self.config, self.alone = jobs[0].config, len(jobs) == 1
        self.sample_every = self.config.sample_every if jobs[0].task.writes else 0
        self.validation_every, self.judgement_every = jobs[0].validation_every, jobs[0].judgement_every
        self.save_updates, self.save_seconds = parse_interval(self.config.checkpoint_every)
        self.totals = np.array([job.updates for job in jobs])
        self.updates = np.zeros(len(jobs), np.int64)
        self.ends: list[str | None] = [None] * len(jobs)
        self.failed_saves, self.seconds_an_update, self.has_warned = 0, 0.0, False

    def begin(self) -> bool:
        """Opens the files, restores what was saved, compiles. False if a run by itself was done before."""
        states = self._restored()
        training_begins(lambda: [files.saved_updates() for files in self.files])
        if self.rounds is None and self.files[0].saved_update >= self.totals[0]:
            self.trainer.hold(states)
            return False
        started = time.perf_counter()
        self.trainer.begin(states)
        self.updates = self.trainer.updates
        if any(job.begun and files.saved_update < 0 for job, files in zip(self.jobs, self.files, strict=True)):
            self._save()  # from here on the source is not needed
        self._note_ends(range(len(self.jobs)))
        for member in np.flatnonzero(self._running()).tolist() if self.judgement_every else ():
            self.trainer.put(member, taken_back(self.trainer.state(member)))
        if any(end is None for end in self.ends):
            self.progress.message(f"compiled in {time.perf_counter() - started:.1f} s")
        return True

    def run(self) -> None:
        """Trains to the ends, or until it is asked to stop, and saves in either case.

        Raises:
          NumericError: if a run alone diverges or its parameters are infinite; it is left as it was saved last.
          StorageError: if saving failed for good.
        """
        last_save, seconds_of_save = time.monotonic(), 0.0
        while self._running().any() and not any_process(self.stop.reason is not None):
            steps = self._next_chunk()
            moved: list[int] = np.flatnonzero(steps).tolist()
            fresh = [member for member in moved if self.updates[member] == 0]
            untrained = {m: jax.tree.map(np.array, self.trainer.state(m).params) for m in fresh if self.sample_every}
            started = time.perf_counter()
            measured = self.trainer.advance(steps)
            elapsed = of_writer(time.perf_counter() - started)
            done = [len(metrics.loss) for metrics in measured]
            self.seconds_an_update = elapsed / max(max(done), 1)
            self.updates = self.updates + done
            self._note_ends(moved)
            sound = [member for member in moved if self.ends[member] != "diverged"]
            due = [member for member in sound if self._is_due(member, self.validation_every)]
            for m in moved:
                self.files[m].rows.add(measured[m], self.ends[m], m in due, self.seconds_an_update)
            self._show(moved, measured)
            # At the end once more, for people and the log only: a run that is trained for longer must not know of it.
            last = [m for m in sound if self.ends[m] and self.validation_every and m not in due]
            scores = self._validate(due, last)
            for m in moved:
                self.files[m].log(scores.get(m), self.ends[m] == "finished")
            self._refuse_divergence(float(measured[moved[0]].loss[-1]) if done[moved[0]] else math.nan)
            if self.judgement_every:
                self._judge(moved)
            for member, params in untrained.items():  # drawn after the first update: its numbers are seen sooner
                self._sample(member, params, 0)
            for member in moved:
                if self.sample_every and (self.updates[member] == 1 or self._is_due(member, self.sample_every)):
                    self._sample(member, self.trainer.state(member).params, int(self.updates[member]))
            for when, call in self.callbacks:
                for update in sorted({int(self.updates[m]) for m in moved if is_due(when, int(self.updates[m]))}):
                    call_watched(call, update, self.trainer)
            if told := [m for m in moved if m in due or self.ends[m] or self._is_due(m, self.jobs[0].windows or 1)]:
                self.report(self, Report(int(self.updates[moved].max()), told, self.seconds_an_update))
            by_time = self.save_seconds and time.monotonic() - last_save >= max(
                self.save_seconds, seconds_of_save / SAVING_SHARE if not self.alone else 0
            )
            by_updates = self.save_updates and any(self._is_due(member, self.save_updates) for member in moved)
            if of_writer(bool(by_time)) or by_updates:
                started = time.monotonic()
                self._save()
                last_save = time.monotonic()
                seconds_of_save = last_save - started
        self._save(final=True)

    def glances(self) -> list[TrainState]:
        """The states of all members without their large parts."""
        return [self.trainer.glance(member) for member in range(len(self.jobs))]

    def close(self) -> None:
        self.progress.close()
        for files in self.files:
            files.close()

    # ---- what comes next ----

    def _restored(self) -> list[TrainState | None]:
        template = self.trainer.template
        states: list[TrainState | None] = []
        for number, files in enumerate(self.files):
            state, warnings = None, list[str]()
            if is_writer():
                newest = None if self.rounds is None else self.rounds.updates.get(number)
                state, warnings = files.begin(template, newest)
                if newest and state is None:
                    warnings = [f"no checkpoint up to update {newest} is there; training starts at update 0"]
            for warning in warnings:
                self.progress.warning(warning if self.alone or not files.path else f"{files.path.name}: {warning}")
            if files.begun_before and self.alone:
                start = "training starts at update 0, since no checkpoint was saved here yet"
                self.progress.message(start if state is None else f"resumed at update {files.saved_update:,}")
            states.append(self._as_writer_has_it(number, state))
        if self.rounds is not None and is_writer():
            self.rounds.note([max(files.saved_update, 0) for files in self.files])
        return states

    def _as_writer_has_it(self, number: int, state: TrainState | None) -> TrainState | None:
        if jax.process_count() == 1 or not of_writer(state is not None):
            return state
        state = state if state is not None else self.trainer.initial_state(number)
        sent = arrays_of_writer(jax.tree.map(np.asarray, as_data(state)))
        self.files[number].saved_update = int(sent.update)
        return as_keys(sent, jax.tree.map(is_key, state))

    def _running(self) -> np.ndarray:
        return np.array([end is None for end in self.ends])

    def _note_ends(self, members: Any) -> None:
        for m in members:
            glance, total = self.trainer.glance(m), int(self.totals[m])
            self.ends[m] = end_of(self.jobs[m].config, self.trainer.settings, glance, total)

    def _next_chunk(self) -> np.ndarray:
        # Updates of each member: those furthest behind go on to the next point at which the host has something to do.
        running = self._running()
        update = int(self.updates[running].min())
        first = running & (self.updates == update)
        ahead = self.updates[running & (self.updates > update)]
        points = next_points(self.callbacks, update)
        ends = [*self.totals[first].tolist(), *ahead.tolist(), *points, update + MAX_CHUNK_UPDATES]
        of_host = self.validation_every, self.judgement_every, self.sample_every, self.save_updates
        for interval in (self.jobs[0].windows, *of_host):
            if interval:
                ends.append(update + interval - update % interval)
        seconds = SECONDS_A_CHUNK if self.alone else SECONDS_A_CHUNK_OF_MEMBERS
        known = update > 1 and self.seconds_an_update > 0
        planned = max(int(seconds / self.seconds_an_update), 1) if known else FIRST_CHUNK
        return np.where(first, 1 if update == 0 else min(min(ends) - update, planned), 0)

    def _is_due(self, member: int, every: int | None) -> bool:
        return bool(every) and self.updates[member] % every == 0

    # ---- at such a point ----

    def _show(self, moved: list[int], measured: list[ChunkMetrics]) -> None:
        if not (mean := mean_of_latest([measured[m] for m in moved])):
            return
        mean["mean_loss"] = math.fsum(self.files[m].rows.shown_loss for m in moved) / len(moved)
        update, total = int(self.updates[moved].max()), int(self.totals[moved].max())
        status = status_of(self.jobs[moved[0]], update, total, mean, self.seconds_an_update)
        if not self.alone:
            status = status._replace(numbers=f"{int(self._running().sum())} of {len(self.jobs)} run  {status.numbers}")
        self.progress.show(status, update == 1 or update == total)

    def _refuse_divergence(self, latest_loss: float) -> None:
        if self.alone and self.ends[0] == "diverged":
            raise NumericError(divergence_in_words(self.trainer.state(), latest_loss, self.files[0].saved_updates()))

    def _validate(self, due: list[int], last: list[int]) -> dict[int, Score]:
        scores = dict(zip(due, self.trainer.validate(due), strict=True)) if due else {}
        scores |= dict(zip(last, self.trainer.score(last), strict=True)) if last else {}
        for member, score in scores.items():
            update, windows = int(self.updates[member]), self.jobs[member].windows
            at = f"epoch {update // windows}" if windows and update % windows == 0 else f"update {update:,}"
            if self.alone:
                beside = f"; for the log only, it counts every {self.validation_every:,} updates" * (member in last)
                self.progress.message(f"{at}: {score.line}{beside}")
                self._warn_once(is_lost(self.jobs[0].task.objective, score.loss, self.files[0].rows.shown_loss))
        if not due:
            return scores
        self._note_ends(due)
        known = {} if self.rounds is None else self.rounds.stopped
        again = {member for member in due if known.get(member) == self.updates[member]}
        for member in again.union(self.select(self.glances(), self.ends)):
            if self.ends[member] is None:
                state = self.trainer.state(member)
                self.trainer.put(member, state._replace(stopped=like(True, state.stopped)))
                self._note_ends([member])
        return scores

    def _judge(self, moved: list[int]) -> None:
        chosen = [m for m in moved if self.ends[m] or self._is_due(m, self.judgement_every)]
        choices = choose(self.trainer, chosen, [not self._is_due(m, self.judgement_every) for m in chosen])
        self._warn_once(choices[0].told if self.alone and choices else None)

    def _warn_once(self, said: str | None) -> None:
        if said and not self.has_warned:
            self.has_warned = True
            self.progress.warning(said)

    def _sample(self, member: int, params: Any, update: int) -> None:
        self.trainer.state(member)  # its parts lie on all processes, which must fetch them together
        if is_writer():
            length, split = self.config.sample_length, (self.trainer.graphdef, params)
            text = self.trainer.write(member, length, SAMPLE_TEMPERATURE, split=split, update=update)
            self.files[member].add_sample(update, SAMPLE_TEMPERATURE, text)

    def _save(self, final: bool = False) -> None:
        wanted = [m for m, files in enumerate(self.files) if files.saved_update != self.updates[m]]
        ruined = mark_ruined(self.trainer, wanted, self.files)  # what they had before stays saved
        self._note_ends(ruined)
        try:
            for member in [m for m in wanted if m not in ruined]:
                keep = None if self.rounds is None else self.rounds.updates.get(member)
                self.files[member].save(shown(self.trainer.state(member)), keep)
            if self.rounds is not None and wanted and is_writer():
                stopped = [member for member, end in enumerate(self.ends) if end == "stopped"]
                self.rounds.note(self.updates.tolist(), stopped)
        except (StorageError, OSError) as error:
            self.failed_saves += 1
            if final or self.failed_saves >= MAX_FAILED_SAVES:
                raise StorageError(str(error)) from error
            left = MAX_FAILED_SAVES - self.failed_saves
            self.progress.warning(f"{error}; training goes on, {left} more failures stop it")
            return
        self.failed_saves = 0
