"""A trained model opened for reading, wherever it lies: it writes, is scored, and is had as a Flax module."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrnn.checks import LARGEST_SEED, check_count
from jaxrnn.config import TrainConfig
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.decode.sampling import Sample
from jaxrnn.decode.texts import MOST_TEXTS, Writer
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.structure import model_with
from jaxrnn.random_streams import STREAM_SAMPLES, run_key, stream_key
from jaxrnn.scoring.adaptation import Adaptation
from jaxrnn.storage.checkpoint import Shapes
from jaxrnn.storage.checkpoint_leaves import leaf_shapes
from jaxrnn.storage.model_file import CHECKPOINTS
from jaxrnn.tasks.answering import Answering
from jaxrnn.tasks.arrays import Arrays, Prediction, predict, refuse_other_arrays
from jaxrnn.tasks.sequences import Sequences
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.table import html_table
from jaxrnn.trained.scored import score_text
from jaxrnn.training.job import make_model, model_structure
from jaxrnn.training.record import identity
from jaxrnn.training.report import name_of_model
from jaxrnn.training.task import objective_of


def with_first_carry(graphdef: Any, params: dict, only: bool = False) -> dict:
    """What a model's file holds: the parameters, and the carry of a fresh start for a batch of 1; or the carry only."""
    carry = {"initial_carry": model_with(graphdef, params).initial_carry(1)}
    return carry if only else params | carry


@functools.lru_cache(maxsize=8)
def structure_of(config: TrainConfig, objective: Any) -> tuple[Any, Any, Shapes]:
    """The graphdef, the shapes of the parameters, and the tensors of the model's file."""
    graphdef, shapes = model_structure(functools.partial(make_model, config, objective), config.dtype)
    with numerics(config.dtype):
        return graphdef, shapes, leaf_shapes(jax.eval_shape(functools.partial(with_first_carry, graphdef), shapes))


class TrainedModel:
    """What a run directory and a model in one file have in common.

    Attributes:
      path: where it lies.
      record: settings, data, versions, parameter count.
      config: the settings.
      checkpoints: which parameters there are, "best" and "latest" or one of them.
    """

    checkpoints: tuple[str, ...] = CHECKPOINTS

    def __init__(self, path: str | Path, record: dict[str, Any], config: TrainConfig, vocabulary: Vocabulary | None):
        self.path, self.record, self.config, self._vocabulary = Path(path), record, config, vocabulary

    def __repr__(self) -> str:
        parameters = f"{self.record['parameters']:,} parameters"
        return f"{type(self).__name__}({str(self.path)!r}: {self._name_of_model()}, {parameters})"

    def _repr_html_(self) -> str:
        told = {
            type(self).__name__: self.path.name,
            "model": self._name_of_model(),
            "data": self.record["data"]["name"],
        }
        told |= {"parameters": f"{self.record['parameters']:,}", "checkpoints": " and ".join(self.checkpoints)}
        return html_table(told.items())

    def _name_of_model(self) -> str:
        return printable(name_of_model(self.config, self.record.get("parts")), keep="")

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols.

        Raises:
          ConfigurationError: if it was not trained on a text.
        """
        if self._vocabulary is None:
            data = printable(self.record["data"]["name"], keep="")
            raise ConfigurationError(
                f"{printable(str(self.path))} was trained on {data}, not on a text, so it has no text to write or to "
                "be scored on; its accuracy is in the run's metrics.jsonl, see jaxrnn plot"
            )
        return self._vocabulary

    @property
    def objective(self) -> Any:
        """What was learned, as the compiled step knows it."""
        data = self.record["data"]
        if "answering" in data:
            return Answering.from_json(data["answering"])
        if "parts" in self.record and "sequences" in data:
            told = data["sequences"]
            return Sequences(told["task"], told["length"], told["input"], self.config.batch_size)
        is_text = self._vocabulary is not None
        config = dataclasses.replace(self.config, task="text") if is_text and "parts" in self.record else self.config
        return objective_of(config, len(self._vocabulary or ()), self.document_end)

    @property
    def windows_per_epoch(self) -> int:
        """Updates an epoch; 0 for generated sequences, which have none."""
        return self.record["data"].get("windows_per_epoch", 0)

    @property
    def document_end(self) -> int | None:
        """The id that ends a document, if the text was many documents."""
        return self.record["data"].get("document_end")

    def _identity(self) -> dict[str, Any]:
        return identity(self.config, self.record["data"], self._vocabulary)

    def params(self, checkpoint: str | None = None) -> dict:
        """The parameters.

        Args:
          checkpoint: one of `checkpoints`; the first if None. What chose the best, and when they start from a carry of
            training, which is no parameter and stands in `model` only, is told in `docs/numbers.md`.

        Raises:
          ConfigurationError: for another name.
        """
        if checkpoint not in (None, *self.checkpoints):
            raise ConfigurationError(
                f"--checkpoint expects {' or '.join(self.checkpoints)}, what {printable(str(self.path))} holds; "
                f"got {printable(repr(checkpoint), keep='')}"
            )
        return self._params_of(checkpoint or self.checkpoints[0])

    def _params_of(self, checkpoint: str) -> dict:
        raise NotImplementedError

    def split(self, checkpoint: str | None = None) -> tuple[Any, dict]:
        """The structure and the leaves of `model`: its `params`, and the carry that the best may start from."""
        return self.graphdef, self.params(checkpoint)

    def model(self, checkpoint: str | None = None) -> Any:
        """The trained model, a Flax module: a `LanguageModel` or a `SequenceClassifier`."""
        return model_with(*self.split(checkpoint))

    def stream(
        self,
        length: int = 1000,
        temperature: float = 1.0,
        prime: str = "",
        seed: int = 0,
        checkpoint: str | None = None,
        **options: Any,
    ) -> Iterator[str]:
        """The text of `sample`, part by part, in constant memory."""
        writer = self._writer(checkpoint, prime=prime, temperature=temperature, **options)
        with numerics(self.config.dtype):
            parts = writer.stream(length, stream_key(run_key(seed), STREAM_SAMPLES))
        while True:
            with numerics(self.config.dtype):  # not while the caller has the part
                part = next(parts, None)
            if part is None:
                break
            yield part

    def sample(
        self,
        length: int = 1000,
        temperature: float = 1.0,
        prime: str = "",
        seed: int = 0,
        checkpoint: str | None = None,
        **options: Any,
    ) -> str:
        """Lets the model write.

        Args:
          length: how many characters to generate, in byte mode bytes; fewer where something ends the text.
          temperature: 0 is greedy, 1 the model's own probabilities, higher is more random.
          prime: text that the model reads first; not part of the result.
          seed: the same seed gives the same text.
          checkpoint: see `params`.
          options: `prime_file`, a file to read in place of `prime`, as `evaluate` reads it; `show_prime`, whether what
            was read stands before the text; and those of `jaxrnn.decode.Decoding`.
        """
        return Sample("".join(self.stream(length, temperature, prime, seed, checkpoint, **options)))

    def samples(
        self, number: int, length: int = 1000, seed: int = 0, checkpoint: str | None = None, **options: Any
    ) -> list[Sample]:
        """Lets the model write several texts at once; with `beams` the best that a search finds, each with its `log_p`.

        Args:
          number: how many. Text k is that of `sample` with seed + k, up to the rounding of products that are made for
            all at once.
          length, seed, checkpoint, options: as for `sample`, `temperature` and `prime` among the options.
        """
        check_count("samples", number, 1, MOST_TEXTS)
        check_count("seed", seed, 0, LARGEST_SEED - number + 1)
        writer = self._writer(checkpoint, **options)
        with numerics(self.config.dtype):
            keys = run_key(jax.numpy.arange(seed, seed + number, dtype=np.uint32))
            return writer.texts(length, jax.vmap(lambda key: stream_key(key, STREAM_SAMPLES))(keys))

    def _writer(self, checkpoint: str | None, **options: Any) -> Writer:
        vocabulary, split = self.vocabulary, self.split(checkpoint)
        return Writer(*split, vocabulary, self.document_end, self.reading, **options)

    @property
    def reading(self) -> ReadingOptions:
        """How the bytes of its text became characters; refused as `vocabulary` is."""
        _ = self.vocabulary
        return ReadingOptions.from_json(self.record["data"]["reading"])

    def evaluate(
        self,
        text: str | Sequence[str] | Arrays,
        checkpoint: str | None = None,
        *,
        unknown: str = "refuse",
        beside: Sequence[TrainedModel] = (),
        adaptation: Adaptation | None = None,
        trained_on: str | None = None,
    ) -> dict[str, Any]:
        """Scores the model on a file or known text: every character but the first once; a model of arrays on `Arrays`.

        Args:
          text: a file, a known text or several; or arrays.
          checkpoint: see `params`.
          unknown: "refuse" a text with characters that the vocabulary lacks, or "skip" these.
          beside: other models of the same symbols; the mean of all probabilities is scored, see `Ensemble`.
          adaptation: the parameters follow the text, see `jaxrnn.scoring.evaluate_adapting`.
          trained_on: the text that the model was trained on, of which the adaptation needs gradients; what the record
            names if None.

        Returns:
          loss_nats, nats_per_char, bits_per_char, perplexity, accuracy, characters; symbols where they are other
          things, and how many characters were skipped if that was asked for; or what `Arrays.evaluate` gives.

        Raises:
          DataError: if the text cannot be read, or has a character that the vocabulary lacks.
          ConfigurationError: if another model has other symbols, or the text that it was trained on is another now.
        """
        if isinstance(text, Arrays):
            refuse_other_arrays("evaluate", self.objective, text)
            split = self.split(checkpoint)
            with numerics(self.config.dtype):
                return text.evaluate(*split)
        return score_text(self, text, checkpoint, unknown, beside, adaptation, trained_on)

    def predict(self, inputs: Any, lengths: Any = None, checkpoint: str | None = None) -> Prediction:
        """What a model of arrays makes of sequences; see `jaxrnn.Trainer.predict`."""
        split = self.split(checkpoint)
        with numerics(self.config.dtype):
            return predict(self.objective, *split, inputs, lengths)

    @property
    def graphdef(self) -> Any:
        """The structure of the model that `params` are of."""
        return structure_of(self.config, self.objective)[0]

    def structure(self, checkpoint: str | None = None) -> tuple[Any, Any, Shapes]:
        """The graphdef, the shapes of the leaves, and the tensors of a file, without making an array."""
        return structure_of(self._config_of(checkpoint), self.objective)

    def _config_of(self, checkpoint: str | None) -> TrainConfig:
        """The settings of a model that starts as this one does."""
        return self.config
