"""Fresh generated sequences at each update: palindromes and the classic probes of memory."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.checks import as_count, check_choice
from jaxrnn.models.loss import loss_nats
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.models.structure import model_with
from jaxrnn.tasks import probes
from jaxrnn.tasks.generated import GENERATED, check_length
from jaxrnn.tasks.protocol import Batch, Objective, Score, Task, row_numbers

# A sum counts as right within 0.04 of the true one (Hochreiter and Schmidhuber, 1997).
TOLERANCE = 0.04
VALIDATION_SEQUENCES, TEST_SEQUENCES = 1024, 10_000


class Probe(NamedTuple):
    """One kind of generated sequences.

    Attributes:
      draw: `(key, rows, length) -> (inputs, targets)`.
      features: F of the input, or the number of symbols.
      classes: C, or 1 for a number.
      is_regression: whether a number is asked for, not a class.
    """

    draw: Callable[[jax.Array, jax.Array, int], tuple[jax.Array, jax.Array]]
    features: int
    classes: int
    is_regression: bool = False


PROBES = {
    "palindromes": Probe(probes.palindromes, probes.DIGITS, probes.DIGITS),
    "copy-memory": Probe(probes.copy_memory, probes.RECALL + 1, probes.COPY_ALPHABET),
    "adding": Probe(probes.adding, 2, 1, is_regression=True),
    "temporal-order": Probe(probes.temporal_order, probes.ORDER_SYMBOLS, 4),
    "xor": Probe(probes.xor, 2, 2),
}


@dataclass(frozen=True)
class Sequences(Objective, Task):
    """Fresh generated sequences each update, answered at their end. Both halves of the task in one.

    The example of row b of update u depends on the seed, u and b only. The streams of the step are the row numbers,
    (1, B), see `row_numbers`; split over devices, each device draws its own rows of the same batch.

    The loss is that of the class in nats, or for a regression the squared error. An answer is right if it is the class,
    or a number within `TOLERANCE` of the true one.

    Args:
      name: a key of `PROBES`.
      length: T, the steps that the network reads.
      input: one of the inputs that the task offers, see `GENERATED`; its first if None.
      batch_size: B.

    Raises:
      ConfigurationError: if the name or the input is unknown, or the length is not one that the task can have.

    Example:
      >>> task = Sequences("palindromes", 5)
      >>> inputs, targets = task.draw(jax.random.key(0), jnp.arange(8))
      >>> inputs.shape, targets.shape
      ((5, 8, 1), (1, 8))
    """

    name: str
    length: int
    input: str | None = None
    batch_size: int = 32

    measures_accuracy, validates = True, True

    def __post_init__(self) -> None:
        check_choice("task", self.name, tuple(PROBES))
        check_choice("input", self.input, (None, *GENERATED[self.name].inputs))
        object.__setattr__(self, "length", check_length(self.name, self.length))
        object.__setattr__(self, "batch_size", as_count("batch_size", self.batch_size, 1))

    def __str__(self) -> str:
        return f"{self.name}, {self.length} steps, input {self.input or GENERATED[self.name].inputs[0]}"

    @property
    def objective(self) -> Sequences:
        return self

    @property
    def steps(self) -> int:
        return self.length

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
    def features(self) -> tuple[int, ...]:
        return jax.eval_shape(lambda: self.draw(jax.random.key(0), jnp.arange(1)))[0].shape[2:]

    @property
    def ids(self) -> int:
        return self.in_features

    @property
    def loss_name(self) -> str:
        return "squared_error" if self.probe.is_regression else "loss_nats"

    @property
    def symbols(self) -> int:
        return self.probe.features + self.probe.classes

    @property
    def out_features(self) -> int:
        return self.probe.classes

    @property
    def chance(self) -> float:
        return 1.0 if self.probe.is_regression else super().chance

    @property
    def chance_in_words(self) -> str:
        return "1 / 6 at best" if self.probe.is_regression else super().chance_in_words

    # ---- in the compiled step ----

    def draw(
        self, key: jax.Array, rows: jax.Array, dtype: jax.typing.DTypeLike = jnp.float32
    ) -> tuple[jax.Array, jax.Array]:
        """Inputs, ids (T, B) or numbers (T, B, F) in `dtype`, and targets (K, B), for these rows under this key."""
        inputs, targets = self.probe.draw(key, rows, self.length)
        if self.reads_digits_as_numbers:
            inputs = probes.as_numbers(inputs, dtype)
        elif inputs.ndim == 3:
            inputs = inputs.astype(dtype)
        if self.probe.is_regression:
            targets = targets.astype(dtype)
        return inputs, targets if targets.ndim == 2 else targets[None, :]

    def batch(self, key: jax.Array, state: Any, streams: jax.Array, dtype: Any) -> Batch:
        del state
        return Batch(*self.draw(key, streams[0], dtype))

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return (outputs[:, :, 0] - targets) ** 2 if self.probe.is_regression else loss_nats(outputs, targets)

    def correct(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        if self.probe.is_regression:
            return jnp.abs(outputs[:, :, 0] - targets) < TOLERANCE
        return super().correct(outputs, targets)

    def make_model(self, settings: Any, options: dict[str, Any]) -> SequenceClassifier:
        head = {"pooling": settings.pooling, "answers": GENERATED[self.name].answers}
        return SequenceClassifier(self.in_features, self.probe.classes, settings.hidden, **head, **options)

    # ---- on the host ----

    def progress(self, mean_loss: float, recent_accuracy: float) -> str:
        unit = f" {self.loss_unit}" if self.loss_unit else ""
        return f"accuracy {recent_accuracy:.3f}  loss {mean_loss:.3f}{unit}"

    def streams(self, update: int = 0, updates: int = 0) -> np.ndarray:
        return row_numbers(self.batch_size)

    def identity(self) -> dict[str, Any]:
        told = {"task": self.name, "length": self.length, "input": self.input or GENERATED[self.name].inputs[0]}
        return {"name": str(self), "sha256": _sha256(json.dumps(told, sort_keys=True)), "sequences": told}

    def former_digests(self) -> tuple[str, ...]:
        return (_sha256(str(self)),)

    def describe(self) -> str:
        return f"{self}: {self.batch_size} fresh sequences an update"

    def score(self, graphdef: nnx.GraphDef, params: Any, key: jax.Array, part: str) -> Score:
        """Scores fresh sequences that the key decides."""
        batches = -(-(VALIDATION_SEQUENCES if part == "validation" else TEST_SEQUENCES) // self.batch_size)
        loss, accuracy = map(float, _scores(graphdef, self, batches, params, key))
        told = f"{loss:.4f} nats" if self.loss_unit else f"error {loss:.5f}"
        line = f"{part} {told}, accuracy {accuracy:.4f} over {batches * self.batch_size:,} fresh sequences"
        return Score(loss, accuracy, line)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _scores(graphdef, task, batches, params, key):
    model = model_with(graphdef, params)
    dtype = jax.tree.leaves(params)[0].dtype

    def score(rows):
        inputs, targets = task.draw(key, rows, dtype)
        outputs, _ = model(inputs, model.initial_carry(task.batch_size))
        return task.losses(outputs, targets).mean(), task.correct(outputs, targets).mean(dtype=dtype)

    losses, accuracies = jax.lax.map(score, jnp.arange(batches * task.batch_size).reshape(batches, -1))
    return losses.mean(), accuracies.mean()
