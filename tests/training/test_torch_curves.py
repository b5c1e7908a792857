"""Two hundred updates beside PyTorch from the same start: two layers, one optimizer, the same losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.models.language_model import LanguageModel
from jaxrnn.optim.settings import OptimizerSettings
from tests.reference.torch_numbers import layers_of, stored
from tests.reference.training import Trainer
from tests.thinned import thinned
from tests.trees import leaves_by_path

STEPS, BATCH = 10, 4
RATES = {"adam": 0.01, "sgd": 0.2}


CURVES = [("lstm", "adam"), ("gru", "adam"), ("gru", "sgd")]


@pytest.mark.parametrize(("cell", "rule"), thinned(CURVES, {("lstm", "adam"), ("gru", "sgd")}))
def test_the_loss_curve_is_pytorchs(cell, rule):
    arrays = stored(f"torch_curve_{cell}_{rule}")
    hidden, symbols = arrays["W_y"].shape
    model = LanguageModel(symbols, hidden, cell=cell, layers=2, param_dtype=jnp.float32, rngs=nnx.Rngs(0))
    layers = dict(enumerate(layers_of(arrays, "weights")))
    values = {"stack": {"layers": layers}, "W_y": arrays["W_y"], "b_y": arrays["b_y"]}
    ours = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert leaves_by_path(values).keys() == leaves_by_path(ours).keys()
    nnx.update(model, nnx.State(jax.tree.map(jnp.asarray, values)))
    optimizer = OptimizerSettings(rule, momentum=0.5 if rule == "sgd" else 0.0, clips_value=False)
    settings = {"bptt_length": STEPS, "optimizer": optimizer, "loss_reduction": "mean"}
    trainer = Trainer(model, arrays["ids"], BATCH, learning_rate=RATES[rule], **settings)
    expected = arrays["results/losses"]
    _, losses, _ = trainer.advance(trainer.state(), len(expected))
    assert len(expected) == 200 and expected[-20:].mean() < 0.75 * expected[:20].mean()  # it learns
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
