"""A model in one file, read whole and checked when it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrnn.config import TrainConfig
from jaxrnn.devices.memory import parameter_count
from jaxrnn.devices.numerics import numerics
from jaxrnn.engines.platforms import platform
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.storage.checkpoint import Shapes
from jaxrnn.storage.checkpoint_leaves import from_leaves, to_leaves
from jaxrnn.storage.model_file import read_model
from jaxrnn.storage.vocabulary_file import from_json
from jaxrnn.terminal.printable import printable
from jaxrnn.trained.model import TrainedModel, structure_of, with_first_carry
from jaxrnn.training.task import objective_of

ONLY_IN_A_RUN = frozenset({"directory", "metrics", "state", "plot", "save_plot", "export"})


class ExportedModel(TrainedModel):
    """A model that `jaxrnn export` wrote, read whole and checked when it is opened.

    Its `record` has `training` beside what the record of its run has: which parameters these are, of which update, and
    how far the run was.
    """

    def __init__(self, path: str | Path):
        platform()  # if JAX cannot start, that is no fault of the file
        content, tensors = read_model(Path(path), _shapes_of)
        held = content["vocabulary"]
        vocabulary = None if held is None else from_json(held, content["format"] == 2)
        super().__init__(path, content, TrainConfig.from_json(content["config"]), vocabulary)
        self.checkpoints = (content["training"]["checkpoint"],)
        graphdef, shapes, _ = structure_of(self.config, self.objective)
        with numerics(self.config.dtype):
            self._params = from_leaves(tensors, shapes, jax.device_put)  # which copies nothing on a CPU
            # Other programs start from the carry that stands in the file, this one from that of the parameters.
            carry = to_leaves(with_first_carry(graphdef, self._params, only=True))
        if not all(np.array_equal(tensors[name], value) for name, value in carry.items()):
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
    _, shapes, wanted = structure_of(config, objective_of(config, symbols, content["data"].get("document_end")))
    if content["parameters"] != parameter_count(shapes):
        raise CheckpointError(f"{content['parameters']:,} parameters, its model has {parameter_count(shapes):,}")
    return wanted
