"""A trained run opened for reading: its model, numbers and text, without knowing how it was trained."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from jaxrnn.config import TrainConfig
from jaxrnn.decode.sampling import require_finite
from jaxrnn.devices.memory import parameter_count
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import CheckpointError, ConfigurationError, JaxrnnError
from jaxrnn.models.first_carry import starting_from
from jaxrnn.models.structure import joined
from jaxrnn.storage import checkpoint as checkpoints
from jaxrnn.storage.checkpoint_leaves import to_leaves
from jaxrnn.storage.logs import read_metrics
from jaxrnn.storage.model_file import DATA_OF_SEQUENCES, DATA_OF_TEXT, ENDING, ENVIRONMENT, write_model
from jaxrnn.storage.run_comparison import columns_of
from jaxrnn.storage.run_directory import RunDirectory, check_output, stored_config
from jaxrnn.storage.small_files import write_atomically
from jaxrnn.storage.vocabulary_file import as_json, load_vocabulary
from jaxrnn.tasks.sequences import Sequences
from jaxrnn.tasks.settings import is_reports_recipe
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.progress import Progress
from jaxrnn.terminal.table import Shown
from jaxrnn.trained.exported import ExportedModel
from jaxrnn.trained.model import TrainedModel, with_first_carry
from jaxrnn.training.formats import readers
from jaxrnn.training.job import state_template
from jaxrnn.training.judgement import start_of
from jaxrnn.training.part_records import refuse_other_cell, refuse_other_model
from jaxrnn.training.parts import model_of_own, template_of_own
from jaxrnn.training.record import identity, refuse_other_run
from jaxrnn.training.run_files import NORMS
from jaxrnn.training.state import TrainState


def open_run(path: str | Path, model: Any = None) -> Run | ExportedModel:
    """Opens a run directory, or a model in one file.

    Args:
      path: what `jaxrnn train --run` was given, or a file that `jaxrnn export` wrote. Nothing in a file is executed.
      model: the model that `jaxrnn.fit` was given, of a run that it made: a file can only name it.

    Raises:
      ConfigurationError: if there is neither.
      CheckpointError: if the files are damaged.

    Example:
      run = jaxrnn.open_run("runs/python-reference-vanilla-100")
      print(run.sample(length=300, temperature=0.7))
    """
    path = Path(path)
    return ExportedModel(path) if path.suffix == ENDING and not path.is_dir() else Run(path, model)


class Run(TrainedModel):
    """A run directory, opened for reading.

    Attributes:
      directory: its files.
      config: the settings.
      record: the whole of config.json: settings, data, versions, parameter count.
      vocabulary: the symbols; a run of generated sequences has none.
    """

    def __init__(self, path: str | Path, model: Any = None):
        self.directory, self._own = RunDirectory(path), model
        record = self.directory.read_config()
        config = stored_config(record["config"], self.directory.config_path)
        is_text = config.task == "text" or "reading" in record["data"]
        super().__init__(path, record, config, load_vocabulary(self.directory.vocabulary_path) if is_text else None)
        self._state: TrainState | None = None
        self._state_update = -1

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """The columns of metrics.jsonl as arrays, by name; NaN where a row does not have it or it was not measured."""
        return Shown(columns_of(read_metrics(self.directory.metrics_path)))

    @property
    def norms(self) -> dict[str, np.ndarray]:
        """The columns of norms.jsonl, which `--log-norms` writes, as those of `metrics`; empty without it."""
        return Shown(columns_of(read_metrics(self.directory.path / NORMS)))

    @property
    def state(self) -> TrainState:
        """The newest good training state; read again when there is a newer one."""
        updates = checkpoints.checkpoint_updates(self.directory.checkpoints)
        if self._state is None or (updates and updates[-1] != self._state_update):
            with numerics(self.config.dtype):
                if is_own := "parts" in self.record:
                    template = template_of_own(self._own, self.objective, self.config)
                else:
                    template = state_template(self.config, self.objective)
                told = refuse_other_cell(self.record)
                if self._own is not None:
                    made = model_of_own(self._own, self.config.dtype)
                    told += refuse_other_model(self.record, made, template, self.config)
                latest, warnings = checkpoints.load_latest(self.directory.checkpoints, readers(template, is_own))
            for line in [*warnings, *told]:
                Progress(quiet=True).warning(line)
            if latest is None:
                path = printable(str(self.directory.path))
                raise CheckpointError(
                    f"{path} holds no checkpoint yet; the command or program that began it goes on with it"
                )
            former = self.objective.former_digests() if isinstance(self.objective, Sequences) else ()
            refuse_other_run(latest.metadata, self._identity(), former)
            self._state, self._state_update = latest.state, updates[-1]
        return self._state

    def _params_of(self, checkpoint: str) -> dict:
        if "parts" in self.record:
            self._given_model()
        state = self.state
        if checkpoint == "latest":
            return joined(state.params, state.variables)
        return joined(state.best_params, state.best_variables)

    def split(self, checkpoint: str | None = None) -> tuple[Any, dict]:
        graphdef, params = super().split(checkpoint)
        start = self._start(checkpoint)
        if start is None:
            return graphdef, params
        with numerics(self.config.dtype):
            return starting_from(graphdef, params, start)

    def _start(self, checkpoint: str | None) -> Any:
        # The carry that the best start from; None for their own start.
        return None if checkpoint == "latest" else start_of(self.state)

    def _config_of(self, checkpoint: str | None) -> TrainConfig:
        if "parts" in self.record:
            raise ConfigurationError(
                f"{printable(str(self.path))} has a model of its own, which no settings name; copy its directory"
            )
        if self._start(checkpoint) is None:
            return self.config
        return dataclasses.replace(self.config, learned_initial_carry=True)

    def _given_model(self) -> Any:
        if self._own is None:
            name = printable(str(self.record["parts"]["model"]["name"]), keep="")
            raise ConfigurationError(
                f"{printable(str(self.path))} was made by jaxrnn.fit with a model of its own, {name}; give it in "
                "Python: jaxrnn.open_run(path, model=...)"
            )
        return self._own

    @property
    def graphdef(self) -> Any:
        if "parts" not in self.record:
            return super().graphdef
        return nnx.split(model_of_own(self._given_model(), self.config.dtype))[0]

    def export(self, path: str | Path, checkpoint: str | None = None) -> Path:
        """Writes the model as one file, which `open_run` takes and other programs read: see `model_file`.

        No path of this machine goes into it. A file of that name is replaced if it is an earlier export of this run.

        Args:
          path: the file; its name ends in `.safetensors`.
          checkpoint: "best", also if None, or "latest".

        Raises:
          ConfigurationError: if the name has another ending, or there is something else of that name.
          NumericError: if a parameter is not finite.
          StorageError: if it cannot be written.
        """
        path, (graphdef, params) = Path(path), self.split(checkpoint)
        state, config = self._state, self._config_of(checkpoint)
        assert state is not None  # the one that they are of
        if os.path.lexists(path) and path.suffix == ENDING and not self._exported_before(path):
            raise ConfigurationError(
                f"{printable(str(path))} is there and is no earlier export of this run; remove it, or give another name"
            )
        require_finite(params)
        data, vocabulary = self.record["data"], self._vocabulary
        text = Path(config.text).resolve().name if isinstance(config.text, str) else data["name"]
        other = config.validation_text and Path(config.validation_text).resolve().name
        losses = {"best_smooth_loss": state.best_smooth_loss, "best_valid_loss": state.early_stopping.best}
        content = {
            "config": config.to_json() | {"text": text, "validation_text": other},
            "parameters": parameter_count(params),
            "data": {name: data.get(name) for name in (DATA_OF_SEQUENCES if vocabulary is None else DATA_OF_TEXT)},
            "vocabulary": vocabulary and as_json(vocabulary),
            "training": {
                "checkpoint": checkpoint or "best",
                "update": int(state.update if checkpoint == "latest" else state.best_update),
                "updates": int(state.update),
                "epochs": int(state.epoch),
                **{name: float(loss) if math.isfinite(loss) else None for name, loss in losses.items()},
                "loss_unit": self.objective.loss_unit,
            },
            "environment": {name: self.record["environment"].get(name) for name in ENVIRONMENT},
        }
        with numerics(config.dtype):
            write_model(path, content, to_leaves(with_first_carry(graphdef, params)))
        return path

    def _exported_before(self, path: Path) -> bool:
        try:
            then = ExportedModel(path)
            # What was the best then may have started otherwise.
            config = dataclasses.replace(self.config, learned_initial_carry=then.config.learned_initial_carry)
            return then._identity() == identity(config, self.record["data"], self._vocabulary)
        except JaxrnnError:
            return False

    def plot(self) -> Any:
        """The learning curve, a matplotlib figure; with the accuracy where it was measured."""
        from jaxrnn.inspect.plots import learning_curve

        return learning_curve(
            self.metrics,
            best_update=int(self.state.best_update),
            windows_per_epoch=self.windows_per_epoch,
            shows_smoothed=is_reports_recipe(self.config),
            title=f"{self.record['data']['name']}: {self._name_of_model()}",
        )

    def save_plot(self, path: str | Path | None = None) -> Path:
        """Draws the learning curve into a file; plots/learning_curve.png in the run directory if none is given."""
        if path is None:
            return self.directory.write_plot("learning_curve.png", self.plot().drawn())
        from jaxrnn.inspect.plots import picture_name

        check_output(path := picture_name(Path(path)))
        write_atomically(path.resolve(), self.plot().drawn(path.suffix[1:]))
        return path
