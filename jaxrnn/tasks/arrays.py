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

from jaxrnn.checks import as_count
from jaxrnn.errors import ConfigurationError, DataError
from jaxrnn.models.structure import call_takes, model_with
from jaxrnn.tasks.answering import (
    Answering,
    ArrayStreams,
    Loss,
    are_alike,
    refuse_other_answers,
    refuse_other_functions,
    refuse_other_losses,
)
from jaxrnn.tasks.array_checks import as_inputs, as_lengths, as_targets, filled_up, refuse_ids_from, refuse_other_inputs
from jaxrnn.tasks.protocol import Score, Task, row_numbers


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
        batch_size = as_count("batch_size", batch_size, 1)
        symbols = None if symbols is None else as_count("symbols", symbols, 1)
        self.inputs = as_inputs(inputs)
        self.targets, self.lengths = as_targets(targets, self.inputs), as_lengths(lengths, self.inputs)
        N, T = self.inputs.shape[:2]
        each_step = np.ndim(targets) > 1 and self.targets.shape[1] == T
        is_classes = self.targets.dtype.kind == "i"
        scored = self.targets >= 0 if is_classes else np.ones(self.targets.shape, bool)
        if is_classes and each_step:
            scored &= np.arange(T)[None, :] < self.lengths[:, None]
        self.classes = int(self.targets[scored].max(initial=-1)) + 1 if is_classes else 0
        if is_classes and self.classes < 1:
            raise DataError("Arrays expects a class of at least 0 for some target; all are negative")
        if symbols is not None:
            refuse_ids_from("Arrays", self.inputs, symbols)
        self.symbols = symbols or int(self.inputs.max() + 1 if self.inputs.ndim == 2 else self.inputs.shape[2])
        self.weights = self._class_weights(class_weights, scored)
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
        refuse_other_functions(loss, metrics or {}, self.objective.loss_name)
        self.batch_size, self.loss, self.metrics = batch_size, loss, dict(metrics or {})
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
        try:
            sequences, targets = list(sequences), list(targets)
            lengths = np.array([len(sequence) for sequence in sequences])
        except TypeError as error:
            raise DataError(f"from_sequences expects a list of arrays, and one of targets; got {error}") from None
        if not len(lengths) or len(lengths) != len(targets):
            raise DataError(
                f"from_sequences expects a target for each sequence; got {len(targets)} for {len(lengths)} sequences"
            )
        if any(np.ndim(target) > 0 and len(target) != 1 for target in targets):
            for number, (target, length) in enumerate(zip(targets, lengths, strict=True)):
                if np.shape(target)[:1] != (length,):
                    raise DataError(
                        "from_sequences expects one target a sequence, or one for each of its steps; sequence "
                        f"{number} has {length} steps, its target the shape {list(np.shape(target))}"
                    )
            targets = filled_up("targets", targets, lengths.max())
        return cls(filled_up("sequences", sequences, lengths.max()), targets, lengths=lengths, **options)

    def _class_weights(self, asked: Any, scored: np.ndarray) -> np.ndarray:
        if asked is None:
            return np.zeros(0, np.float32)
        if not self.classes:
            raise DataError("class_weights are for classes; the targets are those of a regression")
        if isinstance(asked, str) and asked == "balanced":
            counts = np.bincount(self.targets[scored], minlength=self.classes)
            asked = counts.sum() / (self.classes * np.maximum(counts, 1))
        try:
            weights = np.asarray(asked)
        except ValueError:  # of parts of different lengths
            weights = np.zeros(0)
        if weights.dtype.kind not in "iuf" or weights.shape != (self.classes,):
            raise DataError(f"class_weights expects {self.classes} numbers, or balanced; got {asked!r}")
        weights = weights.astype(np.float32)
        if not np.isfinite(weights).all() or (weights < 0).any() or not weights[self.targets[scored]].any():
            raise DataError(f"class_weights expects numbers of at least 0, one above it of a target; got {asked!r}")
        return weights

    def streams(self, update: int = 0, updates: int = 0) -> ArrayStreams:
        return ArrayStreams(row_numbers(self.batch_size), self.inputs, self.targets, self.lengths, self.weights)

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
            scored = weights > 0
            weighed, counted = weighed + float(weights.sum()), counted + int(scored.sum())
            of = {objective.loss_name: objective.losses(outputs, batch.targets)}
            if self.classes:
                of["accuracy"] = objective.correct(outputs, batch.targets)
            answers = objective.answers(outputs, batch.targets.last)
            of |= {name: metric(answers, batch.targets.values) for name, metric in self.metrics.items()}
            for name, values in of.items():
                refuse_other_losses(name, values, scored)
                found = np.asarray(values, np.float64)[scored]
                found = found * weights[scored] if name == objective.loss_name else found
                sums[name] = sums.get(name, 0.0) + float(found.sum())
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
    refuse_other_inputs("predict", objective, inputs)
    N, T = inputs.shape[:2]
    targets = np.zeros((N, T if objective.each_step else 1), np.int32 if objective.classes else np.float32)
    streams = ArrayStreams(None, inputs, targets, as_lengths(lengths, inputs), np.zeros(0, np.float32))
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


def refuse_other_arrays(caller: str, trained: Any, task: Any) -> None:
    """Refuses what a model of arrays cannot be scored on.

    Args:
      caller: for the message.
      trained: the objective that the model was trained on.
      task: what it is to be scored on.

    Raises:
      ConfigurationError: if that is something else than `Arrays`.
      DataError: if the arrays are of another kind.
    """
    if not isinstance(task, Arrays):
        raise ConfigurationError(f"{caller} expects Arrays; got {type(task).__name__}")
    refuse_other_inputs(caller, trained, task.inputs)
    if not isinstance(trained, Answering):
        if not are_alike(trained, task.objective):
            kind = "classes" if trained.loss_unit else "numbers"
            raise DataError(f"{caller} expects targets of {trained.out_features} {kind}; got {task.describe()}")
        return
    wanted, found = _kind_of_targets(trained), _kind_of_targets(task.objective)
    if trained.loss is None and (wanted != found or task.classes > trained.classes):
        wanted, found = (
            f"{of.classes or ''} {kind}".strip() for of, kind in ((trained, wanted), (task.objective, found))
        )
        raise DataError(f"{caller} expects targets like those of training, {wanted}; got {found}")


def _kind_of_targets(objective: Answering) -> str:
    what = "classes" if objective.classes else f"{objective.numbers} numbers"
    return f"{what}, {'one a step' if objective.each_step else 'one a sequence'}"


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
    outputs = model(batch.inputs, model.initial_carry(counts.shape[0]), **told)[0]
    refuse_other_answers(objective, type(model).__name__, outputs)
    return batch, outputs
