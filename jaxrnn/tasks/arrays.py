"""A user's own arrays: sequences of features or ids, with one target a sequence or one a step."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.errors import ConfigurationError, DataError
from jaxrnn.models.structure import call_takes, model_with
from jaxrnn.tasks.answering import Answering, ArrayStreams, Loss
from jaxrnn.tasks.protocol import Score, Task


class Prediction(NamedTuple):
    """What a model makes of sequences, batch-major.

    Attributes:
      values: classes (N,), or (N, T) where each step has an answer; for a regression the numbers.
      probabilities: of each class, with one more axis; None for a regression.
    """

    values: np.ndarray
    probabilities: np.ndarray | None


class Arrays(Task):
    """Sequences in NumPy arrays, batch-major, with their targets; the loss is the mean over all scored steps.

    Each epoch has an order of its own, from the seed. The last batch is filled up with sequences that count for
    nothing. A step at or past a sequence's length is not scored, nor one whose class is negative.

    Args:
      inputs: features (N, T, F), or ids (N, T).
      targets: whole numbers are classes, others a regression: one a sequence, (N,), or one a step, (N, T); with an axis
        more where several numbers are asked for, (N, 1, D) or (N, T, D).
      lengths: steps of each sequence, (N,), from 1 to T; all T if None. A model is told them if its call takes
        `lengths`; of one that does not the outputs at each sequence's last step are read.
      batch_size: B.
      symbols: how many ids there are; the largest and one more if None.
      class_weights: how much each class counts, (C,), or "balanced": N / (C N_c), so that all classes weigh alike.
      loss: of (outputs, targets), (K, B, C) and (K, B), gives one loss a target; in place of the class's in nats, or
        the squared error.
      metrics: more to be told of where scores are made: by name, functions of (outputs, targets) to one number each.

    Raises:
      DataError: if the arrays do not fit together.

    Example:
      >>> task = Arrays(np.zeros((10, 5, 3)), np.arange(10) % 2, batch_size=4)
      >>> task.windows_per_epoch, task.classes
      (3, 2)
    """

    def __init__(
        self,
        inputs: Any,
        targets: Any,
        *,
        lengths: Any = None,
        batch_size: int = 32,
        symbols: int | None = None,
        class_weights: Any = None,
        loss: Loss | None = None,
        metrics: Mapping[str, Loss] | None = None,
    ):
        self.inputs, self.targets = as_inputs(inputs), np.asarray(targets)
        N, T = self.inputs.shape[:2]
        if N == 0 or len(self.targets) != N or self.targets.dtype.kind not in "iufb":
            raise DataError(f"Arrays expects a target for each of {N} sequences; got {kind_of(self.targets)}")
        is_classes = self.targets.dtype.kind in "iub"
        if is_classes and self.targets.ndim > 2:
            raise DataError(f"Arrays expects classes (N,) or (N, T); got {kind_of(self.targets)}")
        if self.targets.ndim > 1 and self.targets.shape[1] not in (1, T):
            raise DataError(f"Arrays expects targets (N,) or (N, {T}), a target a step; got {kind_of(self.targets)}")
        self.targets = self.targets[:, None] if self.targets.ndim == 1 else self.targets
        self.targets = self.targets.astype(np.int32) if is_classes else self.targets
        self.lengths = np.full(N, T, np.int32) if lengths is None else np.asarray(lengths)
        if self.lengths.shape != (N,) or self.lengths.dtype.kind not in "iu":
            raise DataError(f"Arrays expects a length for each of {N} sequences; got {kind_of(self.lengths)}")
        if not ((self.lengths >= 1) & (self.lengths <= T)).all():
            raise DataError(f"Arrays expects lengths from 1 to {T}; got {self.lengths.min()} to {self.lengths.max()}")
        for name, array in (("inputs", self.inputs), ("targets", self.targets)):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(
                    f"Arrays expects finite {name}; got NaN or infinity at {np.argwhere(~np.isfinite(array))[0]}"
                )
        self.classes = int(self.targets.max()) + 1 if is_classes else 0
        if is_classes and self.classes < 1:
            raise DataError("Arrays expects a class of at least 0 for some target; all are negative")
        self.symbols = symbols or (int(self.inputs.max()) + 1 if self.inputs.ndim == 2 else self.inputs.shape[2])
        self.batch_size, self.metrics, self.loss = batch_size, dict(metrics or {}), loss
        self.weights = self._class_weights(class_weights)
        each_step = self.targets.shape[1] == T and np.asarray(targets).ndim > 1
        self.objective = Answering(
            steps=T,
            each_step=each_step,
            classes=self.classes,
            numbers=self.targets.shape[2] if self.targets.ndim == 3 else 1,
            features=self.inputs.shape[2:],
            symbols=self.symbols + self.classes,
            sequences=N,
            batch_size=batch_size,
            padded=lengths is not None,
            loss=loss,
        )
        self.name, self.windows_per_epoch = f"{N:,} sequences of {T} steps", -(-N // batch_size)

    @classmethod
    def from_sequences(cls, sequences: Sequence[Any], targets: Any, **options: Any) -> Arrays:
        """Sequences of different lengths: arrays (T_n, F) or (T_n,), filled up with zeros to the longest.

        Args:
          sequences: N arrays.
          targets: one a sequence, or a list of arrays with one a step, filled up alike.
          options: those of `Arrays`, but for lengths.

        Example:
          >>> task = Arrays.from_sequences([np.ones((2, 3)), np.ones((4, 3))], [0, 1])
          >>> task.inputs.shape, task.lengths.tolist()
          ((2, 4, 3), [2, 4])
        """
        lengths = np.array([len(sequence) for sequence in sequences])

        def filled(parts: Sequence[Any]) -> np.ndarray:
            arrays = [np.asarray(part) for part in parts]
            whole = np.zeros((len(arrays), lengths.max(), *arrays[0].shape[1:]), np.result_type(*arrays))
            for row, array in zip(whole, arrays, strict=True):
                row[: len(array)] = array
            return whole

        each_step = np.ndim(targets[0]) > 0
        return cls(filled(sequences), filled(targets) if each_step else targets, lengths=lengths, **options)

    def _class_weights(self, asked: Any) -> np.ndarray:
        if asked is None:
            return np.zeros(0, np.float32)
        if isinstance(asked, str) and asked == "balanced":
            counts = np.bincount(self.targets[self.targets >= 0], minlength=self.classes)
            asked = counts.sum() / (self.classes * np.maximum(counts, 1))
        weights = np.asarray(asked, np.float32)
        if weights.shape != (self.classes,) or not np.isfinite(weights).all() or (weights < 0).any():
            raise DataError(f"class_weights expects {self.classes} numbers of at least 0, or balanced; got {asked!r}")
        return weights

    def streams(self, update: int = 0, updates: int = 0) -> ArrayStreams:
        rows = np.arange(self.batch_size, dtype=np.int32)[None, :]
        return ArrayStreams(rows, self.inputs, self.targets, self.lengths.astype(np.int32), self.weights)

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": self._digest, "answering": self.objective.to_json()}

    @functools.cached_property
    def _digest(self) -> str:
        # Once: every checkpoint says which data it belongs to.
        digest = hashlib.sha256()
        for part in (self.inputs, self.targets, self.lengths, self.weights):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        what = f"{self.classes} classes" if self.classes else "a regression"
        return f"{self.name}, {what}; an epoch is {self.windows_per_epoch:,} updates of {self.batch_size} sequences"

    def score(self, graphdef: nnx.GraphDef, params: Any, key: jax.Array, part: str) -> Score:
        """The mean loss over all scored steps, the share of right answers, and the `metrics`."""
        told = self.evaluate(graphdef, params)
        loss, accuracy = told[self.objective.loss_name], told.get("accuracy", math.nan)
        words = ", ".join(f"{name} {value:.4f}" for name, value in told.items() if name != "sequences")
        return Score(loss, accuracy, f"{part} {words} over {len(self.inputs):,} sequences")

    def evaluate(self, graphdef: nnx.GraphDef, params: Any) -> dict[str, float]:
        """The loss, the accuracy where there are classes, the metrics, and how many sequences there are, by name."""
        objective, sums = self.objective, dict[str, float]()
        weighed = counted = 0.0
        for some, counts in batches(self.streams(), self.batch_size):
            batch, outputs = _run(graphdef, objective, params, some, counts)
            weights = np.asarray(batch.weights, np.float64)
            weighed, counted = weighed + float(weights.sum()), counted + int((weights > 0).sum())
            of = {objective.loss_name: objective.losses(outputs, batch.targets) * weights}
            if self.classes:
                of["accuracy"] = objective.correct(outputs, batch.targets)
            answers = objective.answers(outputs, batch.targets.last)
            of |= {name: metric(answers, batch.targets.values) for name, metric in self.metrics.items()}
            for name, values in of.items():
                sums[name] = sums.get(name, 0.0) + float((np.asarray(values, np.float64) * (weights > 0)).sum())
        told = {name: total / (weighed if name == objective.loss_name else counted) for name, total in sums.items()}
        return told | {"sequences": len(self.inputs)}


def predict(objective: Any, graphdef: nnx.GraphDef, params: Any, inputs: Any, lengths: Any = None) -> Prediction:
    """What a model makes of sequences: inputs and lengths as for `Arrays`.

    Args:
      objective: what it was trained on.
      graphdef, params: the model.
      inputs, lengths: the sequences.

    Raises:
      ConfigurationError: if it was trained on something else than arrays.
      DataError: if the inputs are of another kind than those.
    """
    if not isinstance(objective, Answering):
        raise ConfigurationError("predict expects a model of arrays; one of a text writes and is evaluated on texts")
    inputs = as_inputs(inputs)
    if inputs.shape[2:] != objective.features:
        kind = f"features (N, T, {objective.features[0]})" if objective.features else "ids (N, T)"
        raise DataError(f"predict expects {kind}; got {kind_of(inputs)}")
    N, T = inputs.shape[:2]
    lengths_or_all = np.full(N, T) if lengths is None else np.asarray(lengths)
    targets = np.zeros((N, T if objective.each_step else 1), np.int32 if objective.classes else np.float32)
    streams = ArrayStreams(None, inputs, targets, lengths_or_all.astype(np.int32), np.zeros(0, np.float32))
    objective = dataclasses.replace(objective, steps=T, padded=lengths is not None)
    found = []
    for some, counts in batches(streams, objective.batch_size):
        batch, outputs = _run(graphdef, objective, params, some, counts)
        answers = np.asarray(objective.answers(outputs, batch.targets.last), np.float64)
        found.append(np.swapaxes(answers, 0, 1) if objective.each_step else answers[0])
    answers = np.concatenate(found)[:N]
    if not objective.classes:
        return Prediction(answers[..., 0] if answers.shape[-1] == 1 else answers, None)
    odds = np.exp(answers - answers.max(axis=-1, keepdims=True))
    return Prediction(answers.argmax(axis=-1), odds / odds.sum(axis=-1, keepdims=True))


def batches(streams: ArrayStreams, batch_size: int) -> Iterator[tuple[ArrayStreams, np.ndarray]]:
    """All sequences in their order, B at a time, and which of them count: the last ones are filled up."""
    N = len(streams.inputs)
    for start in range(0, N, batch_size):
        rows = np.arange(start, start + batch_size)
        yield streams.at(np.minimum(rows, N - 1)), rows < N


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(graphdef, objective, params, streams, counts):
    model = model_with(graphdef, params)
    dtype = jax.tree.leaves(params)[0].dtype
    batch = objective.batch_of(streams, jnp.arange(counts.shape[0]), counts, dtype)
    told = {} if batch.lengths is None or not call_takes(model, "lengths") else {"lengths": batch.lengths}
    return batch, model(batch.inputs, model.initial_carry(counts.shape[0]), **told)[0]


def as_inputs(inputs: Any) -> np.ndarray:
    """Inputs as arrays of a kind that a model can read.

    Raises:
      DataError: if they are neither features (N, T, F) nor ids (N, T).
    """
    array = np.asarray(inputs)
    if array.ndim == 2 and array.dtype.kind in "iu":
        if array.size and array.min() < 0:
            raise DataError(f"ids are expected to be at least 0; got {array.min()}")
        return array.astype(np.int32)
    if array.ndim != 3 or array.dtype.kind not in "iufb" or 0 in array.shape[1:]:
        raise DataError(f"expected features (N, T, F) or whole numbers as ids (N, T); got {kind_of(array)}")
    return array if array.dtype == np.float64 else array.astype(np.float32)


def kind_of(array: np.ndarray) -> str:
    """The dtype and shape of an array, for messages."""
    return f"{array.dtype}{list(array.shape)}"
