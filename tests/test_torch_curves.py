"""Two hundred updates beside PyTorch from the same start: two layers, one optimizer, the same losses."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.language_model import LanguageModel
from jaxrnn.optimizer import OptimizerSettings
from jaxrnn.train_state import params_of
from tests.reference.stack_loop import random_values
from tests.reference.training import Trainer

SYMBOLS, HIDDEN, STEPS, BATCH, UPDATES = 11, 16, 10, 4, 200
NAMES = {"W_x": "weight_ih_l{}", "W_h": "weight_hh_l{}", "b": "bias_ih_l{}", "b_h": "bias_hh_l{}"}
RATES = {"adam": 0.01, "sgd": 0.2}


def predictable_ids(rng, length):
    """Symbols that mostly follow a fixed order, so that there is something to learn."""
    follower = rng.permutation(SYMBOLS)
    ids = [0]
    for surprise in rng.random(length - 1):
        ids.append(int(rng.integers(SYMBOLS)) if surprise < 0.2 else int(follower[ids[-1]]))
    return np.array(ids)


def torch_losses(torch, cell, rule, params, streams):
    """PyTorch's loop over the same windows, the carry cut off and handed on."""
    recurrent = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](SYMBOLS, HIDDEN, num_layers=2)
    output = torch.nn.Linear(HIDDEN, SYMBOLS)
    with torch.no_grad():
        for layer in range(2):
            for name, value in params["stack"]["layers"][layer].items():
                getattr(recurrent, NAMES[name].format(layer)).copy_(torch.tensor(np.array(value).T))
            if cell == "lstm":  # of its two biases, added up, the second is no parameter here
                second = getattr(recurrent, f"bias_hh_l{layer}")
                second.zero_()
                second.requires_grad = False
        output.weight.copy_(torch.tensor(np.array(params["W_y"]).T))
        output.bias.copy_(torch.tensor(np.array(params["b_y"])))
    trained = [p for p in [*recurrent.parameters(), *output.parameters()] if p.requires_grad]
    if rule == "adam":
        optimizer = torch.optim.Adam(trained, RATES[rule], betas=(0.9, 0.999), eps=1e-8)
    else:
        optimizer = torch.optim.SGD(trained, RATES[rule], momentum=0.5)
    carry, losses = None, []
    for update in range(UPDATES):
        window = torch.tensor(streams[update * STEPS : (update + 1) * STEPS + 1].astype(np.int64))
        hs, carry = recurrent(torch.nn.functional.one_hot(window[:-1], SYMBOLS).float(), carry)
        carry = tuple(part.detach() for part in carry) if cell == "lstm" else carry.detach()
        loss = torch.nn.functional.cross_entropy(output(hs).reshape(-1, SYMBOLS), window[1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


@pytest.mark.parametrize(("cell", "rule"), [("lstm", "adam"), ("gru", "adam"), ("gru", "sgd")])
def test_the_loss_curve_is_pytorchs(cell, rule, rng):
    torch = pytest.importorskip("torch")
    options = {"cell": cell, "layers": 2, "param_dtype": jnp.float32}
    model = random_values(LanguageModel(SYMBOLS, HIDDEN, rngs=nnx.Rngs(0), **options), rng, std=0.3)
    ids = predictable_ids(rng, BATCH * (UPDATES * STEPS + 1))
    optimizer = OptimizerSettings(rule, momentum=0.5 if rule == "sgd" else 0.0, clips_value=False)
    settings = {"bptt_length": STEPS, "optimizer": optimizer, "loss_reduction": "mean"}
    ours = Trainer(model, ids, BATCH, learning_rate=RATES[rule], **settings)
    expected = torch_losses(torch, cell, rule, params_of(model), ours.streams)
    _, losses, _ = ours.advance(ours.state(), UPDATES)
    assert expected[-20:].mean() < 0.75 * expected[:20].mean()  # it learns
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
