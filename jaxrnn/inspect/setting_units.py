"""What a unit does: set it to a value while the model scores or writes, and see what changes."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.decode.sampling import sample_ids
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.activity import observing
from jaxrnn.models.symbols import refuse_other_ids, symbols_of
from jaxrnn.random_streams import STREAM_SAMPLES, run_key, stream_key


class WithUnitSet(nnx.Module):
    """A language model in which h of one unit has a value after every step, in the carry and in the output.

    It is called as the model is, so `guess` and `sample_from` take it too.

    Args:
      model: the language model.
      layer: number of the layer, from the lowest.
      unit: of that layer.
      value: what h of the unit is set to.

    Raises:
      ConfigurationError: if there is no such layer or unit.
    """

    def __init__(self, model: Any, layer: SupportsIndex, unit: SupportsIndex, value: float):
        layers, layer, unit = model.stack.layers, operator.index(layer), operator.index(unit)  # of NumPy too
        if not 0 <= layer < len(layers) or not 0 <= unit < layers[layer].hidden_features:
            raise ConfigurationError(f"there is no unit {unit} in layer {layer} of {len(layers)}; count from 0")
        self.model, self.layer, self.vocabulary_size = model, layer, symbols_of(model)
        self.place = nnx.Variable(jnp.asarray(unit, jnp.int32))
        self.value = nnx.Variable(jnp.asarray(value, jnp.float32))

    def initial_carry(self, batch_size: int) -> Any:
        """That of the model."""
        return self.model.initial_carry(batch_size)

    def __call__(self, ids: jax.Array, carry: Any, **options: Any) -> tuple[jax.Array, Any]:
        engine = _setting(self.layer, self.place[...], self.value[...])
        return self.model(ids, carry, **options | {"engine": engine})


def _setting(layer: int, unit: jax.Array, value: jax.Array) -> Callable[..., Any]:
    """An engine in which h of a unit of a layer has a value after every step; -1 is none."""

    def change(number: int, h: jax.Array) -> jax.Array:
        return jnp.where(jnp.arange(h.shape[-1]) == unit, value.astype(h.dtype), h) if number == layer else h

    return observing([], change)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _losses(graphdef, layer, state, ids, units, value):
    def loss(unit: jax.Array) -> jax.Array:
        model = nnx.merge(graphdef, state)
        logits, _ = model(ids[:-1, None], model.initial_carry(1), engine=_setting(layer, unit, value))
        log_p = jax.nn.log_softmax(logits[:, 0])
        return -jnp.take_along_axis(log_p, ids[1:, None], axis=1).mean()

    return jax.lax.map(loss, units)


def effect_of_setting(model: Any, ids: np.ndarray, layer: int, value: float = 0.0) -> np.ndarray:
    """How much worse the model guesses a text with each unit of a layer set to a value, one at a time.

        effect_u = loss with h_u = value at every step - loss as it is        nats a symbol

    So the effect of one unit can be seen against that of every other.

    Args:
      model: a language model.
      ids: the text, (N,); all of it is held at once, so some thousand symbols.
      layer: number of the layer, from the lowest.
      value: what h is set to; 0 switches a unit off.

    Returns:
      (H,).
    """
    layer = WithUnitSet(model, layer, 0, value).layer  # refuses one that there is not
    refuse_other_ids(ids, symbols_of(model))
    model.eval()
    graphdef, state = nnx.split(model)
    units = jnp.arange(-1, model.stack.layers[layer].hidden_features)  # -1 is none
    given = jnp.asarray(np.asarray(ids, np.int32)), units, jnp.asarray(value, jnp.float32)
    losses = np.asarray(_losses(graphdef, layer, state, *given), np.float64)
    return losses[1:] - losses[0]


def sample_from(
    model: Any,
    length: int,
    *,
    prime: np.ndarray | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    document_end: int | None = None,
) -> np.ndarray:
    """Lets any language model write, such as one `WithUnitSet`: the ids of what it wrote, (length,).

    With the same prime and seed a trained run's model writes what `sample` of the run gives.

    Args:
      model: called as `(ids, carry) -> (logits, carry)`.
      length: how many ids to generate.
      prime: ids that are read first and not returned; without any, writing begins after a random symbol.
      temperature: 0 is greedy, 1 the model's own probabilities, higher is more random.
      seed: the same seed gives the same draws of chance to every model.
      document_end: id after which the carry is that of a fresh start.

    Raises:
      ConfigurationError: if the length or the temperature is negative.
      NumericError: if a parameter is not finite.

    Example:
      >>> from jaxrnn.models.language_model import LanguageModel
      >>> model = LanguageModel(3, 4, rngs=nnx.Rngs(0))
      >>> sample_from(WithUnitSet(model, 0, 1, 0.5), 10, prime=np.array([0, 1])).shape
      (10,)
    """
    graphdef, state = nnx.split(model)
    key = stream_key(run_key(seed), STREAM_SAMPLES)
    options: dict[str, Any] = {"temperature": temperature, "prime": prime, "document_end": document_end}
    parts = list(sample_ids(graphdef, nnx.to_pure_dict(state), length=length, key=key, **options))
    return np.concatenate([np.zeros(0, np.int32), *parts])
