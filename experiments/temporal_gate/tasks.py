"""The tasks of the temporal gate: sequences whose samples have times, and a classifier that is told the times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxrnn.models.loss import loss_nats
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.random_streams import STREAM_DATA, stream_key
from jaxrnn.tasks.timed_signals import Bursts, TimedSignals, noisy_waves, sines
from jaxrnn.training.state import TrainState


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
        key = stream_key(state.seed, STREAM_DATA, state.update)
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
