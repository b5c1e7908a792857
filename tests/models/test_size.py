"""Sizes of equal cost, against models that are really made and against trying every size."""

import jax
import pytest
from flax import nnx

from jaxrnn.cells import CELLS
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.size import hidden_size_for, model_parameters

V = 83  # War and Peace


def made_parameters(cell, layers, hidden, vocabulary_size, use_bias, skip_connections):
    def make():
        options = {"use_bias": use_bias}
        return LanguageModel(
            vocabulary_size,
            hidden,
            cell=cell,
            layers=layers,
            skip_connections=skip_connections,
            cell_options=options,
            rngs=nnx.Rngs(0),
        )

    state = nnx.split(nnx.eval_shape(make))[1]
    return sum(leaf.size for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("skip_connections", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_counts_are_those_of_real_models(cell, use_bias, skip_connections):
    for layers in (1, 3):
        asked = (cell, layers, 7, 11, use_bias, skip_connections)
        assert model_parameters(*asked) == made_parameters(*asked)


@pytest.mark.parametrize("size", [1, 4, 64, 512])
@pytest.mark.parametrize(
    ("cell", "use_bias"), [("lstm", True), ("lstm-peephole", True), ("gru-reset-before", False), ("vanilla", True)]
)
def test_no_other_size_is_nearer(cell, use_bias, size):
    budget = model_parameters("lstm", 1, size, V)
    for layers in (1, 2, 3):
        for skips in (False, True):
            found = hidden_size_for(cell, layers, size, V, use_bias, skips)
            away = {h: abs(model_parameters(cell, layers, h, V, use_bias, skips) - budget) for h in range(1, 6 * size)}
            assert found == min(away, key=lambda h: (away[h], h))


def test_the_sizes_of_the_thesis_are_within_one_percent_or_the_nearest_possible():
    for size in (64, 128, 256, 512):
        assert hidden_size_for("lstm", 1, size, V) == size
        assert hidden_size_for("lstm-peephole", 1, size, V) == size
        for cell, use_bias in (("lstm-peephole", True), ("gru-reset-before", False)):
            for layers in (1, 2, 3):
                hidden = hidden_size_for(cell, layers, size, V, use_bias)
                budget = model_parameters("lstm", 1, size, V)
                off = abs(model_parameters(cell, layers, hidden, V, use_bias) - budget)
                step = model_parameters(cell, layers, hidden + 1, V, use_bias)
                step -= model_parameters(cell, layers, hidden, V, use_bias)
                assert off <= max(0.01 * budget, step / 2)


def test_nonsense_is_refused():
    for wrong in ((0, 64, V), (1, 0, V), (1, 64, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            hidden_size_for("lstm", *wrong)
