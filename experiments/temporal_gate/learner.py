"""What the temporal gate's commands train: one network a seed, with its accuracy and its gates along the way."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.temporal_gate.tasks import TimedClassifier, TimedTask
from experiments.temporal_gate.units import Curve, Units
from jaxrnn import Trainer, named_optimizer
from jaxrnn.errors import NumericError
from jaxrnn.models import model_with
from jaxrnn.random_streams import STREAM_VALIDATION, stream_key
from jaxrnn.training import TrainState, initial_train_state

INIT = jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
VALIDATION_ROWS, SENSITIVITY_ROWS = 1000, 200
GATED = "temporal-gate-lstm"


@dataclass(frozen=True)
class Size:
    """What the compared networks share.

    Attributes:
      hidden: H.
      batch_size: B.
      learning_rate: of Adam, with the gradient's norm clipped to 1.
    """

    hidden: int
    batch_size: int
    learning_rate: float = 5e-3


class Learner:
    """A network that learns a task; `start` makes a fresh one of another seed for the same compiled programs.

    Args:
      task: what is learned.
      cell: a key of `jaxrnn.cells.CELLS`.
      options: the cell's own.
      size: what the compared networks share.
    """

    def __init__(self, task: TimedTask, cell: str, options: Mapping[str, Any], size: Size):
        task = dataclasses.replace(task, batch_size=size.batch_size)
        self.task, self.cell, self.options, self.size = task, cell, options, size
        self.optimizer = named_optimizer("adam", size.learning_rate, clip_global_norm=1.0)
        # All of a task that a trainer asks for.
        self.trainer = Trainer(self._model, task, self.optimizer, updates=1, devices="1")  # type: ignore[arg-type]
        self.graphdef = self.trainer.graphdef
        self.accuracy_of, self.use_of = jax.jit(self._accuracy), jax.jit(self._use)
        self.sensitivity_of = jax.jit(self._sensitivity)
        self.trainer.begin([self._fresh(0)])

    def _model(self, rngs: nnx.Rngs) -> TimedClassifier:
        task = self.task
        return TimedClassifier(
            task.in_features,
            task.signal.classes,
            self.size.hidden,
            cell=self.cell,
            cell_options=self.options,
            kernel_init=INIT,
            rngs=rngs,
        )

    def _fresh(self, seed: int) -> TrainState:
        model = self._model(nnx.Rngs(seed))
        values = self.trainer.jobs[0].values
        return initial_train_state(model, self.optimizer, values, self.size.batch_size, seed, passes_carry=False)

    def _accuracy(self, params: Any, key: jax.Array) -> jax.Array:
        inputs, targets = self.task.examples(key, jnp.arange(VALIDATION_ROWS))
        model = model_with(self.graphdef, params)
        outputs, _ = model(inputs, model.initial_carry(VALIDATION_ROWS))
        return self.task.correct(outputs, targets).mean()

    def _use(self, params: Any, key: jax.Array) -> jax.Array:
        (features, times), targets = self.task.examples(key, jnp.arange(VALIDATION_ROWS))
        model = model_with(self.graphdef, params)
        h, _ = model.stack(features, model.initial_carry(VALIDATION_ROWS), times=times)
        of_class = jax.nn.one_hot(targets[0], self.task.signal.classes)
        means = of_class.T @ h[-1] / jnp.clip(of_class.sum(axis=0), 1)[:, None]
        use = means.std(axis=0) * jnp.linalg.norm(params["W_y"], axis=1)
        return use / use.sum()

    def _sensitivity(self, params: Any, key: jax.Array) -> jax.Array:
        (features, times), targets = self.task.examples(key, jnp.arange(SENSITIVITY_ROWS))
        model = model_with(self.graphdef, params)

        def of_true_class(features: jax.Array) -> jax.Array:
            logits, _ = model((features, times), model.initial_carry(SENSITIVITY_ROWS))
            return jnp.take_along_axis(logits, targets[:, :, None], axis=2).sum()

        return jnp.abs(jax.grad(of_true_class)(features)[:, :, 0]).mean(axis=1)

    @property
    def state(self) -> TrainState:
        """The state as it is now; given away at the next `advance`."""
        return self.trainer.state()

    def start(self, seed: int) -> None:
        """A fresh network, for the same compiled program."""
        self.trainer.put(0, self._fresh(seed))

    def advance(self, updates: int) -> float:
        """Trains on; the loss of the last update.

        Raises:
          NumericError: if it has diverged.
        """
        (metrics,) = self.trainer.advance(updates)
        if len(metrics.loss) < updates:
            raise NumericError(f"training diverged at update {self.trainer.updates[0]:,}; lower --learning-rate")
        return float(metrics.loss[-1])

    def accuracy(self) -> float:
        """Share of right answers on fresh sequences, the same at each call."""
        return float(self._measured(self.accuracy_of))

    def units(self) -> Units:
        """The gates as they are now."""
        cell = model_with(self.graphdef, self.state.params).stack.layers[0]
        return Units(*(np.asarray(part, np.float64) for part in (*cell.timing(), self._measured(self.use_of))))

    def sensitivity(self) -> np.ndarray:
        """How much the answer depends on the value at each step, (T,): the mean size of d logit_y / d value_t."""
        return np.asarray(self._measured(self.sensitivity_of), np.float64)

    def _measured(self, measure: Callable[[Any, jax.Array], jax.Array]) -> jax.Array:
        state = self.state
        return measure(state.params, stream_key(state.seed, STREAM_VALIDATION))


def learn(learner: Learner, seeds: int, updates: int, every: int, name: str) -> Curve:
    """Trains one network a seed, one after another, with a line of progress each."""
    totals = [*range(0, updates, every), updates]
    accuracy, before, after, sensitivity = [], [], [], []
    for seed in range(seeds):
        started = time.monotonic()
        learner.start(seed)
        if learner.cell == GATED:
            before.append(learner.units())
        found = [learner.accuracy()]
        for last, total in itertools.pairwise(totals):
            learner.advance(total - last)
            found.append(learner.accuracy())
        if learner.cell == GATED:
            after.append(learner.units())
            sensitivity.append(learner.sensitivity())
        accuracy.append(found)
        seconds = time.monotonic() - started
        print(f"{name}, seed {seed}: accuracy {found[-1]:.3f} after {updates:,} updates, {seconds:.0f} s", flush=True)
    return Curve(np.array(totals), np.array(accuracy), before, after, sensitivity)
