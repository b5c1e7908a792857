"""What is learned: a task gives the training step its batch, its loss and its hits. The next symbol of a text is one.

A task is small, frozen and hashable, part of the compiled program like the other settings of the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.data.windows import window_at
from jaxrnn.models.loss import loss_nats
from jaxrnn.random_streams import STREAM_DATA, stream_key
from jaxrnn.tasks.palindromes import DIGITS, as_numbers, palindromes
from jaxrnn.tasks.probes import COPY_ALPHABET, ORDER_SYMBOLS, RECALL, adding, copy_memory, temporal_order, xor
from jaxrnn.tasks.sequence_lengths import COPIED_SYMBOLS, check_length
from jaxrnn.tasks.settings import INPUTS
from jaxrnn.training.state import TrainState

# A sum counts as right within 0.04 of the true one (Hochreiter and Schmidhuber, 1997).
TOLERANCE = 0.04


class Task(Protocol):
    """What the step asks of a task.

    Attributes:
      passes_carry: whether the carry of one update enters the next; else each update starts afresh.
      loss_name: what the loss is called in metrics.jsonl.
    """

    @property
    def passes_carry(self) -> bool: ...

    @property
    def loss_name(self) -> str: ...

    def batch(self, state: TrainState, streams: jax.Array, bptt_length: int) -> tuple[jax.Array, jax.Array]:
        """(inputs, targets) of the next update, targets of shape (K, B) with K scored steps a row."""

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """The loss of each target, (K, B)."""

    def hits(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Whether each answer is right, (K, B)."""


@dataclass(frozen=True)
class Text:
    """The next symbol of a text, at every step. The streams of the step are ids, (S + 1, B)."""

    passes_carry = True
    loss_name = "loss_nats"

    def batch(self, state: TrainState, streams: jax.Array, bptt_length: int) -> tuple[jax.Array, jax.Array]:
        window = window_at(streams, state.window, bptt_length)
        return window[:-1], window[1:]

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return loss_nats(outputs, targets)

    def hits(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.argmax(outputs, axis=-1) == targets


class Probe(NamedTuple):
    """One kind of generated sequences.

    Attributes:
      draw: `(key, rows, length) -> (inputs, targets)`.
      features: F of the input, or the number of symbols.
      classes: C, or 1 for a number.
      answers: K, the steps at the end that are scored.
      is_regression: whether a number is asked for, not a class.
    """

    draw: Callable[[jax.Array, jax.Array, int], tuple[jax.Array, jax.Array]]
    features: int
    classes: int
    answers: int = 1
    is_regression: bool = False


PROBES = {
    "palindromes": Probe(palindromes, DIGITS, DIGITS),
    "copy-memory": Probe(copy_memory, RECALL + 1, COPY_ALPHABET, COPIED_SYMBOLS),
    "adding": Probe(adding, 2, 1, is_regression=True),
    "temporal-order": Probe(temporal_order, ORDER_SYMBOLS, 4),
    "xor": Probe(xor, 2, 2),
}


@dataclass(frozen=True)
class Sequences:
    """Fresh generated sequences each update, answered at their end.

    The example of row b of update u depends on the seed, u and b only. The streams of the step are the row numbers,
    (1, B), see `row_numbers`; split over devices, each device draws its own rows of the same batch.

    The loss is that of the class in nats, or for a regression the squared error. A hit is the right class, or a number
    within `TOLERANCE` of the true one.

    Args:
      name: a key of `PROBES`.
      length: T, the steps that the network reads.
      input: one of the inputs that the task offers, `jaxrnn.tasks.settings.INPUTS`; its first if None.

    Raises:
      ConfigurationError: if the length is not one that the task can have.
      ValueError: if the name or the input is unknown.

    Example:
      >>> task = Sequences("palindromes", 5)
      >>> inputs, targets = task.draw(jax.random.key(0), jnp.arange(8))
      >>> inputs.shape, targets.shape
      ((5, 8, 1), (1, 8))
    """

    name: str
    length: int
    input: str | None = None

    passes_carry = False

    def __post_init__(self) -> None:
        if self.name not in PROBES:
            raise ValueError(f"Sequences expects a task out of {', '.join(PROBES)}; got {self.name!r}")
        if self.input is not None and self.input not in INPUTS[self.name]:
            raise ValueError(f"{self.name} has an input out of {', '.join(INPUTS[self.name])}; got {self.input!r}")
        check_length(self.name, self.length)

    def __str__(self) -> str:
        return f"{self.name}, {self.length} steps, input {self.input or INPUTS[self.name][0]}"

    @property
    def probe(self) -> Probe:
        return PROBES[self.name]

    @property
    def reads_digits_as_numbers(self) -> bool:
        """Whether palindromes come as one number a digit, not one-hot."""
        return self.name == "palindromes" and self.input != "one-hot"

    @property
    def in_features(self) -> int:
        """F of the network's input, or the number of symbols."""
        return 1 if self.reads_digits_as_numbers else self.probe.features

    @property
    def loss_name(self) -> str:
        return "squared_error" if self.probe.is_regression else "loss_nats"

    def draw(
        self, key: jax.Array, rows: jax.Array, dtype: jax.typing.DTypeLike = jnp.float32
    ) -> tuple[jax.Array, jax.Array]:
        """Inputs, ids (T, B) or numbers (T, B, F) in `dtype`, and targets (K, B), for these rows under this key."""
        inputs, targets = self.probe.draw(key, rows, self.length)
        if self.reads_digits_as_numbers:
            inputs = as_numbers(inputs, dtype)
        elif inputs.ndim == 3:
            inputs = inputs.astype(dtype)
        if self.probe.is_regression:
            targets = targets.astype(dtype)
        return inputs, targets if targets.ndim == 2 else targets[None, :]

    def batch(self, state: TrainState, streams: jax.Array, bptt_length: int) -> tuple[jax.Array, jax.Array]:
        key = stream_key(state.seed, STREAM_DATA, state.update)
        return self.draw(key, streams[0], state.smooth_loss_nats.dtype)

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return (outputs[:, :, 0] - targets) ** 2 if self.probe.is_regression else loss_nats(outputs, targets)

    def hits(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        if self.probe.is_regression:
            return jnp.abs(outputs[:, :, 0] - targets) < TOLERANCE
        return jnp.argmax(outputs, axis=-1) == targets


def row_numbers(batch_size: int) -> np.ndarray:
    """The streams of a task of generated sequences: the numbers of its rows, (1, B)."""
    return np.arange(batch_size, dtype=np.int32)[None, :]


def accuracy_of(task: Any, outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """The share of right answers, in the dtype of the outputs."""
    return task.hits(outputs, targets).mean(dtype=outputs.dtype)
