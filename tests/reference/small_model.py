"""A language model with random values, and the bridge between its parameters and the reference's names."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.models.language_model import LanguageModel

OUTPUT_NAMES = ("W_y", "b_y")


def random_model(symbols, hidden, rng, *, layers=1, dtype=jnp.float64, std=0.5):
    model = LanguageModel(symbols, hidden, layers=layers, param_dtype=dtype, rngs=nnx.Rngs(0))
    values = jax.tree.map(lambda v: jnp.asarray(std * rng.normal(size=v.shape), dtype), nnx.state(model, nnx.Param))
    nnx.update(model, values)
    return model


def to_reference(params):
    """Parameters of a model of one vanilla layer by the names of the NumPy loops, as copies."""
    flat = {**params["stack"]["layers"][0], **{name: params[name] for name in OUTPUT_NAMES}}
    return {name: np.array(value) for name, value in flat.items()}


def from_reference(by_name, like):
    """The inverse: a tree of the form of `like`."""
    values = {name: jnp.array(value) for name, value in by_name.items()}
    layer = {name: values[name] for name in like["stack"]["layers"][0]}
    return {**like, "stack": {"layers": {0: layer}}, **{name: values[name] for name in OUTPUT_NAMES}}
