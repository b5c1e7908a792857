"""An ensemble: the mean of probabilities, computed apart in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.models.ensemble import Ensemble
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.structure import params_of
from jaxrnn.scoring import evaluate_ids


def test_probabilities_are_the_mean_of_those_of_its_models(rng: np.random.Generator) -> None:
    models = [
        LanguageModel(6, 5, cell="lstm", rngs=nnx.Rngs(0)),
        LanguageModel(6, 4, cell="gru", layers=2, rngs=nnx.Rngs(1)),
    ]
    for model in models:
        nnx.update(model, jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), nnx.state(model, nnx.Param)))
    ids = rng.integers(0, 6, 300).astype(np.uint8)
    p = np.zeros((299, 6))
    for model in models:
        logits = np.asarray(model(jnp.asarray(ids[:-1, None]), model.initial_carry(1))[0], np.float64)[:, 0]
        p += np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) / 2
    together = Ensemble(models)
    found = evaluate_ids(nnx.split(together)[0], params_of(together), ids)
    assert found.loss_nats == pytest.approx(-np.log(p[np.arange(299), ids[1:]]).mean(), rel=1e-5)
    assert found.accuracy == (p.argmax(-1) == ids[1:]).mean()


def test_none_is_refused() -> None:
    with pytest.raises(ValueError, match="none"):
        Ensemble([])


def test_models_of_other_symbols_are_refused() -> None:
    with pytest.raises(ValueError, match="models of the same symbols, got 5 and 6 of them"):
        Ensemble([LanguageModel(symbols, 3, rngs=nnx.Rngs(0)) for symbols in (6, 5)])
