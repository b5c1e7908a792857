"""A model as its structure, its parameters and its other variables, and back."""

from __future__ import annotations

import inspect
from typing import Any

from flax import nnx

from jaxrnn.terminal.table import table


def parameter_table(model: nnx.Module) -> str:
    """The layers of a model, what each is and holds, and how many parameters, as lines for a terminal.

    In place of `nnx.tabulate`, which calls every method of every layer and can give none a carry of several parts.
    `nnx.display(model)` shows the numbers too.
    """
    rows, total = [], 0
    for path, layer in nnx.iter_modules(model):
        own = {name: value[...] for name, value in vars(layer).items() if isinstance(value, nnx.Param)}
        count = sum(value.size for value in own.values())
        total += count
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in own.items())
        if own or not path:
            rows.append([".".join(map(str, path)), type(layer).__name__, shapes, f"{count:,}"])
    rows.sort(key=lambda row: [part.zfill(9) if part.isdigit() else part for part in row[0].split(".")])
    return table(["layer", "type", "parameters", "number"], [*rows, ["in all", "", "", f"{total:,}"]], ["number"])


def params_of(model: nnx.Module) -> dict:
    """The parameters of a model as a nested dict of arrays."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def variables_of(model: nnx.Module) -> Any:
    """What a model holds beside its parameters, such as running means, as a nested dict; () if there is nothing."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param))) or ()


def joined(params: Any, variables: Any) -> Any:
    """Parameters and variables as one nested dict, as `model_with` takes them."""
    if not isinstance(variables, dict):
        return params if isinstance(params, dict) else variables
    return (params or {}) | {name: joined((params or {}).get(name, ()), value) for name, value in variables.items()}


def with_leaves_of(source: Any, tree: Any) -> Any:
    """A nested dict with what `source` holds by the same names, else its own; what only `source` has is left out."""
    if not isinstance(tree, dict):
        return source
    return {name: with_leaves_of(source[name], part) if name in source else part for name, part in tree.items()}


def call_takes(model: Any, name: str) -> bool:
    """Whether a model's call takes an argument of this name, by itself or among others by name."""
    parameters = inspect.signature(type(model).__call__).parameters.values()
    return any(p.name == name or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def model_with(graphdef: nnx.GraphDef, params: Any) -> Any:
    """The model of this structure with these parameters, to score or to write: what is for training alone is off.

    That is what `nnx.Module.eval` turns off, such as the leak of `TemporalGateLSTMCell`; `train()` turns it on again.
    """
    model = nnx.merge(graphdef, nnx.State(params))
    model.eval()
    return model
