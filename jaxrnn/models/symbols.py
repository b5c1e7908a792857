"""The symbols that a language model reads and writes: how many there are, and ids that are none of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def symbols_of(model: Any) -> int:
    """V: what a language model says, or how many logits it gives."""
    if hasattr(model, "vocabulary_size"):
        return model.vocabulary_size
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return jax.eval_shape(lambda ids: model(ids, model.initial_carry(1))[0], ids).shape[-1]


def refuse_other_ids(ids: Any, symbols: int) -> None:
    """Refuses ids that are no symbols of a model: in the place of each JAX would read that of another.

    Args:
      ids: of any shape.
      symbols: V.

    Raises:
      ValueError: if they are no whole numbers from 0 to V - 1.

    Example:
      >>> refuse_other_ids([0, 4], 4)
      Traceback (most recent call last):
      ValueError: a model of 4 symbols expects ids from 0 to 3, got 4; were they made with another vocabulary?
    """
    ids = np.asarray(ids)
    if not ids.size:
        return
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"a model expects whole numbers as ids of symbols, got {ids.dtype}; Vocabulary.encode makes them"
        )
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= symbols:
        raise ValueError(
            f"a model of {symbols} symbols expects ids from 0 to {symbols - 1}, got {low if low < 0 else high}; "
            "were they made with another vocabulary?"
        )
