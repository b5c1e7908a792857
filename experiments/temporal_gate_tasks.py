"""What `temporal_gate.py` trains: a classifier that is told the times, its tasks, and one learner a seed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.cells import openness
from jaxrnn.data.timed_signals import Bursts, TimedSignals, noisy_waves, sines
from jaxrnn.loss import loss_nats
from jaxrnn.optimizer import OptimizerSettings, make_hyperparameters
from jaxrnn.sequence_classifier import SequenceClassifier
from jaxrnn.tasks import row_numbers
from jaxrnn.train_state import STREAM_DATA, STREAM_VALIDATION, TrainState, initial_train_state, model_with
from jaxrnn.train_step import MAX_CHUNK_UPDATES, StepSettings, make_train_chunk

INIT = jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
OPTIMIZER = OptimizerSettings("adam", clips_value=False, clips_global_norm=True)
VALIDATION_ROWS, SENSITIVITY_ROWS = 1000, 200
GATED = "temporal-gate-lstm"
QUIET = 0.2


class Signal(Protocol):
    """A kind of sequences with times."""

    @property
    def length(self) -> int: ...

    @property
    def classes(self) -> int: ...

    def draw(self, key: jax.Array, rows: jax.Array) -> TimedSignals: ...


@dataclass(frozen=True)
class NoisyWaves:
    """`noisy_waves`: which of a few slow sines lies under the bursts."""

    length: int
    wave_periods: tuple[float, ...]
    bursts: Bursts

    @property
    def classes(self) -> int:
        return len(self.wave_periods)

    def draw(self, key: jax.Array, rows: jax.Array) -> TimedSignals:
        return noisy_waves(key, rows, self.length, self.wave_periods, self.bursts)


@dataclass(frozen=True)
class Sines:
    """`sines`: whether the period lies within the band."""

    length: int
    duration: float
    asynchronous: bool

    classes = 2

    def draw(self, key: jax.Array, rows: jax.Array) -> TimedSignals:
        return sines(key, rows, self.length, self.duration, self.asynchronous)


@dataclass(frozen=True)
class TimedTask:
    """A task of the training step whose inputs are (features, times).

    Args:
      signal: what is drawn.
      time_feature: what the features hold beside the value: "none"; "time", that of the sample; or "gap", the time
        since the sample before.
    """

    signal: Signal
    time_feature: str = "none"

    passes_carry = False
    loss_name = "loss_nats"

    @property
    def in_features(self) -> int:
        return 1 if self.time_feature == "none" else 2

    def examples(self, key: jax.Array, rows: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        """((features (T, B, F), times (T, B)), targets (1, B)) of these rows."""
        values, times, classes = self.signal.draw(key, rows)
        features = [values]
        if self.time_feature == "time":
            features.append(times)
        elif self.time_feature == "gap":
            features.append(jnp.diff(times, axis=0, prepend=times[:1]))
        return (jnp.stack(features, axis=-1), times), classes[None, :]

    def batch(self, state: TrainState, streams: jax.Array, bptt_length: int) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(state.seed, STREAM_DATA), state.update)
        return self.examples(key, streams[0])

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return loss_nats(outputs, targets)

    def hits(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.argmax(outputs, axis=-1) == targets


class TimedClassifier(SequenceClassifier):
    """A `SequenceClassifier` called with (features, times)."""

    def __call__(self, xs: Any, carries: tuple, **options: Any) -> tuple[jax.Array, tuple]:
        features, times = xs
        return super().__call__(features, carries, times=times, **options)


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


class Units(NamedTuple):
    """The gates of a network, (H,) each.

    Attributes:
      period, shift, open_ratio: as the cell has them.
      use: share of the unit in telling the classes apart: standard deviation, over the classes, of its mean h_T, times
        the norm of its row of W_y. What noise does to h_T does not count.
    """

    period: np.ndarray
    shift: np.ndarray
    open_ratio: np.ndarray
    use: np.ndarray

    def openness(self, times: np.ndarray) -> np.ndarray:
        """k of each unit at these times, (N, H), without leak."""
        k = openness(times[:, None], self.period[None, :], self.shift[None, :], self.open_ratio[None, :])
        return np.asarray(k, np.float64)


class Learner:
    """A network that learns a task; `start` makes a fresh one of another seed for the same compiled programs.

    Args:
      task: what is learned.
      cell: a key of `jaxrnn.cells.CELLS`.
      options: the cell's own.
      size: what the compared networks share.
    """

    def __init__(self, task: TimedTask, cell: str, options: Mapping[str, Any], size: Size):
        self.task, self.cell, self.options, self.size = task, cell, options, size
        self.streams = jnp.asarray(row_numbers(size.batch_size))
        self.graphdef = nnx.split(self._model(0))[0]
        settings = StepSettings(task.signal.length, OPTIMIZER, loss_reduction="mean", task=task)
        self.chunk = make_train_chunk(self.graphdef, settings)
        self.accuracy_of, self.use_of = jax.jit(self._accuracy), jax.jit(self._use)
        self.sensitivity_of = jax.jit(self._sensitivity)
        self.start(0)

    def _model(self, seed: int) -> TimedClassifier:
        task = self.task
        return TimedClassifier(
            task.in_features,
            task.signal.classes,
            self.size.hidden,
            cell=self.cell,
            cell_options=self.options,
            kernel_init=INIT,
            rngs=nnx.Rngs(seed),
        )

    def _accuracy(self, params: Any, key: jax.Array) -> jax.Array:
        inputs, targets = self.task.examples(key, jnp.arange(VALIDATION_ROWS))
        model = model_with(self.graphdef, params)
        outputs, _ = model(inputs, model.initial_carry(VALIDATION_ROWS))
        return self.task.hits(outputs, targets).mean()

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

    def start(self, seed: int) -> None:
        """A fresh network."""
        values = make_hyperparameters(self.size.learning_rate, clip_global_norm=1.0)
        self.state = initial_train_state(
            self._model(seed), OPTIMIZER, values, self.size.batch_size, seed, passes_carry=False
        )

    def advance(self, updates: int) -> float:
        """Trains on; the loss of the last update."""
        loss = float("nan")
        while updates > 0:
            now = min(updates, MAX_CHUNK_UPDATES)
            self.state, metrics = self.chunk(self.state, self.streams, np.int32(now))
            loss, updates = float(metrics.loss_nats[now - 1]), updates - now
        return loss

    def accuracy(self) -> float:
        """Share of right answers on fresh sequences, the same at each call."""
        return float(self.accuracy_of(self.state.params, self._validation_key()))

    def units(self) -> Units:
        """The gates as they are now."""
        cell = model_with(self.graphdef, self.state.params).stack.layers[0]
        use = self.use_of(self.state.params, self._validation_key())
        return Units(*(np.asarray(part, np.float64) for part in (*cell.timing(), use)))

    def sensitivity(self) -> np.ndarray:
        """How much the answer depends on the value at each step, (T,): the mean size of d logit_y / d value_t."""
        return np.asarray(self.sensitivity_of(self.state.params, self._validation_key()), np.float64)

    def _validation_key(self) -> jax.Array:
        return jax.random.fold_in(self.state.seed, STREAM_VALIDATION)


class Curve(NamedTuple):
    """How a network learned, over seeds.

    Attributes:
      updates: (N,).
      accuracy: validation accuracy then, (seeds, N).
      before, after: the gates of each seed at first and at the end; empty for a network without gates.
      sensitivity: of each seed at the end, (T,) each; empty for a network without gates.
    """

    updates: np.ndarray
    accuracy: np.ndarray
    before: list[Units]
    after: list[Units]
    sensitivity: list[np.ndarray]


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


def openness_in_noise(units: Units, bursts: Bursts, times: np.ndarray) -> np.ndarray:
    """The share of each unit's openness at these times that lies within bursts, (H,); NaN if it never opens."""
    k = units.openness(times)
    noisy = np.asarray(bursts.cover(times))
    total = k.sum(axis=0)
    return np.where(total > 0, k[noisy].sum(axis=0) / np.where(total > 0, total, 1), np.nan)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value at which half of the weight is reached; values that are not finite do not count."""
    finite = np.isfinite(values)
    order = np.argsort(values[finite])
    reached = np.cumsum(weights[finite][order])
    return float(values[finite][order][np.searchsorted(reached, reached[-1] / 2)])


def noise_of_gates(curve: Curve, bursts: Bursts, length: int) -> dict[str, Any]:
    """What the gates are like before and after training, one a seed, beside the gate that shuts the noise out.

    Medians and means are over units, weighted by use. A quiet unit has less than `QUIET` of its openness in noise; of
    the most used one period, shift and open ratio are given.
    """
    times = np.arange(length, dtype=np.float64)

    def summary(units: Units) -> dict[str, Any]:
        in_noise = openness_in_noise(units, bursts, times)
        known = np.isfinite(in_noise)
        quiet = known & (np.nan_to_num(in_noise, nan=1.0) < QUIET)
        best = int(np.argmax(np.where(quiet, units.use, -1))) if quiet.any() else None
        return {
            "period": weighted_median(units.period, units.use),
            "shift": weighted_median((units.shift - true_shift) % bursts.period + true_shift, units.use),
            "open_ratio": weighted_median(units.open_ratio, units.use),
            "use_of_quiet_units": float(units.use[quiet].sum()),
            "most_used_quiet_unit": None if best is None else [float(part[best]) for part in units[:3]],
            "openness_in_noise": float(np.average(in_noise[known], weights=units.use[known])),
        }

    true_shift = (bursts.onset + bursts.share * bursts.period) % bursts.period
    return {
        "true_period": bursts.period,
        "true_shift": true_shift,
        "true_open_ratio": 1 - bursts.share,
        "sensitivity_in_noise": [
            float(of[np.asarray(bursts.cover(times))].sum() / of.sum()) for of in curve.sensitivity
        ],
        "noisy_share_of_steps": float(np.asarray(bursts.cover(times)).mean()),
        "before": [summary(units) for units in curve.before],
        "after": [summary(units) for units in curve.after],
    }
