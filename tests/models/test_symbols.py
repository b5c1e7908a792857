"""Ids that are no symbols of a model are refused by all that reads a text: JAX would take the nearest ones for them."""

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from jaxrnn import LanguageModel, inspect
from jaxrnn.decode import sample_ids
from jaxrnn.models.structure import params_of
from jaxrnn.models.symbols import refuse_other_ids, symbols_of
from jaxrnn.scoring import Adaptation, evaluate_adapting, evaluate_ids

V = 5
MODEL = LanguageModel(V, 3, rngs=nnx.Rngs(0))
GRAPHDEF, PARAMS = nnx.split(MODEL)[0], params_of(MODEL)
READERS: dict[str, Any] = {
    "guess": lambda ids: inspect.guess(MODEL, ids, best=2),
    "guess, before": lambda ids: inspect.guess(MODEL, np.zeros(4, int), best=2, before=ids),
    "activations": lambda ids: inspect.activations(MODEL, ids),
    "depends_on": lambda ids: inspect.depends_on(MODEL, ids),
    "effect_of_setting": lambda ids: inspect.effect_of_setting(MODEL, ids, 0),
    "sample_from": lambda ids: inspect.sample_from(MODEL, 3, prime=ids),
    "sample_ids": lambda ids: list(sample_ids(GRAPHDEF, PARAMS, length=3, key=jax.random.key(0), prime=ids)),
    "evaluate_ids": lambda ids: evaluate_ids(GRAPHDEF, PARAMS, ids),
    "evaluate_adapting": lambda ids: evaluate_adapting(GRAPHDEF, PARAMS, ids, PARAMS, Adaptation()),
}


@pytest.mark.parametrize("wrong", [V, -1])
@pytest.mark.parametrize("reads", READERS.values(), ids=READERS)
def test_who_reads_a_text_refuses_ids_of_another_vocabulary(reads: Any, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"of 5 symbols expects ids from 0 to 4, got {wrong}; were they made with ano"):
        reads(np.array([0, 1, wrong, 4, 2, 0]))


def test_ids_are_whole_numbers_and_every_symbol_is_one() -> None:
    refuse_other_ids([], V)
    refuse_other_ids(np.arange(V, dtype=np.uint8), symbols_of(MODEL))
    with pytest.raises(ValueError, match="whole numbers as ids of symbols, got float64"):
        refuse_other_ids([0.0, 1.0], V)
