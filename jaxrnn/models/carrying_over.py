"""What a language model has learned, carried over into one of another alphabet, of more units or of more layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells import Cell, LayerNormLSTMCell
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.structure import params_of

_NONE = np.zeros(0, np.int64)


class Axis(NamedTuple):
    """Where the entries along one axis of a parameter come from.

    Attributes:
      sizes: of the axis in the source and in the new model.
      old, new: places in the source, and the same entries' places in the new model.
      kept: places of kept symbols in the new model; those below are in it too.
      symbols: places of new symbols.
      units: places of new units.
    """

    sizes: tuple[int, int]
    old: np.ndarray
    new: np.ndarray
    kept: np.ndarray = _NONE
    symbols: np.ndarray = _NONE
    units: np.ndarray = _NONE


def symbols_axis(old: Sequence[str], new: Sequence[str]) -> Axis:
    """The axis of an alphabet: a symbol is the same where its text is.

    Example:
      >>> axis = symbols_axis("abd", "bcd")
      >>> axis.old.tolist(), axis.kept.tolist(), axis.symbols.tolist()
      ([1, 2], [0, 2], [1])
    """
    places = {symbol: place for place, symbol in enumerate(old)}
    of = np.array([places.get(symbol, -1) for symbol in new], np.int64)
    kept = np.flatnonzero(of >= 0)
    return Axis((len(old), len(new)), of[kept], kept, kept, symbols=np.flatnonzero(of < 0))


def carried_over(old: LanguageModel, new: LanguageModel, symbols: Axis, name: str) -> Callable[[Any], Any]:
    """Lets a language model begin with what another has learned: at first the logits of kept symbols are the same.

    A kept symbol brings its row of W_x or of the embedding, its column of W_y and its bias. A new one begins as the
    mean of the kept: its logit is the mean of theirs, a small probability. New units have drawn weights, but those
    from them to what was there are 0, in W_h, in the layer above and in W_y. New layers lie on top, where the output
    layer sees them through skip connections, with weights of 0.

    Args:
      old: the source.
      new: a model of the new structure, of which only the shapes are looked at.
      symbols: from `symbols_axis`.
      name: of the source, for errors.

    Returns:
      A function from drawn parameters of the new model to those that it begins with.

    Raises:
      ConfigurationError: if not all of the source has a place, or the logits would be others.
    """
    _refuse_other_layers(old, new, symbols, name)
    source, drawn = _by_path(params_of(old)), _by_path(params_of(new))
    places = _places(old, new, symbols, source)
    for path in sorted(source.keys() | drawn.keys(), key=str):
        if path[0] == "stack" and path[2] >= len(old.stack.layers):
            continue
        sizes = tuple(zip(*(axis.sizes for axis in places.get(path, ())), strict=True))
        found = tuple(tree[path].shape if path in tree else None for tree in (source, drawn))
        if found != sizes:
            shown = [f"of shape {shape}" if shape else "not there" for shape in found]
            raise ConfigurationError(
                f"{'.'.join(map(str, path))} is {shown[0]} in {name}, {shown[1]} in the new model; give the same one"
            )

    def begin(drawn: Any) -> Any:
        def put(path: tuple, value: jax.Array) -> jax.Array:
            keys = tuple(part.key for part in path)
            return _put(value, source[keys], places[keys]) if keys in places else value

        return jax.tree_util.tree_map_with_path(put, drawn)

    return begin


def _places(old: LanguageModel, new: LanguageModel, symbols: Axis, source: dict) -> dict[tuple, tuple[Axis, ...]]:
    # By path, the axes of each parameter that the source has.
    places: dict[tuple, tuple[Axis, ...]] = {("b_y",): (symbols,)}
    inputs = symbols
    if old.embedding is not None:
        inputs = _same(old.embedding.shape[1])
        places["embedding",] = symbols, inputs
    below, outputs = inputs, None
    for number, layer in enumerate(new.stack.layers):
        before = old.stack.layers[number].hidden_features if number < len(old.stack.layers) else 0
        units = _units(before, layer.hidden_features)
        for path, value in source.items():
            if path[0] == "stack" and path[1] in ("layers", "first_carry") and path[2] == number:
                if not isinstance(layer, Cell):
                    places[path] = tuple(map(_same, value.shape))
                    continue
                columns = _units(before, layer.hidden_features, value.shape[-1] // before)
                rows = {"W_x": below, "peephole": _same(value.shape[0])}.get(path[-1], units)
                places[path] = (rows, columns)[-value.ndim :]
        outputs = units if outputs is None or not new.stack.skip_connections else _beside(outputs, units)
        below = _beside(units, inputs) if new.stack.skip_connections else units
    if old.W_y is not None:
        assert outputs is not None
        places["W_y",] = outputs, symbols
    return places


def _same(size: int) -> Axis:
    return Axis((size, size), np.arange(size), np.arange(size))


def _units(old: int, new: int, blocks: int = 1) -> Axis:
    # So many blocks of units, each of which keeps its old ones in front.
    begin, kept = np.arange(blocks)[:, None], np.arange(old)
    places = (begin * old + kept).ravel(), (begin * new + kept).ravel()
    return Axis((blocks * old, blocks * new), *places, units=(begin * new + np.arange(old, new)).ravel())


def _beside(first: Axis, second: Axis) -> Axis:
    sizes = first.sizes[0] + second.sizes[0], first.sizes[1] + second.sizes[1]
    shifts = first.sizes[0], *[first.sizes[1]] * 4
    return Axis(sizes, *(np.append(a, b + n) for a, b, n in zip(first[1:], second[1:], shifts, strict=True)))


def _put(value: jax.Array, old: jax.Array, axes: tuple[Axis, ...]) -> jax.Array:
    value = value.at[np.ix_(*(axis.new for axis in axes))].set(old[np.ix_(*(axis.old for axis in axes))])
    if len(axes) == 2 and axes[0].units.size:
        value = value.at[np.ix_(axes[0].units, axes[1].new)].set(0)
    for number, axis in enumerate(axes):
        if axis.symbols.size:
            rows = jnp.moveaxis(value, number, 0)
            rows = rows.at[axis.symbols].set(rows[axis.kept].mean(axis=0, keepdims=True))
            value = jnp.moveaxis(rows, 0, number)
    return value


def _by_path(params: Any) -> dict[tuple, Any]:
    return {tuple(part.key for part in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]}


def _refuse_other_layers(old: LanguageModel, new: LanguageModel, symbols: Axis, name: str) -> None:
    layers = len(old.stack.layers), len(new.stack.layers)
    if layers[1] < layers[0]:
        raise ConfigurationError(f"{name} has {layers[0]} layers, none can be taken away; give --layers {layers[0]}")
    if layers[1] > layers[0] and not new.stack.skip_connections:
        raise ConfigurationError(
            f"--layers {layers[1]} is more than the {layers[0]} of {name}; without --skip-connections a new one would "
            f"hide what they have learned; give --layers {layers[0]}"
        )
    for number, (a, b) in enumerate(zip(old.stack.layers, new.stack.layers, strict=False)):
        if type(a) is not type(b):
            kinds = f"{type(a).__name__} in {name}, and is to be of a {type(b).__name__}"
            raise ConfigurationError(f"layer {number} is of a {kinds}; give the same cell")
        if b.hidden_features < a.hidden_features:
            units = f"{a.hidden_features} units in {name}, none can be taken away"
            raise ConfigurationError(f"layer {number} has {units}; give --hidden {a.hidden_features}")
        grows = type(a).__module__.startswith("jaxrnn.cells.") and not isinstance(a, LayerNormLSTMCell)
        if b.hidden_features > a.hidden_features and not grows:
            raise ConfigurationError(
                f"a {type(a).__name__} may look at all its units together, so with more of them it would give other "
                f"numbers; give --hidden {a.hidden_features}"
            )
        reads = (number == 0 or new.stack.skip_connections) and new.embedding is None
        if reads and not isinstance(a, Cell) and not np.array_equal(symbols.old, np.arange(max(symbols.sizes))):
            raise ConfigurationError(
                f"how a {type(a).__name__} reads symbols is not known here, so it cannot be given another alphabet"
            )
