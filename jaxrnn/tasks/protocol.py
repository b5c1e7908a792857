"""What a task is: all that differs between learning a text, generated sequences, or a user's own data.

A task has two halves. Its `objective` goes into the compiled step: small, frozen, hashable, without arrays. The rest is
the host's: the data, their identity on disk, words for people, scores on data that is not trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.errors import ConfigurationError

FRESH = "fresh starts"  # the part of the data that the best parameters are chosen by: see `Task.score`


class Score(NamedTuple):
    """How good a model is on data that it is not trained on.

    Attributes:
      loss: mean loss of a scored step, in the unit of the objective.
      accuracy: share of right answers.
      line: what a person is told.
      more: other numbers of it by name, those of `Objective.scored_too`.
    """

    loss: float
    accuracy: float
    line: str
    more: Mapping[str, float] = MappingProxyType({})


class Batch(NamedTuple):
    """What one update trains on.

    Attributes:
      inputs: ids (T, B), features (T, B, F), or what else the model takes.
      targets: (K, B), with K scored steps a row; the task's own losses know them.
      weights: how much each target counts, (K, B); None for all alike.
      lengths: steps of each row, (B,); None where all are T.
    """

    inputs: Any
    targets: Any
    weights: jax.Array | None = None
    lengths: jax.Array | None = None


def row_numbers(batch_size: int) -> np.ndarray:
    """The numbers of a batch's rows, (1, B): all that the streams of generated sequences are."""
    return np.arange(batch_size, dtype=np.int32)[None, :]


class Objective(Protocol):
    """The half of a task that the compiled step asks; what most objectives have alike stands here.

    Attributes:
      passes_carry: whether the carry of one update enters the next; else each update starts afresh.
      steps: T, the steps of a window or of a sequence. The gradient flows through all of them.
      loss_name: what the loss is called in metrics.jsonl, with its unit.
      loss_unit: its unit as a word, or an empty string.
      chance: the loss of a model that knows nothing; a smoothed loss far above it counts as divergence.
      chance_in_words: that loss for people.
      items, item_rate: what is counted per second, as people and metrics.jsonl call it.
      items_per_row: how many of them one row of a batch has.
      symbols: features of input and output of one step, for the estimate of memory.
      ids: how many there are, where the inputs are ids; 0 if it is not known.
      out_features: numbers that the model gives for each answer; None for any.
      scored_too: what else a `Score` tells, by name.
      measures_accuracy: whether the share of right answers of each update is measured, asked for or not.
      shuffled: N, the rows that are put into a new order at each epoch; 0 where nothing is.
      split: which leaves of the streams are split over the devices that share a batch, along their second axis; a
        prefix of them. The others are whole on each device.
    """

    passes_carry: bool = False
    items: Any = "sequences"
    item_rate: Any = "sequences_per_second"
    items_per_row: Any = 1
    scored_too: Any = ()
    measures_accuracy: Any = False
    shuffled: Any = 0
    split: Any = True
    ids: Any = 0
    out_features: Any
    loss_name: Any

    @property
    def loss_unit(self) -> str:
        return "nats" if self.loss_name == "loss_nats" else ""

    @property
    def chance(self) -> float:
        return math.log(self.out_features)

    @property
    def chance_in_words(self) -> str:
        return f"ln {self.out_features} = {self.chance:.3f} nats"

    def rows(self, streams: Any) -> int:
        """B, the rows of a batch; of those on one device, where several share it."""
        return streams.shape[1]

    def windows(self, streams: Any) -> int:
        """Updates an epoch; 0 where there are no epochs."""
        return 0

    def batch(self, key: jax.Array, state: Any, streams: Any, dtype: Any) -> Batch:
        """What the next update trains on.

        Args:
          key: of this update, for what is drawn.
          state: of training, of which `update`, `window` (the number of the window in the epoch) and `order` (that of
            the rows, where they are shuffled) are looked at.
          streams: what `Task.streams` gave, on the device.
          dtype: of inputs and targets that are numbers.
        """

    def resets(self, window: jax.Array, streams: Any) -> jax.Array | None:
        """Where a row starts afresh in the window, (T, B); None if nowhere."""
        return None

    def losses(self, outputs: jax.Array, targets: Any) -> jax.Array:
        """The loss of each target, (K, B)."""

    def correct(self, outputs: jax.Array, targets: Any) -> jax.Array:
        """Whether each answer is right, (K, B)."""
        return jnp.argmax(outputs, axis=-1) == targets

    def make_model(self, settings: Any, options: dict[str, Any]) -> Any:
        """The model of this task: `options` are those of its stack, `settings` hold what its output needs.

        None where no settings name it.
        """
        return None

    def derived_columns(self, mean_loss: float, smooth_loss: float) -> dict[str, float]:
        """Columns of metrics.jsonl that follow from the mean and the smoothed loss, names with units."""
        return {}

    def progress(self, mean_loss: float, recent_accuracy: float) -> str:
        """The numbers of a line of progress."""


class Task(Protocol):
    """The host's half; what most tasks have alike stands here.

    Attributes:
      objective: the other half.
      name: for messages and titles.
      vocabulary: the symbols that vocabulary.json holds; None if there are none.
      notes: lines for people about the data.
      writes: whether a trained model can write samples.
      validates, tests: whether there is data of its own to validate on, or to be scored once, at the end.
      batch_size: B.
      windows_per_epoch: updates an epoch; 0 where there are no epochs.
      fed: where batches are made or read as training goes on, the most updates that one reading of the streams is for;
        0 where they are the same for all.
      block: where the streams are given block by block, the windows of one: `streams(update)` are those of the block
        that holds the window of this update, counted from the epoch's start. 0 where they are whole.
      goes_on: whether a restart finds the batches that come next.
    """

    objective: Any
    name: str
    batch_size: int
    windows_per_epoch: int = 0
    vocabulary: Any = None
    notes: tuple[str, ...] = ()
    writes: bool = False
    validates: bool = False
    tests: bool = False
    fed: int = 0
    block: int = 0
    goes_on: Any = True

    def fit_into(self, free: int) -> None:
        """Takes blocks if the streams are too large for so many bytes of the devices; before anything is compiled.

        A task that cannot does nothing.
        """
        return None

    def streams(self, update: int = 0, updates: int = 0) -> Any:
        """What the compiled step reads its batches from: arrays, one column a row of the batch where they are `split`.

        Args:
          update: where the task is `fed` or has blocks, the updates done.
          updates: where it is `fed`, how many come now.
        """

    def identity(self) -> dict[str, Any]:
        """What config.json holds of the data; its `sha256` tells this data from other data."""

    def former_digests(self) -> tuple[str, ...]:
        """Values of `sha256` that older versions gave to the same data."""
        return ()

    def describe(self) -> str:
        """The data in one line."""

    def score(self, graphdef: nnx.GraphDef, params: Any, key: jax.Array, part: str) -> Score:
        """Scores parameters on a part of the data, "validation" or "test", or on pieces of the training text, `FRESH`.

        Args:
          graphdef: structure of the model.
          params: its parameters, on one device.
          key: decides what is drawn, for data that is.
          part: which part.
        """

    def write(
        self, graphdef: nnx.GraphDef, params: Any, key: jax.Array, length: int, temperature: float, prime: str = ""
    ) -> str:
        """A sample of text; a ConfigurationError where it `writes` none."""
        raise ConfigurationError(f"write expects a model that has learned a text; this one has {self.name}")

    def position(self, update: int) -> Any:
        """What `go_to` needs after a restart beside the updates done, as JSON can hold it; where the task is `fed`."""
        return None

    def go_to(self, update: int, position: Any) -> None:
        """Makes the batch of this update the next one; where the task is `fed`."""
        return None
