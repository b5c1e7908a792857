"""A model as its structure and its parameters, and back."""

from __future__ import annotations

from typing import Any

from flax import nnx


def params_of(model: nnx.Module) -> dict:
    """The parameters of a model as a nested dict of arrays."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def model_with(graphdef: nnx.GraphDef, params: Any) -> Any:
    """The model of this structure with these parameters, to score or to write: what is for training alone is off.

    That is what `nnx.Module.eval` turns off, such as the leak of `TemporalGateLSTMCell`; `train()` turns it on again.
    """
    model = nnx.merge(graphdef, nnx.State(params))
    model.eval()
    return model
