"""A state dict of PyTorch's recurrent modules as a model in one file."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.config import LARGEST_LAYERS, TrainConfig
from jaxrnn.decode.sampling import require_finite
from jaxrnn.devices.environment import fingerprint
from jaxrnn.devices.memory import parameter_count
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import CheckpointError, ConfigurationError, DataError
from jaxrnn.exchange.symbols import Given, read_symbols, reading_of, symbols_of
from jaxrnn.exchange.to_torch import ABOUT
from jaxrnn.storage.checkpoint_leaves import from_leaves, leaf_shapes, to_leaves
from jaxrnn.storage.model_file import ENVIRONMENT, write_model
from jaxrnn.storage.tensor_file import opened, read_header, read_object, read_tensor, require
from jaxrnn.storage.vocabulary_file import as_json
from jaxrnn.terminal.printable import printable
from jaxrnn.trained.model import with_first_carry
from jaxrnn.training.job import make_model, model_structure
from jaxrnn.training.task import objective_of

CELLS = {1: "vanilla", 3: "gru", 4: "lstm"}  # by the number of gates
FLOATS = ("F32", "F64", "F16", "BF16")
PICKLES = (".pt", ".pth", ".ckpt", ".bin")
_RECURRENT = re.compile(r"(.*?)((?:weight|bias)_[ih]h|weight_hr)_l(\d{1,4})(_reverse)?")
_EMBEDDING = re.compile(r"emb|encoder|wte|lookup", re.IGNORECASE)
Tensors = dict[str, np.ndarray]


class Found(NamedTuple):
    """A recognised state dict: the cell, the sizes (no embedding is 0), and its names by what the tensors are here.

    `h_0`, and of an LSTM `c_0`, are among them where the start was learned.
    """

    cell: str
    layers: int
    hidden: int
    symbols: int
    embedding: int
    names: dict[str, str]


def import_torch(path: str | Path, model: str | Path, vocabulary: str | None = None) -> Path:
    """Makes a model in one file, as `jaxrnn export` writes it, of a state dict in a safetensors file.

    The state dict is that of a module with one `nn.RNN`, `nn.LSTM` or `nn.GRU`, one `nn.Linear` above it, and below it
    an `nn.Embedding` or one-hot symbols; what stands before `weight_ih_l0` and the others is free. A vanilla network is
    taken to be one with tanh, since the file does not say. An embedding stays one. Missing biases are zeros. Half
    precision becomes float32, which changes no value. Symbols are put into the order of their code points, and their
    rows with them.

    Args:
      path: the state dict.
      model: the file to write; its name ends in `.safetensors`, and there is none of that name.
      vocabulary: where the symbols stand in the order of their ids: a file that ends in .json with a list of
        characters, an object {character: id} or {id: character}, or a run's vocabulary.json; or a text whose
        characters, sorted, have the ids from 0 on. Not needed for a file of `export_torch`.

    Raises:
      ConfigurationError: if there is no vocabulary, or something of the model's name.
      CheckpointError: for a state dict that is no such model, with the names that do not fit.
      DataError: if the vocabulary cannot be read, or has another number of symbols than the model.
      NumericError: if a parameter is not finite.
      StorageError: if it cannot be written.
    """
    path, model = Path(path), Path(model)
    if os.path.lexists(model):
        raise ConfigurationError(f"{printable(str(model))} is there; remove it, or give another name")
    remedy = "what can be imported stands in the documentation, on the page of other programs"
    if path.suffix in PICKLES and path.exists():
        raise CheckpointError(
            f"{printable(path.name, keep='')} is a pickle of PyTorch, and reading one can run a program; the "
            "documentation, on the page of other programs, has the ten lines that make safetensors of it"
        )
    with opened(path, "a state dict as safetensors", "cannot be imported", remedy) as (file, size):
        header = read_header(file, size)
        for name, (dtype, *_) in header.tensors.items():
            require(dtype in FLOATS, f"tensor {name} of dtype {dtype}, expected one of {', '.join(FLOATS)}")
        about = read_object(header.texts.get(ABOUT, "{}"))
        require(about.get("reads", "every step") == "every step", "it classifies sequences, and predicts no symbols")
        found = recognise({name: tuple(tensor.shape) for name, tensor in header.tensors.items()})
        kinds = {name: tensor.dtype for name, tensor in header.tensors.items()}
        tensors = {of: _floats(read_tensor(file, header, name), kinds[name]) for of, name in found.names.items()}
    require_finite({name: tensors[of] for of, name in found.names.items()})
    if vocabulary is None and not about.get("vocabulary"):
        name = printable(path.name, keep="")
        raise ConfigurationError(f"{name} does not say which symbols its ids are; give --vocabulary FILE")
    given = read_symbols(vocabulary) if vocabulary is not None else symbols_of(about["vocabulary"])
    if len(given.vocabulary) != found.symbols:
        raise DataError(
            f"the model has {found.symbols:,} symbols, the vocabulary {len(given.vocabulary):,}; give the one "
            "that it was trained with"
        )
    return _write(model, path.name, found, tensors, given, about.get("document_end"))


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> Found:
    """What a state dict is, by the names and shapes of its tensors.

    Raises:
      CheckpointError: with the name that is missing, of another shape, or unknown.
    """
    recurrent: dict[tuple[str, int], str] = {}
    others, prefixes = {}, set()
    for name, shape in shapes.items():
        if (match := _RECURRENT.fullmatch(name)) is None:
            others[name] = shape
            continue
        require(match[2] != "weight_hr", f"{name}: an LSTM with proj_size")
        require(not match[4], f"{name}: it reads backward too, and has seen the symbol that is to be predicted")
        prefixes.add(match[1])
        recurrent[match[2], int(match[3])] = name
    require(bool(prefixes), "no tensor ends in weight_ih_l0, as those of nn.RNN, nn.LSTM and nn.GRU do")
    require(len(prefixes) == 1, f"several recurrent modules: {', '.join(sorted(prefixes))}")
    prefix, layers = prefixes.pop(), 1 + max(number for _, number in recurrent)
    require(layers <= LARGEST_LAYERS, f"{layers:,} layers, at most {LARGEST_LAYERS:,}")
    for number in range(layers):
        for of in ("weight_ih", "weight_hh"):
            require((of, number) in recurrent, f"{prefix}{of}_l{number} is missing")
    first, F = (shapes[recurrent["weight_hh", 0]], shapes[recurrent["weight_ih", 0]][-1])
    rows, H = (*first, 0, 0)[:2]
    require(H > 0 and rows in [gates * H for gates in CELLS], f"{recurrent['weight_hh', 0]} of shape {first}")
    for (of, number), name in recurrent.items():
        expected = {"weight_ih": (rows, H if number else F), "weight_hh": (rows, H)}.get(of, (rows,))
        require(shapes[name] == expected, f"{name} of shape {shapes[name]}, expected {expected}")
    starts = {"h_0", "c_0"} if rows == 4 * H else {"h_0"}
    starts = starts if starts <= others.keys() else set()  # as `export_torch` names a learned start
    for name in starts:
        require(others.pop(name) == (layers, 1, H), f"{name} of shape {shapes[name]}, expected {(layers, 1, H)}")
    output, embedding = _ends(others, F, H)
    V, bias = others[output][0], output.removesuffix("weight") + "bias"
    if bias in others:
        require(others[bias] == (V,), f"{bias} of shape {others[bias]}, expected {(V,)}")
    unknown = sorted(others.keys() - {output, bias, embedding})
    require(not unknown, f"{', '.join(unknown[:5])}: no part of a recurrent module, an embedding or one nn.Linear")
    if embedding is None:
        fed = f"{recurrent['weight_ih', 0]} reads {F:,} features where the output layer has {V:,} symbols"
        require(F == V, f"{fed}: no one-hot symbols, and there is no embedding")
    else:
        require(others[embedding][0] == V, f"{embedding} has {others[embedding][0]:,} symbols, {output} {V:,}")
    names = {f"{number}.{of}": name for (of, number), name in recurrent.items()}
    ends = {"W_y": output, "b_y": bias if bias in others else None, "embedding": embedding}
    names |= {of: name for of, name in ends.items() if name is not None} | {name: name for name in starts}
    return Found(CELLS[rows // H], layers, H, V, F if embedding is not None else 0, names)


def _ends(others: Mapping[str, tuple[int, ...]], F: int, H: int) -> tuple[str, str | None]:
    """The names of the output layer's matrix and of the embedding, if there is one."""
    matrices = [name for name, shape in others.items() if len(shape) == 2 and name.endswith("weight")]
    outputs = [name for name in matrices if others[name][1] == H]
    require(bool(outputs), f"no nn.Linear with a weight (symbols, {H:,}) stands above the recurrent module")
    if len(matrices) == 1:
        return outputs[0], None
    require(len(matrices) == 2, f"{', '.join(sorted(matrices)[:5])}: more than an embedding and one nn.Linear")
    pairs = [(one, other) for one, other in (matrices, matrices[::-1]) if one in outputs and others[other][1] == F]
    pairs = [(one, other) for one, other in pairs if other.removesuffix("weight") + "bias" not in others]
    if len(pairs) == 2:
        pairs = [pair for pair in pairs if _EMBEDDING.search(pair[1]) and not _EMBEDDING.search(pair[0])]
    require(len(pairs) == 1, f"{' and '.join(sorted(matrices))}: which is the embedding? name it embedding.weight")
    return pairs[0]


def _floats(value: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "BF16":  # the upper half of a float32
        return (value.astype(np.uint32) << 16).view(np.float32)
    return value.astype(np.float32) if dtype == "F16" else value


def _write(model: Path, name: str, found: Found, tensors: Tensors, given: Given, end: Any) -> Path:
    vocabulary, order = given
    document_end = order.tolist().index(end) if type(end) is int and 0 <= end < len(order) else None
    dtype = "float64" if any(value.dtype == np.float64 for value in tensors.values()) else "float32"
    sizes: dict[str, Any] = {of: getattr(found, of) for of in ("cell", "layers", "hidden", "embedding")}
    held = as_json(vocabulary)
    kind = {"symbols": held["kind"], "vocabulary_size": len(order)} if "kind" in held else {}
    config = TrainConfig(text=name, dtype=dtype, learned_initial_carry="h_0" in tensors, **sizes, **kind)
    objective = objective_of(config, len(order), document_end)
    graphdef, shapes = model_structure(functools.partial(make_model, config, objective), dtype)
    # Who trained it said nothing of the text, so its checksum is empty, and the counts are the least that are possible.
    counts = {"characters": len(order), "distinct": len(order), "windows_per_epoch": 1}
    reading = reading_of(vocabulary).to_json()
    content = {
        "config": config.to_json(),
        "parameters": parameter_count(shapes),
        "data": {"name": name, "sha256": "", "document_end": document_end, "reading": reading, **counts},
        "vocabulary": held,
        "training": dict.fromkeys(("update", "updates", "epochs"), 0)
        | dict.fromkeys(("best_smooth_loss", "best_valid_loss"))
        | {"checkpoint": "best", "loss_unit": objective.loss_unit},
        "environment": {of: value for of, value in fingerprint().items() if of in ENVIRONMENT},
    }
    with numerics(dtype):
        leaves = _leaves(tensors, leaf_shapes(shapes), order)
        require_finite(leaves)
        carry = with_first_carry(graphdef, from_leaves(leaves, shapes, np.asarray), only=True)
        write_model(model, content, leaves | to_leaves(carry))
    return model


def _leaves(tensors: Tensors, wanted: Mapping[str, Any], order: np.ndarray) -> Tensors:
    """The parameters by our names, with the symbols in the order of our ids. Takes one tensor after another away."""
    leaves, has_embedding = {}, "embedding" in tensors
    for name, (shape, dtype) in wanted.items():
        number, of = name.split(".")[-2:] if "." in name else ("", name)
        if of in ("embedding", "b_y"):
            value = tensors.pop(of, np.zeros(shape, dtype))[order]
        elif of == "W_y":
            value = tensors.pop(of)[order].T
        elif of == "W_x":
            value = tensors.pop(f"{number}.weight_ih").T
            value = value[order] if number == "0" and not has_embedding else value
        elif of in ("h", "c"):  # of a learned start
            value = tensors[f"{of}_0"][int(number), 0]
        elif of == "W_h":
            value = tensors.pop(f"{number}.weight_hh").T
        else:  # the biases: a GRU's stay two, the reset gate acts on the second
            first, second = (tensors.get(f"{number}.{bias}", np.zeros(shape, dtype)) for bias in ("bias_ih", "bias_hh"))
            both = f"{name.removesuffix('_h')}_h" in wanted
            with np.errstate(invalid="ignore", over="ignore"):  # what is not finite then is refused below, by name
                value = second if of == "b_h" else first if both else first + second
        assert value.shape == shape, name
        leaves[name] = np.array(value, dtype, order="C")
    return leaves
