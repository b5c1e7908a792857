"""The half of a user's own data that the compiled step asks: which targets are scored, and by what loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.checks import check_call
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.loss import loss_nats
from jaxrnn.tasks.protocol import Batch, Objective

Loss = Callable[[jax.Array, jax.Array], jax.Array]


class Answers(NamedTuple):
    """Targets as the compiled step sees them.

    Attributes:
      values: (K, B) classes, or (K, B) or (K, B, D) numbers.
      last: index of each row's last step, (B,).
    """

    values: jax.Array
    last: jax.Array


class ArrayStreams(NamedTuple):
    """What the compiled step reads, batch-major as it was given.

    Attributes:
      rows: place of each row in the batch, (1, B).
      inputs: (N, T, F) or (N, T); where each update brings its own, so many batches of them, (U, B, T, F) or (U, B, T).
      targets: (N, K) or (N, K, D), or with U and B alike.
      lengths: steps of each sequence, (N,) or (U, B).
      weights: how much each class counts, (C,); empty if all count alike.
      first: the update that the first of U batches is for; 0 where there is one set of sequences.
    """

    rows: Any
    inputs: Any
    targets: Any
    lengths: Any
    weights: Any
    first: Any = np.int32(0)

    def at(self, places: Any) -> ArrayStreams:
        """The sequences at these places, or the batch at this one."""
        return self._replace(inputs=self.inputs[places], targets=self.targets[places], lengths=self.lengths[places])


@dataclass(frozen=True)
class Answering(Objective):
    """What `Arrays` and `Stream` ask of a model, as the compiled step knows it.

    Args:
      steps: T.
      each_step: whether every step has a target, or one the sequence.
      classes: C; 0 for a regression.
      numbers: D of a regression.
      features: (F,), or () where the input is ids.
      symbols: of ids, or features, of the input, with the outputs; for the estimate of memory.
      sequences: N, shuffled at each epoch; 0 where each update brings its own.
      batch_size: B.
      padded: whether lengths were given.
      loss: of (outputs, targets), one a target; the class's in nats, or the squared error, if None.
    """

    steps: int
    each_step: bool
    classes: int
    numbers: int
    features: tuple[int, ...]
    symbols: int
    sequences: int
    batch_size: int
    padded: bool = False
    loss: Loss | None = None

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs, as JSON can hold it; a loss of the user's is only named."""
        return dataclasses.asdict(self) | {"loss": getattr(self.loss, "__qualname__", None)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Answering:
        """What `to_json` gave, without a loss of the user's."""
        return cls(**values | {"features": tuple(values["features"]), "loss": None})

    @property
    def split(self) -> Any:
        return ArrayStreams(True, False, False, False, False, False)

    @property
    def shuffled(self) -> int:
        return self.sequences

    @property
    def ids(self) -> int:
        return self.symbols - self.classes

    @property
    def out_features(self) -> int | None:
        return None if self.loss is not None else self.classes or self.numbers

    @property
    def measures_accuracy(self) -> bool:
        return self.classes > 0

    @property
    def loss_name(self) -> str:
        return "loss" if self.loss is not None else "loss_nats" if self.classes else "squared_error"

    @property
    def chance(self) -> float:
        # Of numbers, or a loss of the user's, no size is known that would be too large.
        return super().chance if self.loss_unit else math.inf

    @property
    def chance_in_words(self) -> str:
        return super().chance_in_words if self.loss_unit else "not known"

    def rows(self, streams: ArrayStreams) -> int:
        return streams.rows.shape[1]

    def windows(self, streams: ArrayStreams) -> int:
        return -(-self.sequences // self.batch_size)

    def batch(self, key: jax.Array, state: Any, streams: ArrayStreams, dtype: Any) -> Batch:
        del key
        if not self.sequences:
            of_update = streams.at(state.update - streams.first)
            return self.batch_of(of_update, streams.rows[0], jnp.ones(self.rows(streams), bool), dtype)
        place = state.window * self.batch_size + streams.rows[0]
        chosen = state.order[jnp.minimum(place, self.sequences - 1)]
        return self.batch_of(streams, chosen, place < self.sequences, dtype)

    def batch_of(self, streams: ArrayStreams, chosen: jax.Array, counts: jax.Array, dtype: Any) -> Batch:
        """These sequences, time-major; those of which `counts` is false fill up the batch."""
        inputs, targets, lengths = (part[chosen] for part in (streams.inputs, streams.targets, streams.lengths))
        inputs, values = jnp.swapaxes(inputs, 0, 1), jnp.swapaxes(targets, 0, 1)
        if inputs.ndim == 3:
            inputs = inputs.astype(dtype)
        if not self.classes:
            values = values.astype(dtype)
        scored = jnp.broadcast_to(counts[None, :], values.shape[:2])
        if self.each_step:
            within = jnp.arange(self.steps)[:, None] < lengths[None, :]
            scored &= within
            # Past the end stands what the first step has, for which a loss has a value and a gradient.
            within = within.reshape(*within.shape, *[1] * (values.ndim - 2))
            values = jnp.where(within, values, values[:1]) if self.padded else values
        if self.classes:
            scored &= values >= 0
        weights = scored.astype(dtype)
        if streams.weights.shape[0]:
            weights *= streams.weights.astype(dtype)[jnp.maximum(values, 0)]
        return Batch(inputs, Answers(values, lengths - 1), weights, lengths if self.padded else None)

    def answers(self, outputs: jax.Array, last: jax.Array) -> jax.Array:
        """The outputs that have a target, (K, B, C): of all steps, or of each row's last."""
        outputs = outputs if outputs.ndim == 3 else outputs[None]
        if self.each_step or outputs.shape[0] == 1:
            return outputs
        return jnp.take_along_axis(outputs, last[None, :, None], axis=0)

    def losses(self, outputs: jax.Array, targets: Answers) -> jax.Array:
        answers, values = self.answers(outputs, targets.last), targets.values
        if self.loss is not None:
            return self.loss(answers, values)
        if self.classes:
            return loss_nats(answers, jnp.maximum(values, 0))
        return ((answers - (values if values.ndim == 3 else values[:, :, None])) ** 2).mean(axis=-1)

    def correct(self, outputs: jax.Array, targets: Answers) -> jax.Array:
        return super().correct(self.answers(outputs, targets.last), targets.values)

    def progress(self, mean_loss: float, recent_accuracy: float) -> str:
        accuracy = f"accuracy {recent_accuracy:.3f}  " if self.classes else ""
        return f"{accuracy}loss {mean_loss:.4g} {self.loss_unit}".rstrip()


def refuse_other_answers(objective: Any, name: str, outputs: Any) -> None:
    """Refuses a model whose answers are not at the steps that have a target.

    Args:
      objective: of the task.
      name: of the model.
      outputs: its outputs for a batch, or their shape.

    Raises:
      ConfigurationError: if it gives too few of them, or too many.
    """
    if not isinstance(objective, Answering):
        return
    given, steps = outputs.shape[0] if outputs.ndim == 3 else 1, objective.steps
    if given != steps and (objective.each_step or given != 1):
        wanted = f"{steps} answers, one a step" if objective.each_step else f"1 answer, or one at each of {steps} steps"
        raise ConfigurationError(f"the task asks for {wanted}; {name} gives {given}, see its `answers`")


def are_alike(trained: Any, other: Any) -> bool:
    """Whether a model that was trained on one objective can be scored by another, of inputs and answers of its kind."""
    features = [getattr(of, "features", ()) for of in (trained, other)]
    ids = [getattr(of, "ids", 0) for of in (trained, other)]
    if features[0] != features[1] or (not features[0] and ids[1] > ids[0]):
        return False
    if trained.out_features is None or other.out_features is None:  # of a loss of the user's, who knows
        return True
    fewer = bool(trained.loss_unit) and other.out_features < trained.out_features  # of classes the last may be absent
    return trained.loss_unit == other.loss_unit and (fewer or other.out_features == trained.out_features)


def refuse_other_functions(loss: Any, metrics: Any = MappingProxyType({}), loss_name: str = "loss") -> None:
    """Refuses a loss, or metrics by name, that are none, and a name that something else has that a score tells.

    Raises:
      ConfigurationError: with what came.
    """
    told = ("accuracy", "sequences", loss_name)
    functions = [] if loss is None else [loss]
    functions += metrics.values() if isinstance(metrics, Mapping) else [None]
    if not all(map(callable, functions)) or not all(isinstance(of, str) and of not in told for of in metrics):
        raise ConfigurationError(
            'loss is a function of (outputs, targets), metrics are such functions by name, as in {"error": f}, and no '
            f"metric is called {', '.join(told)}; got {loss!r:.40}, {metrics!r:.80}"
        )
    if loss is not None:
        check_call("the loss", loss, "outputs", "targets")
    for name, metric in metrics.items():
        check_call(f"the metric {name}", metric, "outputs", "targets")


def refuse_other_losses(name: str, losses: Any, targets: Any) -> None:
    """Refuses a loss, or a metric, that does not give one number a target, (K, B).

    Raises:
      ConfigurationError: with its shape.
    """
    if jnp.shape(losses) != targets.shape[:2]:
        raise ConfigurationError(
            f"{name} is expected to give one number a target, {list(targets.shape[:2])}; got {list(jnp.shape(losses))}"
        )
