"""Batches that a program makes or reads as training goes on: a function of the update, or an iterator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxrnn.checks import as_count, check_call
from jaxrnn.errors import ConfigurationError, DataError
from jaxrnn.tasks.answering import Answering, ArrayStreams, Loss, refuse_other_functions
from jaxrnn.tasks.array_checks import as_inputs, as_lengths, as_targets, kind_of
from jaxrnn.tasks.protocol import Score, Task, row_numbers

BATCHES_AT_ONCE = 16  # that one call of the compiled program reads


class Stream(Task):
    """A batch an update, batch-major: `(inputs, targets)` or `(inputs, targets, lengths)`, all of one shape.

    A function of the update's number, from 0, is exact over a restart by itself. An iterator is too if it has
    `get_state()`, which JSON can hold, and `set_state(state)`; without them a run with files refuses it.

    Args:
      batches: a function `f(update)`, or an iterator.
      classes: C, where targets are classes; None for a regression.
      symbols: how many ids there are, where inputs are ids.
      loss: see `Arrays`.

    Example:
      >>> task = Stream(lambda update: (np.full((8, 5, 3), update), np.zeros(8, int)), classes=2)
      >>> task.batch_size, task.streams(2, 1).inputs[0, 0, 0]
      (8, array([2., 2., 2.], dtype=float32))
    """

    fed = BATCHES_AT_ONCE

    def __init__(
        self,
        batches: Callable[[int], Any] | Iterator[Any],
        *,
        classes: int | None = None,
        symbols: int | None = None,
        loss: Loss | None = None,
    ):
        self._batches, self._ahead, self._next = batches, dict[int, tuple[Any, Any]](), 0
        self._shapes: list[Any] = []
        if not callable(batches) and not hasattr(batches, "__next__"):
            raise ConfigurationError(
                f"Stream expects a function of the update's number, or an iterator; got {type(batches).__name__}; of a "
                "list give `lambda update: batches[update % len(batches)]`"
            )
        if callable(batches):
            check_call("the function of a Stream", batches, "update")
        refuse_other_functions(loss)
        self.classes = 0 if classes is None else as_count("classes", classes, 1)
        self.symbols = 0 if symbols is None else as_count("symbols", symbols, 1)
        inputs, targets, lengths = self._batch(0)
        if targets.dtype.kind != "f" and not self.classes:
            raise ConfigurationError("Stream expects `classes`, since the targets are whole numbers")
        if inputs.ndim == 2 and not self.symbols:
            raise ConfigurationError("Stream expects `symbols`, since the inputs are ids")
        self.batch_size, T = inputs.shape[:2]
        self.symbols = self.symbols or inputs.shape[-1]
        self.objective = Answering(
            steps=T,
            each_step=targets.shape[1] == T and T > 1,
            classes=self.classes,
            numbers=targets.shape[2] if targets.ndim == 3 else 1,
            features=inputs.shape[2:],
            symbols=self.symbols + self.classes,
            sequences=0,
            batch_size=self.batch_size,
            padded=lengths is not None,
            loss=loss,
        )
        self.name = f"stream {getattr(batches, '__qualname__', type(batches).__qualname__)}"

    @property
    def goes_on(self) -> bool:
        """Whether a restart finds the batches that come next."""
        return callable(self._batches) or all(hasattr(self._batches, name) for name in ("get_state", "set_state"))

    def position(self, update: int) -> Any:
        """What `go_to` needs beside the number of updates done."""
        if callable(self._batches):
            return None
        return self._ahead[update][0] if update in self._ahead else self._batches.get_state()  # type: ignore[attr-defined]

    def go_to(self, update: int, position: Any) -> None:
        """Makes the batch of this update the next one."""
        if not callable(self._batches):
            self._batches.set_state(position)  # type: ignore[attr-defined]
        self._ahead.clear()
        self._next = update

    def streams(self, update: int = 0, updates: int = 0) -> ArrayStreams:
        given = [self._batch(number) for number in range(update, update + max(updates, 1))]
        for number in [number for number in self._ahead if number < update]:
            del self._ahead[number]
        given += given[-1:] * (BATCHES_AT_ONCE - len(given))
        inputs, targets = (np.stack([batch[part] for batch in given]) for part in (0, 1))
        lengths = np.full(inputs.shape[:2], inputs.shape[2], np.int32)
        if self.objective.padded:
            lengths = np.stack([batch[2] for batch in given])
        rows = row_numbers(self.batch_size)
        return ArrayStreams(rows, inputs, targets, lengths, np.zeros(0, np.float32), np.int32(update))

    def _batch(self, update: int) -> tuple[Any, Any, Any]:
        if update in self._ahead:
            return self._ahead[update][1]
        if callable(self._batches):
            state, batch = None, self._batches(update)
        else:
            if update != self._next:
                raise DataError(
                    f"the iterator's next batch is that of update {self._next}, update {update} is asked for"
                )
            state = self._batches.get_state() if self.goes_on else None  # type: ignore[attr-defined]
            batch = next(self._batches, None)
            if batch is None:
                raise DataError(f"the iterator ends before update {update + 1:,}; give fewer updates")
        self._next = update + 1
        self._ahead[update] = (state, self._checked(batch, update))
        return self._ahead[update][1]

    def _checked(self, batch: Any, update: int) -> tuple[Any, Any, Any]:
        try:
            inputs, given, *more = batch
            if len(more) > 1:
                raise ValueError
        except (TypeError, ValueError):
            kind = type(batch).__name__ + (f" of {len(batch)}" if hasattr(batch, "__len__") else "")
            raise DataError(f"a Stream expects batches (inputs, targets) or with lengths; got {kind}") from None
        try:
            inputs = as_inputs(inputs)
            targets = as_targets(given, inputs)
            lengths = as_lengths(more[0], inputs) if more else None
        except DataError as error:
            raise DataError(f"the batch of update {update}: {error}") from None
        if self.classes and targets.dtype.kind != "i":
            raise DataError(
                f"the batch of update {update}: whole numbers were expected as classes; got {kind_of(targets)}"
            )
        if inputs.ndim == 2 and self.symbols and inputs.max() >= self.symbols:
            found = f"ids below {self.symbols} were expected, its `symbols`; got {inputs.max()}"
            raise DataError(f"the batch of update {update}: {found}")
        shapes = [kind_of(part) for part in (inputs, targets, lengths) if part is not None]
        self._shapes = self._shapes or shapes
        if self.classes and targets.max() >= self.classes:
            raise DataError(f"the batch of update {update} has class {targets.max()}, of {self.classes} from 0")
        if shapes != self._shapes:
            raise DataError(
                f"the batch of update {update} is {', '.join(shapes)}; the first was {', '.join(self._shapes)}"
            )
        return inputs, targets, lengths

    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256(f"{self.name} {self._shapes}".encode()).hexdigest()
        return {"name": self.name, "sha256": digest, "answering": self.objective.to_json()}

    def describe(self) -> str:
        return f"{self.name}: {self.batch_size} sequences of {self.objective.steps} steps an update"

    def score(self, graphdef: nnx.GraphDef, params: Any, key: jax.Array, part: str) -> Score:
        raise ConfigurationError("a Stream has no end to score; give fit `validation`, such as Arrays of it")
