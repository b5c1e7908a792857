"""A model, or several members of one structure, trained in memory: no files, no clock, nothing printed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.devices.hosts import on_this_host
from jaxrnn.devices.mesh import Layout, on_first_device
from jaxrnn.devices.numerics import numerics
from jaxrnn.random_streams import STREAM_INIT, STREAM_SAMPLES, STREAM_VALIDATION, run_key, run_key_from_data, stream_key
from jaxrnn.tasks.protocol import FRESH, Score, Task
from jaxrnn.training.judgement import judged, shown, with_candidate
from jaxrnn.training.members import Alone, Members
from jaxrnn.training.state import TrainState, initial_train_state
from jaxrnn.training.step import MAX_CHUNK_UPDATES, ChunkMetrics, StepSettings, train_chunk_of
from jaxrnn.training.validation import with_score
from jaxrnn.training.values import TracedValues

CHECKPOINTS = ("best", "latest", "candidate")
ALONE = Layout()


class Member(NamedTuple):
    """What one member of a population has of its own.

    Attributes:
      task: what it learns; all members have one objective, but may read other data, such as folds of one text.
      values: learning rate, limits, dropout rates.
      seed: seed of everything random.
    """

    task: Task
    values: TracedValues
    seed: int


class Trainer:
    """Trains one model, or M as one compiled program, in memory.

    Args:
      make_model: `rngs -> module`, called as `(inputs, carry, *, engine, ...) -> (outputs, carry)`.
      settings: what is fixed when the step is compiled; `settings.devices` is the layout's `share`.
      members: what each has of its own; one for a run alone.
      batch_size: B.
      dtype: "float32" or "float64".
      layout: how the program lies on devices.

    Example:
      >>> from jaxrnn.config import TrainConfig
      >>> from jaxrnn.data.corpus import corpus_from_text
      >>> from jaxrnn.training.job import make_job, make_trainer
      >>> trainer = make_trainer([make_job(TrainConfig(hidden=8), corpus_from_text("abab" * 50))])
      >>> metrics = trainer.advance(20)[0]
      >>> metrics.loss.shape, int(trainer.updates[0])
      ((20,), 20)
    """

    def __init__(
        self,
        make_model: Callable[[nnx.Rngs], Any],
        settings: StepSettings,
        members: Sequence[Member],
        batch_size: int,
        *,
        dtype: str = "float32",
        layout: Layout = ALONE,
    ):
        self.make_model, self.settings, self.members = make_model, settings, list(members)
        self.batch_size, self.dtype, self.layout = batch_size, dtype, layout
        with numerics(dtype):
            self.graphdef = nnx.split(nnx.eval_shape(lambda: make_model(nnx.Rngs(0))))[0]
        self._states: Alone | Members | None = None

    @property
    def updates(self) -> np.ndarray:
        """Updates done by each member, (M,)."""
        return np.array([int(self.glance(member).update) for member in range(len(self.members))])

    def initial_state(self, member: int = 0) -> TrainState:
        """A state before the first update, compiled as one program."""
        with numerics(self.dtype):
            of = self.members[member]
            return self._initial(np.uint32(of.seed), of.values)

    def template(self) -> TrainState:
        """Shapes and dtypes of a state, without making an array."""
        with numerics(self.dtype):
            of = self.members[0]
            return jax.eval_shape(self._start, np.uint32(of.seed), of.values)

    def begin(self, states: Sequence[TrainState | None] | None = None) -> None:
        """Compiles the program and puts the states in place; None stands for one before its first update."""
        given = list(states) if states is not None else [None] * len(self.members)
        with numerics(self.dtype):
            chunk, tasks = train_chunk_of(self.graphdef, self.settings), [member.task for member in self.members]
            if len(self.members) == 1 and jax.process_count() == 1:
                state, rows = given[0], tasks[0].streams(self.batch_size)
                start = self.initial_state if state is None else lambda: state
                self._states = Alone(chunk, self.layout, rows, self.template(), start)
                return
            distinct = list({id(task): task for task in tasks}.values())
            folds = [next(i for i, task in enumerate(distinct) if task is of) for of in tasks]
            started = [self.initial_state(k) if state is None else state for k, state in enumerate(given)]
            keyed = [state._replace(seed=jax.random.key_data(state.seed)) for state in started]
            stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *keyed)
            streams = [task.streams(self.batch_size) for task in distinct]
            self._states = Members(chunk, self.layout, streams, folds, stacked)

    def advance(self, updates: int | np.ndarray) -> list[ChunkMetrics]:
        """So many updates of each member, chunk by chunk; fewer where one is solved or has diverged on the way.

        Args:
          updates: one number for all, or one a member, (M,).

        Returns:
          What each update of each member measured, (updates,) each.
        """
        left = np.broadcast_to(np.asarray(updates, np.int64), (len(self.members),)).copy()
        parts: list[list[ChunkMetrics]] = []
        with numerics(self.dtype):
            while (left > 0).any():
                now = np.minimum(left, MAX_CHUNK_UPDATES)
                parts.append(self._running.advance(now))
                left = np.where([len(part.loss) < n for part, n in zip(parts[-1], now, strict=True)], 0, left - now)
        if len(parts) == 1:
            return parts[0]
        return [jax.tree.map(lambda *chunks: np.concatenate(chunks), *member) for member in zip(*parts, strict=True)]

    def state(self, member: int = 0) -> TrainState:
        """The state of a member. It is given away at the next `advance`: copy what is to be kept."""
        with numerics(self.dtype):
            return self._running.state(member)

    def glance(self, member: int = 0) -> TrainState:
        """The state of a member without parameters, carry and key, as NumPy arrays: cheap to look at after a call."""
        with numerics(self.dtype):
            return self._running.glance(member)

    def put(self, member: int, state: TrainState) -> None:
        """Replaces the state of a member."""
        with numerics(self.dtype):
            self._running.put(member, state)

    def params(self, member: int = 0, checkpoint: str = "latest") -> dict:
        """A copy of the parameters: "latest", "best", or the "candidate" for it, see `TrainState`."""
        state = self.state(member)
        with numerics(self.dtype):
            return jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf)), self._params(state, checkpoint))

    def score(self, members: Sequence[int], part: str = "validation", checkpoint: str = "latest") -> list[Score]:
        """Scores members on data that is not trained on; those of a population side by side on the devices.

        Args:
          members: which.
          part: "validation", "test" or `FRESH`.
          checkpoint: which parameters.
        """
        states = [self.state(member) for member in members]

        def one(place: int) -> Score:
            task, state = self.members[members[place]].task, states[place]
            device = jax.local_devices()[place % min(self.layout.devices, jax.local_device_count())]
            with numerics(self.dtype), jax.default_device(device):
                seed, params = jax.random.key_data(state.seed), self._params(state, checkpoint)
                seed, params = on_this_host((seed, params))
                key = stream_key(run_key_from_data(jnp.asarray(seed)), STREAM_VALIDATION, int(state.update))
                return task.score(self.graphdef, jax.device_put(params, device), key, self.batch_size, part)

        if len(members) == 1:
            return [one(0)]
        with ThreadPoolExecutor(max_workers=self.layout.devices) as threads:
            return list(threads.map(one, range(len(members))))

    def validate(self, members: Sequence[int]) -> list[Score]:
        """Scores members on the validation data; their states know it, and keep the parameters that did best."""
        scores = self.score(members)
        with numerics(self.dtype):
            for member, score in zip(members, scores, strict=True):
                self._running.put(member, with_score(self._running.state(member), score))
        return scores

    def judge(self, members: Sequence[int], at_end: Sequence[bool]) -> list[Score]:
        """Scores the candidates of members from fresh starts; their states keep those that do best, see `judged`."""
        scores = self.score(members, FRESH, "candidate")
        with numerics(self.dtype):
            for member, score, ends in zip(members, scores, at_end, strict=True):
                self._running.put(member, judged(self._running.state(member), score.loss, ends))
        return scores

    def write(
        self,
        member: int,
        length: int,
        temperature: float,
        *,
        prime: str = "",
        params: Any = None,
        update: int | None = None,
    ) -> str:
        """A sample of text.

        Args:
          member: which.
          length: in symbols.
          temperature: 0 is greedy.
          prime: what the model reads first.
          params: others than the latest.
          update: the number that draws the sample, beside the seed; updates done if None.
        """
        # Parameters that are given need no state: one process may write while the others do not fetch it.
        number = int(self.glance(member).update) if update is None else update
        chosen = self.state(member).params if params is None else params
        with numerics(self.dtype):
            key = stream_key(run_key(self.members[member].seed), STREAM_SAMPLES, number)
            chosen = on_first_device(chosen)
            return self.members[member].task.write(self.graphdef, chosen, key, length, temperature, prime)

    @property
    def _running(self) -> Alone | Members:
        if self._states is None:
            self.begin()
        assert self._states is not None
        return self._states

    @functools.cached_property
    def _initial(self) -> Any:
        return jax.jit(self._start)

    def _start(self, seed: jax.Array, values: TracedValues) -> TrainState:
        return start_state(self.make_model, self.settings, self.batch_size, seed, values)

    def _params(self, state: TrainState, checkpoint: str) -> Any:
        if checkpoint not in CHECKPOINTS:
            raise ValueError(f"parameters are {' or '.join(CHECKPOINTS)}; got {checkpoint!r}")
        if checkpoint == "candidate":
            return state.candidate.params
        return shown(state).best_params if checkpoint == "best" else state.params


def start_state(
    make_model: Callable[[nnx.Rngs], Any],
    settings: StepSettings,
    batch_size: int,
    seed: int | jax.Array,
    values: TracedValues,
) -> TrainState:
    """The state before the first update: a model drawn from the seed, and nothing learned."""
    model = make_model(nnx.Rngs(params=stream_key(run_key(seed), STREAM_INIT)))
    state = initial_train_state(
        model, settings.optimizer, values, batch_size, seed, settings.objective.passes_carry, settings.accuracy
    )
    return with_candidate(state) if settings.judges else state
