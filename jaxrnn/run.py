"""A trained run opened for reading: its model, numbers and text, without knowing how it was trained."""

from __future__ import annotations

import codecs
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.evaluate import evaluate_ids
from jaxrnn.models.structure import model_with
from jaxrnn.random_streams import STREAM_SAMPLES, run_key, stream_key
from jaxrnn.sample import sample_ids
from jaxrnn.storage import checkpoint as checkpoints
from jaxrnn.storage.logs import read_metrics
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.storage.vocabulary_file import load_vocabulary
from jaxrnn.tasks.settings import is_reports_recipe
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.progress import Progress
from jaxrnn.training.formats import readers
from jaxrnn.training.job import model_structure, objective_of, state_template
from jaxrnn.training.record import identity, refuse_other_run
from jaxrnn.training.state import TrainState

CHECKPOINTS = ("best", "latest")


def open_run(path: str | Path) -> Run:
    """Opens a run directory.

    Args:
      path: what `jaxrnn train --run` was given.

    Raises:
      ConfigurationError: if there is no run.
      CheckpointError: if its files are damaged.

    Example:
      run = jaxrnn.open_run("runs/python-reference-vanilla-100")
      print(run.sample(length=300, temperature=0.7))
    """
    return Run(path)


class Run:
    """A run directory, opened for reading.

    Attributes:
      directory: its files.
      config: the settings.
      record: the whole of config.json: settings, data, versions, parameter count.
      vocabulary: the symbols; a run of generated sequences has none.
    """

    def __init__(self, path: str | Path):
        self.directory = RunDirectory(path)
        self.record = self.directory.read_config()
        self.config = TrainConfig.from_json(self.record["config"])
        self._vocabulary = load_vocabulary(self.directory.vocabulary_path) if self.config.task == "text" else None
        self._state: TrainState | None = None
        self._state_update = -1

    def __repr__(self) -> str:
        what = f"{self.config.cell} {self.config.hidden} x {self.config.layers}"
        return f"Run({str(self.directory.path)!r}: {what}, {self.record['parameters']:,} parameters)"

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols.

        Raises:
          ConfigurationError: if the run was not trained on a text.
        """
        if self._vocabulary is None:
            data = printable(self.record["data"]["name"], keep="")
            raise ConfigurationError(
                f"{printable(str(self.directory.path))} was trained on {data}, not on a text, "
                "so it has no text to write or to be scored on; its accuracy is in metrics.jsonl, see jaxrnn plot"
            )
        return self._vocabulary

    @property
    def objective(self) -> Any:
        """What was learned, as the compiled step knows it."""
        size = len(self._vocabulary) if self._vocabulary is not None else 0
        return objective_of(self.config, size, self.document_end)

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """The columns of metrics.jsonl as arrays, by name; NaN where a row does not have it or it was not measured."""
        rows = read_metrics(self.directory.metrics_path)
        columns = {name: [row.get(name) for row in rows] for name in (dict.fromkeys(n for row in rows for n in row))}
        return {name: np.array([math.nan if v is None else v for v in of]) for name, of in columns.items()}

    @property
    def windows_per_epoch(self) -> int:
        """Updates an epoch; 0 for generated sequences, which have none."""
        return self.record["data"].get("windows_per_epoch", 0)

    @property
    def document_end(self) -> int | None:
        """The id that ends a document, if the text was many documents."""
        return self.record["data"].get("document_end")

    @property
    def state(self) -> TrainState:
        """The newest good training state; read again when there is a newer one."""
        updates = checkpoints.checkpoint_updates(self.directory.checkpoints)
        if self._state is None or (updates and updates[-1] != self._state_update):
            with numerics(self.config.dtype):
                template = state_template(self.config, self.objective)
                latest, warnings = checkpoints.load_latest(self.directory.checkpoints, readers(template))
            for line in warnings:
                Progress(quiet=True).warning(line)
            if latest is None:
                path = printable(str(self.directory.path))
                raise CheckpointError(
                    f"{path} holds no checkpoint yet; train it for longer, or lower --checkpoint-every"
                )
            former = () if self._vocabulary is not None else self.objective.former_digests()
            refuse_other_run(latest.metadata, self._identity(), former)
            self._state, self._state_update = latest.state, updates[-1]
        return self._state

    def _identity(self) -> dict[str, Any]:
        data = self.record["data"]
        if self._vocabulary is None:
            return identity(self.config, data["sha256"])
        reading = ReadingOptions.from_json(data["reading"])
        return identity(self.config, data["sha256"], self._vocabulary, self.document_end, reading)

    def params(self, checkpoint: str = "best") -> dict:
        """The parameters: "best" (after the lowest smoothed loss) or "latest".

        Raises:
          ConfigurationError: for another name.
        """
        if checkpoint not in CHECKPOINTS:
            raise ConfigurationError(f"--checkpoint expects best or latest; got {checkpoint!r}")
        return self.state.best_params if checkpoint == "best" else self.state.params

    def model(self, checkpoint: str = "best") -> Any:
        """The trained model, a Flax module: a `LanguageModel` or a `SequenceClassifier`."""
        return model_with(self._graphdef(), self.params(checkpoint))

    def stream(
        self,
        length: int = 1000,
        temperature: float = 1.0,
        prime: str = "",
        seed: int = 0,
        checkpoint: str = "best",
    ) -> Iterator[str]:
        """The text of `sample`, part by part, in constant memory."""
        vocabulary = self._vocabulary_of_checkpoint()
        ids = vocabulary.encode_prompt(prime) if prime else None
        with numerics(self.config.dtype):
            key = stream_key(run_key(seed), STREAM_SAMPLES)
            parts = sample_ids(
                self._graphdef(),
                self.params(checkpoint),
                length=length,
                key=key,
                temperature=temperature,
                prime=ids,
                document_end=self.document_end,
            )
        # Bytes become text as UTF-8; a character may be cut between two parts.
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace") if vocabulary.bytes_mode else None
        while True:
            with numerics(self.config.dtype):  # not while the caller has the part
                part = next(parts, None)
            if part is None:
                break
            text = vocabulary.decode(part)
            yield text if decoder is None else decoder.decode(text.encode("latin-1"))
        if decoder is not None:
            yield decoder.decode(b"", final=True)

    def sample(
        self,
        length: int = 1000,
        temperature: float = 1.0,
        prime: str = "",
        seed: int = 0,
        checkpoint: str = "best",
    ) -> str:
        """Lets the model write.

        Args:
          length: how many characters to generate.
          temperature: 0 is greedy, 1 the model's own probabilities, higher is more random.
          prime: text that the model reads first; not part of the result.
          seed: the same seed gives the same text.
          checkpoint: "best" or "latest".
        """
        return "".join(self.stream(length, temperature, prime, seed, checkpoint))

    def evaluate(self, text: str, checkpoint: str = "best") -> dict[str, float]:
        """Scores the model on a file or known text: every character but the first once.

        Returns:
          loss_nats, bits_per_char, perplexity, accuracy, characters.

        Raises:
          DataError: if the text cannot be read, or has a character that the vocabulary lacks.
        """
        vocabulary = self._vocabulary_of_checkpoint()
        corpus = load_corpus(text, ReadingOptions.from_json(self.record["data"]["reading"]), vocabulary)
        with numerics(self.config.dtype):
            scores = evaluate_ids(
                self._graphdef(), self.params(checkpoint), corpus.ids, document_end=corpus.document_end
            )
        return {
            "loss_nats": scores.loss_nats,
            "bits_per_char": scores.bits_per_char,
            "perplexity": scores.perplexity,
            "accuracy": scores.accuracy,
            "characters": scores.characters,
        }

    def plot(self) -> Any:
        """The learning curve, a matplotlib figure; with the accuracy where it was measured."""
        from jaxrnn.plots import learning_curve

        return learning_curve(
            self.metrics,
            best_update=int(self.state.best_update),
            windows_per_epoch=self.windows_per_epoch,
            shows_smoothed=is_reports_recipe(self.config),
            title=f"{self.record['data']['name']}: {self.config.cell} {self.config.hidden} x {self.config.layers}",
        )

    def save_plot(self, path: Path | None = None) -> Path:
        """Draws the learning curve into a file; plots/learning_curve.png in the run directory if none is given."""
        if path is not None:
            self.plot().savefig(path, dpi=120)
            return path
        picture = io.BytesIO()
        self.plot().savefig(picture, format="png", dpi=120)
        return self.directory.write_plot("learning_curve.png", picture.getvalue())

    def _vocabulary_of_checkpoint(self) -> Vocabulary:
        vocabulary = self.vocabulary
        _ = self.state  # compares it with the one that was trained with
        return vocabulary

    def _graphdef(self) -> Any:
        return model_structure(self.config, self.objective)[0]
