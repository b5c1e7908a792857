"""From settings to a job and a model: what is refused, and the starting values."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import CELLS
from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.errors import DataError
from jaxrnn.models.structure import params_of
from jaxrnn.tasks import text as text_task
from jaxrnn.tasks.text import NextSymbol, Text
from jaxrnn.training.job import make_job, make_model

SCALE = 0.1


def starting_values(cell: str, **settings) -> dict[str, np.ndarray]:
    config = TrainConfig(**{"cell": cell, "hidden": 96, "layers": 2, "init_scale": SCALE} | settings)  # type: ignore[arg-type]
    params = jax.jit(lambda: params_of(make_model(config, NextSymbol(20, config.bptt_length), nnx.Rngs(0))))()
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


@pytest.mark.parametrize("cell", CELLS)
def test_drawn_biases_lie_around_their_usual_start_and_leave_the_weights(cell):
    usual, drawn = starting_values(cell), starting_values(cell, init_biases=True)
    added = {name: drawn[name] - usual[name] for name in usual}
    biases = [name for name in usual if "['b" in name]
    assert len(biases) >= 3  # two layers and the output
    assert {name for name, values in added.items() if values.any()} == set(biases)
    values = np.concatenate([added[name] for name in biases])
    assert len(np.unique(values)) > 0.99 * len(values)
    standard_error = SCALE / np.sqrt(2 * len(values))
    assert abs(values.std() - SCALE) < 5 * standard_error
    assert abs(values.mean()) < 5 * SCALE / np.sqrt(len(values))


def test_drawn_biases_follow_the_distribution_of_the_weights():
    usual, drawn = (starting_values("lstm", init="uniform", init_biases=on) for on in (False, True))
    added = np.concatenate([drawn[name] - usual[name] for name in usual if "['b" in name])
    assert np.abs(added).max() <= SCALE + 1e-6  # U(-0.1, 0.1); a normal draw of 900 values leaves it
    assert abs(added.std() - SCALE / np.sqrt(3)) < 0.004


def test_a_cell_without_biases_has_only_the_output_layers_to_draw():
    usual, drawn = (starting_values("gru", cell_bias=False, init_biases=on) for on in (False, True))
    assert {name for name in usual if (usual[name] != drawn[name]).any()} == {"['b_y']"}
    assert jnp.shape(drawn["['b_y']"]) == (20,)


def test_the_smallest_validation_fraction_that_an_error_names_is_accepted():
    corpus = corpus_from_text("ab" * 15_000 + "a")  # 26 of 30,001 are 0.000866637..., 0.0008666 would hold out 25
    with pytest.raises(DataError, match="has 15 characters, at least 26 needed") as caught:
        make_job(TrainConfig(validation_fraction=0.0005), corpus)
    job = make_job(TrainConfig(validation_fraction=float(str(caught.value).split()[-1])), corpus)
    assert isinstance(job.task, Text)
    assert len(job.task.parts.valid) == 26 and len(job.task.parts.train) == 29_975


VARIANCES = {
    "glorot-uniform": lambda rows, columns: 2 / (rows + columns),
    "glorot-normal": lambda rows, columns: 2 / (rows + columns),
    "lecun-normal": lambda rows, columns: 1 / rows,
    "he-normal": lambda rows, columns: 2 / rows,
}


def plain_weights(**settings) -> dict[str, np.ndarray]:
    """[W_x; W_h] of a vanilla layer, (20 + 96, 96), and W_y, (96, 20)."""
    values = starting_values("vanilla", layers=1, init_scale=0.01, **settings)
    of_layer = [next(leaf for name, leaf in values.items() if f"'{end}'" in name) for end in ("W_x", "W_h")]
    return {"layer": np.concatenate(of_layer), "output": values["['W_y']"]}


@pytest.mark.parametrize("init", VARIANCES)
def test_the_sizes_of_a_matrix_give_its_variance(init):
    for W in plain_weights(init=init).values():
        expected = VARIANCES[init](*W.shape)
        error = W.var() / expected - 1
        assert abs(error) < 5 * np.sqrt(2 / W.size)  # five standard errors of a normal draw's variance
        assert abs(W.mean()) < 5 * np.sqrt(expected / W.size)
        if init == "glorot-uniform":
            assert 0.98 < np.abs(W).max() / np.sqrt(3 * expected) <= 1


def test_orthogonal_columns_have_length_one():
    for W in plain_weights(init="orthogonal").values():
        np.testing.assert_allclose(W.T @ W, np.eye(W.shape[1]), atol=1e-5)


def test_the_recurrent_weights_are_drawn_by_what_is_asked_for(monkeypatch):
    given: dict[str, Any] = {}
    of_five = NextSymbol(5, 25)
    monkeypatch.setattr(text_task, "LanguageModel", lambda *sizes, **options: given.update(options))
    make_model(TrainConfig(init="uniform", init_scale=0.5), of_five, nnx.Rngs(0))
    assert given.pop("recurrent_init") is None  # one draw for W_x and W_h, as ever
    key = jax.random.key(0)
    make_model(TrainConfig(init="uniform", init_scale=0.5, recurrent_init="orthogonal"), of_five, nnx.Rngs(0))
    W_h = given["recurrent_init"](key, (6, 6), jnp.float32)
    np.testing.assert_allclose(W_h @ W_h.T, np.eye(6), atol=1e-5)
    assert 0.4 < jnp.abs(given["kernel_init"](key, (9, 9), jnp.float32)).max() <= 0.5
    make_model(TrainConfig(init="orthogonal", init_scale=0.5, recurrent_init="uniform"), of_five, nnx.Rngs(0))
    assert 0.4 < jnp.abs(given["recurrent_init"](key, (9, 9), jnp.float32)).max() <= 0.5
