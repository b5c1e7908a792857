"""The tasks of the temporal gate: sequences whose samples have times, and a classifier that is told the times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from experiments.temporal_gate.timed_signals import Bursts, TimedSignals, noisy_waves, sines
from jaxrnn import SequenceClassifier
from jaxrnn.models import loss_nats
from jaxrnn.tasks import Batch, row_numbers


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
    """A task whose inputs are (features, times): both halves in one, as far as a trainer in memory asks.

    Args:
      signal: what is drawn.
      time_feature: what the features hold beside the value: "none"; "time", that of the sample; or "gap", the time
        since the sample before.
      batch_size: B.
    """

    signal: Signal
    time_feature: str = "none"
    batch_size: int = 32

    passes_carry, measures_accuracy, shuffled, split = False, False, 0, True
    writes, validates, windows_per_epoch, fed, block = False, False, 0, 0, 0

    @property
    def objective(self) -> TimedTask:
        return self

    @property
    def steps(self) -> int:
        return self.signal.length

    @property
    def chance(self) -> float:
        return math.log(self.signal.classes)

    @property
    def out_features(self) -> int:
        return self.signal.classes

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

    def rows(self, streams: jax.Array) -> int:
        return streams.shape[1]

    def windows(self, streams: jax.Array) -> int:
        return 0

    def batch(self, key: jax.Array, state: Any, streams: jax.Array, dtype: Any) -> Batch:
        return Batch(*self.examples(key, streams[0]))

    def resets(self, window: jax.Array, streams: jax.Array) -> None:
        return None

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return loss_nats(outputs, targets)

    def correct(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.argmax(outputs, axis=-1) == targets

    def streams(self, update: int = 0, updates: int = 0) -> np.ndarray:
        return row_numbers(self.batch_size)

    def fit_into(self, free: int) -> None:
        """Its streams are a number a row."""


class TimedClassifier(SequenceClassifier):
    """A `SequenceClassifier` called with (features, times)."""

    def __call__(self, xs: Any, carries: tuple, **options: Any) -> tuple[jax.Array, tuple]:
        features, times = xs
        return super().__call__(features, carries, times=times, **options)
