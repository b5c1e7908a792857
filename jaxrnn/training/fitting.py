"""`fit`: any model, task and optimizer, trained with every promise that the built-in ones have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optax

from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.run_directory import RunDirectory, holds_something_else
from jaxrnn.tasks.protocol import Task
from jaxrnn.terminal.progress import Progress
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.training.callbacks import Callback, checked_callbacks
from jaxrnn.training.member_runs import opened, results_of
from jaxrnn.training.parts import jobs_of_parts
from jaxrnn.training.start import FitResult, result_of, train_alone


def fit(
    model: Any,
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    run: str | Path | None = None,
    updates: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    members: Sequence[Mapping[str, Any]] | None = None,
    validation: Task | None = None,
    callbacks: Sequence[Callback] = (),
    init_from: Any = None,
    progress: Progress | None = None,
    **settings: Any,
) -> FitResult:
    """Trains a model on a task, as one compiled program; with `run`, exact to the last bit over every restart.

    The same call again goes on where it was stopped or killed. Of parts that no settings name a run keeps names, shapes
    and digests of what they compute; other parts are refused. Nothing is ever imported by a name in a file.

    Args:
      model: an nnx module called as `(inputs, carry) -> (outputs, carry)`, time-major, with `initial_carry(B)`; or a
        function `nnx.Rngs -> module`, which draws it from the seed. Its call is given `lengths`, `resets`, `dropout`,
        `clip_backward` and `engine` if it takes them. It holds no random state; variables that are no parameters, such
        as running means, are kept too. A table that it reads at ids of the task has a row for each, or it is refused;
        JAX would take others, as it does where the model computes an index of them that is too large.
      task: `Text`, `Sequences`, `Arrays` or `Stream`.
      optimizer: any Optax transformation, or `jaxrnn.named_optimizer`. It is told the loss as `value`, if it takes one.
      run: the run directory; in memory if None.
      updates, epochs: the length of training, one of them.
      seed: of everything random.
      members: trains so many at once, each in `run`/members/K. What each has of its own: `seed`, rates and limits of a
        named optimizer, dropout rates, or what `optax.inject_hyperparams` names.
      validation: another task, scored after each epoch or `validation_every` updates; its lowest loss chooses the best
        parameters.
      callbacks: pairs (when, call): `call(update, trainer)` after every `when` updates, or after each of several
        numbers. It looks, and what changes the trainer is refused. A restart calls again for what was not saved.
      init_from: a model to begin with: an opened run, a model in one file, or a trainer, of which a `LanguageModel`
        takes what belongs to a symbol by the symbol, see `jaxrnn.models.carrying_over`; or a tree of parameters, taken
        as they are. Each member begins with the same. With `run`, another run or file in a later call is refused.
      progress: what shows the progress; by default a bar or lines on stdout.
      settings: others of `TrainConfig`: log_every, checkpoint_every, sample_every, validation_every, early_stopping,
        patience, stop_at_accuracy, accuracy, loss_reduction ("mean" here), dropout rates and dropout_mask,
        clip_backward, engine, devices, dtype, precision, deterministic.

    Raises:
      JaxrnnError: one of its kinds, for each fault that the user can mend, such as NumericError where it diverges. What
        was saved stays; in memory `error.rows` has what was measured until then, as `FitResult.rows`.

    Example:
      import jaxrnn, numpy as np, optax

      task = jaxrnn.Arrays(inputs, classes, lengths=lengths, batch_size=64)
      result = jaxrnn.fit(lambda rngs: jaxrnn.SequenceClassifier(F, C, 64, cell="gru", rngs=rngs), task,
                          optax.adam(1e-3), epochs=10, run="runs/mine")
      print(result.trainer.predict(others).values)
    """
    callbacks = checked_callbacks(callbacks)
    if not isinstance(run, str | Path | None) or not (progress is None or hasattr(progress, "message")):
        raise ConfigurationError(
            "run expects the path of a directory, progress a jaxrnn.terminal.Progress, such as Progress(quiet=True); "
            f"got {run!r:.40} and {progress!r:.40}; give these, or leave them out"
        )
    length = {"updates": updates, "epochs": epochs}
    jobs = jobs_of_parts(model, task, optimizer, length, seed, members, validation, init_from, settings)
    if run is not None and task.fed and not task.goes_on:
        raise ConfigurationError(
            "a run that can go on expects an iterator with get_state() and set_state(state), or a function of the "
            "update; give one of them, or leave `run` out"
        )
    if run is not None:
        _refuse_state_that_cannot_be_saved(task)
    progress = progress or Progress()
    with StopRequest() as stop:
        if members is None:
            directory = None if run is None else RunDirectory(run)
            if directory is not None and directory.exists():
                directory.refuse_other_settings(jobs[0].config)
            return train_alone(jobs[0], directory, progress, stop, callbacks)
        root = None if run is None else Path(run)
        if root is not None and RunDirectory(root).exists():
            raise holds_something_else(root, "a run alone", "members")
        directories = [] if root is None else [root / "members" / str(number) for number in range(len(jobs))]
        rounds = None if root is None else root / "rounds.json"
        if jobs[0].begun:
            progress.message(jobs[0].begun.line)
        with opened(jobs, None, directories, rounds, progress, stop, callbacks=callbacks) as loop:
            loop.begin()
            loop.run()
            if task.tests and None not in loop.ends:
                results_of(loop)
            return result_of(loop)


def _refuse_state_that_cannot_be_saved(task: Task) -> None:
    position = task.position(0)
    try:
        json.dumps(position)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"get_state() has to return what JSON can hold, for the checkpoints; {error}"
        ) from None
