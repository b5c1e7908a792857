"""Several language models as one: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.models.symbols import symbols_of


class Ensemble(nnx.Module):
    """Models of the same symbols, whose probabilities are averaged.

        logits_t = log (1 / M) sum_m softmax(logits_{m,t})

    It is called as each of them is, has one carry of all, and can be scored, can write, and can be looked into as one.

    Args:
      models: ids in, logits out; of any structure.

    Raises:
      ValueError: if there are none, or they have different numbers of symbols.

    Example:
      >>> from jaxrnn import LanguageModel
      >>> models = [LanguageModel(65, 8, rngs=nnx.Rngs(seed)) for seed in range(3)]
      >>> together = Ensemble(models)
      >>> logits, carry = together(jnp.zeros((25, 1), jnp.uint8), together.initial_carry(1))
      >>> float(jnp.exp(logits[-1, 0]).sum().round(4))
      1.0
    """

    def __init__(self, models: Sequence[Any]):
        if not models:
            raise ValueError("an ensemble expects models, got none")
        sizes = sorted({symbols_of(model) for model in models})
        if len(sizes) > 1:
            raise ValueError(f"an ensemble expects models of the same symbols, got {sizes[0]} and {sizes[-1]} of them")
        self.vocabulary_size = sizes[0]
        self.models = nnx.List(models)

    def initial_carry(self, batch_size: int) -> tuple:
        """The carry of a fresh start, one a model."""
        return tuple(model.initial_carry(batch_size) for model in self.models)

    def __call__(self, ids: jax.Array, carries: tuple, **options: Any) -> tuple[jax.Array, tuple]:
        """Options are those of each model's call."""
        told = [model(ids, carry, **options) for model, carry in zip(self.models, carries, strict=True)]
        log_p = jnp.stack([jax.nn.log_softmax(logits, axis=-1) for logits, _ in told])
        return jax.nn.logsumexp(log_p, axis=0) - jnp.log(len(told)), tuple(carry for _, carry in told)
