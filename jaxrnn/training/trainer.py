"""A model, or several members of one structure, trained in memory: no files, no clock, nothing printed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxrnn.checks import as_count, check_choice
from jaxrnn.devices.hosts import of_writer, on_this_host
from jaxrnn.devices.memory import free_memory
from jaxrnn.devices.mesh import on_first_device
from jaxrnn.devices.numerics import numerics
from jaxrnn.engines.platforms import platform
from jaxrnn.models.structure import model_with
from jaxrnn.random_streams import STREAM_SAMPLES, STREAM_VALIDATION, run_key, run_key_from_data, stream_key
from jaxrnn.tasks.arrays import Arrays, Prediction, predict, refuse_other_arrays
from jaxrnn.tasks.protocol import FRESH, Score, Task
from jaxrnn.training.blocks import feed_of, most_updates
from jaxrnn.training.callbacks import refuse_change
from jaxrnn.training.chunk import MAX_CHUNK_UPDATES, ChunkMetrics, train_chunk_of
from jaxrnn.training.job import TrainJob, model_structure, settings_of, start_state, template_of
from jaxrnn.training.judgement import params_of_state, split_of_state
from jaxrnn.training.members import Alone, Members, place_streams
from jaxrnn.training.parts import jobs_of_parts, with_injected
from jaxrnn.training.run_devices import layout_of
from jaxrnn.training.state import TrainState
from jaxrnn.training.validation import refuse_none, with_score
from jaxrnn.training.values import refuse_other_structures


class Trainer:
    """Trains a model, or M of one structure as one compiled program, in memory: no files, no clock.

    Args:
      model, task, optimizer, updates, epochs, seed, members, validation, init_from, settings: see `jaxrnn.fit`.

    Example:
      >>> import numpy as np
      >>> import optax
      >>> from jaxrnn.models.sequence_classifier import SequenceClassifier
      >>> from jaxrnn.tasks.arrays import Arrays
      >>> rng = np.random.default_rng(0)
      >>> task = Arrays(rng.normal(size=(64, 5, 3)), rng.integers(0, 2, 64), batch_size=8)
      >>> trainer = Trainer(lambda rngs: SequenceClassifier(3, 2, 4, rngs=rngs), task, optax.adam(1e-3), updates=20)
      >>> trainer.advance(20)[0].loss.shape, int(trainer.updates[0])
      ((20,), 20)
    """

    def __init__(
        self,
        model: Any,
        task: Task,
        optimizer: optax.GradientTransformation,
        *,
        updates: int | None = None,
        epochs: int | None = None,
        seed: int = 0,
        members: Sequence[Mapping[str, Any]] | None = None,
        validation: Task | None = None,
        init_from: Any = None,
        **settings: Any,
    ):
        length = {"updates": updates, "epochs": epochs}
        self._set(jobs_of_parts(model, task, optimizer, length, seed, members, validation, init_from, settings), None)

    @classmethod
    def of(cls, jobs: Sequence[TrainJob], devices: int | None = None) -> Trainer:
        """The trainer of one job, or of several that fit into one program.

        Args:
          jobs: what is trained.
          devices: how many devices share the work, as a run that goes on did; chosen from the settings if None.

        Raises:
          ConfigurationError: if the devices cannot share the batch, or the jobs do not fit into one program.
        """
        trainer = cls.__new__(cls)
        trainer._set(jobs, devices)
        return trainer

    def _set(self, jobs: Sequence[TrainJob], devices: int | None) -> None:
        configs = [job.config for job in jobs]
        refuse_other_structures(configs)
        self.jobs, self.layout = list(jobs), layout_of(configs, devices)
        self._tasks = list({id(job.task): job.task for job in jobs}.values())  # one a fold
        for task in self._tasks:  # on all processes alike
            task.fit_into(of_writer(0 if task.block else free_memory(self.layout.share) // len(self._tasks)))
        scheduled = [job for job in jobs if job.config.optimizer_settings().scheduled]  # others have factors of 1
        self.settings = settings_of((scheduled or jobs)[0], self.layout.share)
        self.batch_size, self.numbers = jobs[0].task.batch_size, (configs[0].dtype, configs[0].precision)
        self.graphdef = model_structure(jobs[0].make_model, configs[0].dtype)[0]
        self._states: Alone | Members | None = None
        self.is_watched = False  # by a callback
        self._held: list[TrainState | None] = [None] * len(self.jobs)

    @property
    def updates(self) -> np.ndarray:
        """Updates done by each member, (M,)."""
        return np.array([int(self.glance(member).update) for member in range(len(self.jobs))])

    def job(self, member: int = 0) -> TrainJob:
        """What a member trains; each method that is given a member's number refuses one that there is not."""
        return self.jobs[as_count("member", member, 0, len(self.jobs) - 1)]

    def initial_state(self, member: int = 0) -> TrainState:
        """A state before the first update, compiled as one program."""
        job = self.job(member)
        with numerics(*self.numbers):
            # Arrays that are there need no program.
            start = self._initial if job.given is None else functools.partial(start_state, job)
            return with_injected(start(np.uint32(job.config.seed), job.values), job.injected)

    @functools.cached_property
    def template(self) -> TrainState:
        """Shapes and dtypes of a state, without making an array."""
        return template_of(self.jobs[0])

    def begin(self, states: Sequence[TrainState | None] | None = None) -> None:
        """Compiles the program and puts the states in place; None stands for one before its first update."""
        refuse_change(self)
        given = list(states) if states is not None else self._held
        with numerics(*self.numbers):
            chunk, tasks = train_chunk_of(self.graphdef, self.settings), self._tasks
            split = tasks[0].objective.split
            fed = {"split": split, "feed": feed_of(tasks, functools.partial(place_streams, self.layout, split))}
            if len(self.jobs) == 1 and jax.process_count() == 1:
                state = given[0]
                start = self.initial_state if state is None else lambda: state
                streams = tasks[0].streams(0 if state is None else int(state.update))
                self._states = Alone(chunk, self.layout, streams, self.template, start, **fed)
                return
            folds = [next(i for i, task in enumerate(tasks) if task is job.task) for job in self.jobs]
            started = [self.initial_state(k) if state is None else state for k, state in enumerate(given)]
            streams = [task.streams(min(int(state.update) for state in started)) for task in tasks]
            self._states = Members(chunk, self.layout, streams, folds, started, **fed)

    def hold(self, states: Sequence[TrainState | None]) -> None:
        """Keeps states to look at, or to go on from; the program is compiled when it is first needed."""
        self._held = list(states)

    def advance(self, updates: int | np.ndarray) -> list[ChunkMetrics]:
        """So many updates of each member, chunk by chunk; fewer where one is solved or has diverged on the way.

        Args:
          updates: one number for all, or one a member, (M,).

        Returns:
          What each update of each member measured, (updates,) each.
        """
        left = np.array([as_count("updates", n, 0) for n in np.broadcast_to(updates, len(self.jobs)).tolist()])
        parts: list[list[ChunkMetrics]] = []
        with numerics(*self.numbers):
            while (left > 0).any():
                update = int(self.updates[left > 0].min()) if self._tasks[0].block else 0
                now = np.minimum(left, min(most_updates(self._tasks[0], update), MAX_CHUNK_UPDATES))
                parts.append(self._to_change.advance(now))
                left = np.where([len(part.loss) < n for part, n in zip(parts[-1], now, strict=True)], 0, left - now)
        return [jax.tree.map(lambda *chunks: np.concatenate(chunks), *member) for member in zip(*parts, strict=True)]

    def state(self, member: int = 0) -> TrainState:
        """The state of a member. It is given away at the next `advance`: copy what is to be kept."""
        self.job(member)
        if self._states is None and (held := self._held[member]) is not None:
            return held
        with numerics(*self.numbers):
            return self._running.state(member)

    def glance(self, member: int = 0) -> TrainState:
        """The state of a member without parameters, carry and key, as NumPy arrays: cheap to look at after a call."""
        self.job(member)
        with numerics(*self.numbers):
            return self._running.glance(member)

    def put(self, member: int, state: TrainState) -> None:
        """Replaces the state of a member."""
        self.job(member)
        with numerics(*self.numbers):
            self._to_change.put(member, state)

    def params(self, member: int = 0, checkpoint: str = "latest") -> dict:
        """A copy of the parameters: "latest", "best", or the "candidate" for it, see `TrainState`."""
        state = self.state(member)
        with numerics(*self.numbers):
            return jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf)), params_of_state(state, checkpoint))

    def model(self, member: int = 0, checkpoint: str = "best") -> Any:
        """A copy of the trained model, a Flax module, to be called, looked into or kept; see `params`."""
        with numerics(*self.numbers):
            return model_with(*self.split(member, checkpoint))

    def split(self, member: int = 0, checkpoint: str = "best") -> tuple[nnx.GraphDef, dict]:
        """The structure and the leaves of `model`: its `params`, and the carry that the best may start from."""
        state = self.state(member)
        with numerics(*self.numbers):
            graphdef, leaves = split_of_state(self.graphdef, state, checkpoint)
            return graphdef, jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf)), leaves)

    def score(self, members: Sequence[int], part: str = "validation", checkpoint: str = "latest") -> list[Score]:
        """Scores members on data that is not trained on; those of a population side by side on the devices.

        Args:
          members, checkpoint: which, and which of their parameters.
          part: "validation", where there is none what is trained on; "test" or `FRESH`.
        """
        check_choice("part", part, ("validation", "test", FRESH))
        states = [self.state(member) for member in members]

        def one(place: int) -> Score:
            task, state = self.jobs[members[place]].scored_on(part), states[place]
            device = jax.local_devices()[place % min(self.layout.devices, jax.local_device_count())]
            with numerics(*self.numbers), jax.default_device(device):
                graphdef, params = split_of_state(self.graphdef, state, checkpoint)
                seed, params = on_this_host((jax.random.key_data(state.seed), params))
                key = stream_key(run_key_from_data(jnp.asarray(seed)), STREAM_VALIDATION, int(state.update))
                return task.score(graphdef, jax.device_put(params, device), key, part)

        if len(members) == 1:
            return [one(0)]
        with ThreadPoolExecutor(max_workers=self.layout.devices) as threads:
            return list(threads.map(one, range(len(members))))

    def predict(self, inputs: Any, lengths: Any = None, *, member: int = 0, checkpoint: str = "best") -> Prediction:
        """What the model makes of sequences: classes with their probabilities, or numbers.

        Args:
          inputs: features (N, T, F) or ids (N, T), as `Arrays` takes them.
          lengths: steps of each, (N,); all T if None.
          member, checkpoint: which, and of it "best", see `best_params` of `TrainState`, or "latest".

        Raises:
          ConfigurationError: if the task has no answers to predict.
        """
        with numerics(*self.numbers):
            return predict(self.job(member).task.objective, *self.split(member, checkpoint), inputs, lengths)

    def evaluate(self, task: Arrays, *, member: int = 0, checkpoint: str = "best") -> dict[str, float]:
        """Scores a member on other arrays: loss, accuracy, and the task's metrics, by name."""
        refuse_other_arrays("evaluate", self.job(member).task.objective, task)
        with numerics(*self.numbers):
            return task.evaluate(*self.split(member, checkpoint))

    def validate(self, members: Sequence[int]) -> list[Score]:
        """Scores members on data that is held out; their states know it, and keep the parameters that did best."""
        refuse_none([self.job(member).validates for member in members])
        states, scores = self._to_change, self.score(members)
        with numerics(*self.numbers):
            for member, score in zip(members, scores, strict=True):
                states.put(member, with_score(states.state(member), score, self.jobs[member].config.plateau_patience))
        return scores

    def write(
        self,
        member: int,
        length: int,
        temperature: float,
        *,
        prime: str = "",
        split: tuple[nnx.GraphDef, Any] | None = None,
        update: int | None = None,
    ) -> str:
        """A sample of text.

        Args:
          member, length: which, and how many symbols.
          temperature: 0 is greedy.
          prime: what the model reads first.
          split: another model than the latest.
          update: the number that draws the sample, beside the seed; updates done if None.
        """
        job = self.job(member)
        # A model that is given needs no state: one process may write while the others do not fetch it.
        number = int(self.glance(member).update) if update is None else update
        graphdef, leaves = split or (self.graphdef, params_of_state(self.state(member), "latest"))
        with numerics(*self.numbers):
            key = stream_key(run_key(job.config.seed), STREAM_SAMPLES, number)
            return job.task.write(graphdef, on_first_device(leaves), key, length, temperature, prime)

    @property
    def _running(self) -> Alone | Members:
        if self._states is None:
            self.begin()
        assert self._states is not None
        return self._states

    @property
    def _to_change(self) -> Alone | Members:
        refuse_change(self)
        return self._running

    @functools.cached_property
    def _initial(self) -> Any:
        return jax.jit(functools.partial(start_state, self.jobs[0]), compiler_options=platform().start_options)
