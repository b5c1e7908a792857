"""A trained model opened for reading, wherever it lies: it writes, is scored, and is had as a Flax module."""

from __future__ import annotations

import codecs
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.decode.sampling import Sample, sample_ids
from jaxrnn.devices.memory import parameter_count
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.models.structure import model_with
from jaxrnn.random_streams import STREAM_SAMPLES, run_key, stream_key
from jaxrnn.scoring.evaluation import evaluate_ids
from jaxrnn.storage.checkpoint import Shapes
from jaxrnn.storage.checkpoint_leaves import from_leaves, leaf_shapes, to_leaves
from jaxrnn.storage.model_file import CHECKPOINTS, read_model
from jaxrnn.storage.vocabulary_file import from_json
from jaxrnn.tasks.answering import Answering
from jaxrnn.tasks.arrays import Arrays, Prediction, predict
from jaxrnn.tasks.sequences import Sequences
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.table import html_table
from jaxrnn.training.job import make_model, model_structure, objective_of
from jaxrnn.training.record import identity
from jaxrnn.training.report import name_of_model

ONLY_IN_A_RUN = frozenset({"directory", "metrics", "state", "plot", "save_plot", "export"})


def with_first_carry(graphdef: Any, params: dict) -> dict:
    """What a model's file holds: the parameters, and the carry of a fresh start for a batch of 1."""
    return params | {"initial_carry": model_with(graphdef, params).initial_carry(1)}


@functools.lru_cache(maxsize=8)
def _structure(config: TrainConfig, objective: Any) -> tuple[Any, Any, Shapes]:
    # (graphdef, shapes of the parameters, tensors of the model's file)
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

    def __init__(self, path: str | Path, record: dict[str, Any], vocabulary: Vocabulary | None):
        self.path, self.record, self._vocabulary = Path(path), record, vocabulary
        self.config = TrainConfig.from_json(record["config"])

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
          checkpoint: one of `checkpoints`; the first if None. Best is after the lowest smoothed loss.

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

    def model(self, checkpoint: str | None = None) -> Any:
        """The trained model, a Flax module: a `LanguageModel` or a `SequenceClassifier`."""
        return model_with(self._graphdef(), self.params(checkpoint))

    def stream(
        self,
        length: int = 1000,
        temperature: float = 1.0,
        prime: str = "",
        seed: int = 0,
        checkpoint: str | None = None,
    ) -> Iterator[str]:
        """The text of `sample`, part by part, in constant memory."""
        vocabulary, params = self.vocabulary, self.params(checkpoint)
        ids = vocabulary.encode_prompt(prime, self.document_end)
        with numerics(self.config.dtype):
            key = stream_key(run_key(seed), STREAM_SAMPLES)
            options: dict[str, Any] = {"temperature": temperature, "prime": ids, "document_end": self.document_end}
            parts = sample_ids(self._graphdef(), params, length=length, key=key, **options)
        # Bytes become text as UTF-8; a character may be cut between two parts.
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace") if vocabulary.bytes_mode else None
        while True:
            with numerics(self.config.dtype):  # not while the caller has the part
                part = next(parts, None)
            if part is None:
                break
            text = vocabulary.decode(part)[:length]
            length -= len(text)
            yield text if decoder is None else decoder.decode(text.encode("latin-1"))
            if not length:  # longer symbols than characters need not be so many
                break
        if decoder is not None:
            yield decoder.decode(b"", final=True)

    def sample(
        self,
        length: int = 1000,
        temperature: float = 1.0,
        prime: str = "",
        seed: int = 0,
        checkpoint: str | None = None,
    ) -> str:
        """Lets the model write.

        Args:
          length: how many characters to generate; in byte mode bytes.
          temperature: 0 is greedy, 1 the model's own probabilities, higher is more random.
          prime: text that the model reads first; not part of the result.
          seed: the same seed gives the same text.
          checkpoint: see `params`.
        """
        return Sample("".join(self.stream(length, temperature, prime, seed, checkpoint)))

    def evaluate(self, text: str | Sequence[str] | Arrays, checkpoint: str | None = None) -> dict[str, float]:
        """Scores the model on a file or known text: every character but the first once; a model of arrays on `Arrays`.

        Returns:
          loss_nats, nats_per_char, bits_per_char, perplexity, accuracy, characters, and symbols where they are other
          things; or what `Arrays.evaluate` gives.

        Raises:
          DataError: if the text cannot be read, or has a character that the vocabulary lacks.
        """
        if isinstance(text, Arrays):
            params = self.params(checkpoint)
            with numerics(self.config.dtype):
                return text.evaluate(self._graphdef(), params)
        vocabulary, params = self.vocabulary, self.params(checkpoint)
        corpus = load_corpus(text, ReadingOptions.from_json(self.record["data"]["reading"]), vocabulary)
        with numerics(self.config.dtype):
            characters, end = vocabulary.count_characters(corpus.ids[1:]), corpus.document_end
            of = evaluate_ids(self._graphdef(), params, corpus.ids, document_end=end, characters=characters)
            return of.numbers()

    def predict(self, inputs: Any, lengths: Any = None, checkpoint: str | None = None) -> Prediction:
        """What a model of arrays makes of sequences; see `jaxrnn.Trainer.predict`."""
        params = self.params(checkpoint)
        with numerics(self.config.dtype):
            return predict(self.objective, self._graphdef(), params, inputs, lengths)

    def _graphdef(self) -> Any:
        return _structure(self.config, self.objective)[0]


class ExportedModel(TrainedModel):
    """A model that `jaxrnn export` wrote, read whole and checked when it is opened.

    Its `record` has `training` beside what the record of its run has: which parameters these are, of which update, and
    how far the run was.
    """

    def __init__(self, path: str | Path):
        content, tensors = read_model(Path(path), _shapes_of)
        held = content["vocabulary"]
        super().__init__(path, content, None if held is None else from_json(held, content["format"] == 2))
        self.checkpoints = (content["training"]["checkpoint"],)
        graphdef, shapes, _ = _structure(self.config, self.objective)
        with numerics(self.config.dtype):
            self._params = from_leaves(tensors, shapes)
            # Other programs start from the carry that stands in the file, this one from that of the parameters.
            whole = to_leaves(with_first_carry(graphdef, self._params))
        if not all(np.array_equal(tensors[name], value) for name, value in whole.items()):
            shown = printable(str(path), keep="")
            raise CheckpointError(f"{shown} starts from another carry than its model; export it again, or use a copy")

    def __getattr__(self, name: str) -> Any:
        if name not in ONLY_IN_A_RUN:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise ConfigurationError(
            f"{printable(str(self.path))} is one file with one model and has no {name}; open the run directory that it "
            "was exported from"
        )

    def _params_of(self, checkpoint: str) -> dict:
        return self._params


def _shapes_of(content: dict[str, Any], declared: list[list[int]]) -> Shapes:
    config, symbols = TrainConfig.from_json(content["config"]), content["data"].get("distinct", 0)
    # Both are cheap to see, and no model of a size that no tensor has is thought out.
    if config.layers > len(declared) or not any(config.hidden in shape for shape in declared):
        raise CheckpointError(f"no tensors of {config.layers:,} layers of {config.hidden:,}")
    _, shapes, wanted = _structure(config, objective_of(config, symbols, content["data"].get("document_end")))
    if content["parameters"] != parameter_count(shapes):
        raise CheckpointError(f"{content['parameters']:,} parameters, its model has {parameter_count(shapes):,}")
    return wanted
