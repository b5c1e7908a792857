"""A small untrained model beside which a text is written."""

import functools
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.structure import params_of
from jaxrnn.writer import Session

SYMBOLS = "\n .abcdehlno"


@functools.cache
def model_of(size: int) -> LanguageModel:
    model = LanguageModel(size, 8, cell="lstm", layers=2, rngs=nnx.Rngs(1))
    rng = np.random.default_rng(5)
    drawn = jax.tree.map(lambda p: rng.normal(0, 0.7, p.shape).astype(np.float32), nnx.state(model, nnx.Param))
    nnx.update(model, drawn)
    return model


def trained(vocabulary: Any = None, document_end: int | None = None) -> Any:
    """What a `Session` asks of a trained model."""
    vocabulary = vocabulary or Vocabulary(tuple(SYMBOLS))
    model = model_of(len(vocabulary.symbols))
    return SimpleNamespace(
        path="small",
        vocabulary=vocabulary,
        document_end=document_end,
        config=SimpleNamespace(dtype="float32"),
        split=lambda checkpoint: (nnx.split(model)[0], params_of(model)),
    )


@functools.cache
def session(seed: int = 0) -> Session:
    """One for all tests, which compile it once; what is asked of it does not depend on what was."""
    return Session(trained(), seed=seed)
