"""A trained model as the state dict of PyTorch's modules, in one safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxrnn.cells import GRUCell, LSTMCell, VanillaCell
from jaxrnn.decode.sampling import require_finite
from jaxrnn.errors import ConfigurationError, JaxrnnError
from jaxrnn.models.bidirectional import Bidirectional
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.storage.model_file import require_ending
from jaxrnn.storage.small_files import write_atomically
from jaxrnn.storage.tensor_file import opened, read_header, serialized
from jaxrnn.storage.vocabulary_file import as_json
from jaxrnn.terminal.printable import printable
from jaxrnn.trained.model import TrainedModel

ABOUT = "jaxrnn.torch"
MODULES: dict[type, str] = {VanillaCell: "RNN", LSTMCell: "LSTM", GRUCell: "GRU"}
Tensors = dict[str, np.ndarray]


def export_torch(trained: TrainedModel, path: str | Path, checkpoint: str | None = None) -> Path:
    """Writes a model as `rnn.weight_ih_l0`, ..., `linear.bias`, and `embedding.weight` if it has an embedding.

    The names are those of a module with an `nn.RNN`, `nn.LSTM` or `nn.GRU` called `rnn`, an `nn.Linear` called `linear`
    and an `nn.Embedding` called `embedding`. The metadata's `jaxrnn.torch` is a JSON object: which module and its
    arguments, what the output layer reads, and the symbols in id order. Dropout, for training alone, is left out.

    Args:
      trained: of `jaxrnn.open_run`.
      path: the file; its name ends in `.safetensors`. An earlier export of that run is replaced, nothing else.
      checkpoint: "best" or "latest"; what there is, best first, if None.

    Raises:
      ConfigurationError: if PyTorch has no such module, with the reason; or for the path, as `Run.export`.
      NumericError: if a parameter is not finite.
      StorageError: if it cannot be written.
    """
    path = Path(path)
    tensors, about = state_dict_of(trained.model(checkpoint))
    require_finite(tensors)
    vocabulary, run = trained._vocabulary, json.dumps(trained._identity(), sort_keys=True)
    about |= {
        "vocabulary": vocabulary and as_json(vocabulary),
        "document_end": trained.document_end,
        "checkpoint": checkpoint or trained.checkpoints[0],
        "run": hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest(),
    }
    require_ending(path)
    if os.path.lexists(path) and about_of(path).get("run") != about["run"]:
        raise ConfigurationError(
            f"{printable(str(path))} is there and is no earlier export of this run for PyTorch; remove it, or give "
            "another name"
        )
    write_atomically(path, serialized({"format": "pt", ABOUT: json.dumps(about, allow_nan=False)}, tensors))
    return path


def about_of(path: Path) -> dict[str, Any]:
    """What an earlier export says of itself; nothing if it is none."""
    try:
        with opened(path, "a file", "is none", "give another") as (file, size):
            about = json.loads(read_header(file, size).texts.get(ABOUT, "{}"))
            return about if isinstance(about, dict) else {}
    except JaxrnnError:
        return {}


def state_dict_of(model: Any) -> tuple[Tensors, dict[str, Any]]:
    """The tensors by PyTorch's names, and what the loader must know: `rnn`, `options`, `input`, `reads`, `answers`.

    W_x (F, G) and W_h (H, G) become their transposes; the blocks have the same order. Of PyTorch's two biases, which it
    adds, the first is b and the second 0, but for a GRU's b_h.

    Raises:
      ConfigurationError: with the reason why PyTorch has no such module.
    """
    if type(model) not in (LanguageModel, SequenceClassifier):
        raise _cannot(f"the model is a {type(model).__name__} of its own")
    stack = model.stack
    layers = [[x.forward, x.backward] if isinstance(x, Bidirectional) else [x] for x in stack.layers]
    cells = [cell for layer in layers for cell in layer]
    for cell in cells:
        if type(cell) not in MODULES:
            raise _cannot(f"nn.RNN, nn.LSTM and nn.GRU have no {type(cell).__name__}")
    if len({(type(cell), cell.hidden_features) for cell in cells}) > 1 or len({len(layer) for layer in layers}) > 1:
        raise _cannot("its layers differ in kind, size or direction, those of one module are alike")
    if stack.skip_connections and len(layers) > 1:
        raise _cannot("its modules have no skip connections")
    kind, H = MODULES[type(cells[0])], cells[0].hidden_features
    tensors: Tensors = {}
    for number, layer in enumerate(layers):
        for cell, ending in zip(layer, ("", "_reverse"), strict=False):
            b = np.zeros(cell.W_x.shape[1], cell.W_x.dtype) if cell.b is None else cell.b[...]
            b_h = np.zeros_like(b) if cell.b_h is None else cell.b_h[...]
            ours = {"weight_ih": cell.W_x[...].T, "weight_hh": cell.W_h[...].T, "bias_ih": b, "bias_hh": b_h}
            tensors |= {f"rnn.{name}_l{number}{ending}": value for name, value in ours.items()}
    is_text = isinstance(model, LanguageModel)
    embedding = model.embedding[...] if is_text and model.embedding is not None else None
    W_y = model.W_y[...] if embedding is None or model.W_y is not None else embedding.T
    tensors |= {"linear.weight": W_y.T, "linear.bias": model.b_y[...]}
    if embedding is not None:
        tensors["embedding.weight"] = embedding
    if stack.first_carry is not None:  # a learned one; else PyTorch starts from zeros too
        carries = [x for carry in model.initial_carry(1) for x in (carry if len(layers[0]) == 2 else [carry])]
        for name in carries[0]._fields:
            tensors[f"{name}_0"] = np.stack([getattr(carry, name) for carry in carries])
    options = {"input_size": cells[0].in_features, "hidden_size": H, "num_layers": len(layers)}
    about = {
        "rnn": kind,
        "options": options | {"bidirectional": len(layers[0]) == 2},
        "input": "embedding" if embedding is not None else "features or one-hot",
        "reads": "every step" if is_text else model.pooling,
        "answers": None if is_text else model.answers,
    }
    return {name: np.array(value, order="C") for name, value in tensors.items()}, about


def _cannot(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"PyTorch has no module for this model: {why}; `jaxrnn export` without --format writes it"
    )
