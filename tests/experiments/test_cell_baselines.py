"""What the benchmark of cells measures against trains one recipe."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.benchmark import cell_baselines
from experiments.benchmark.cell_baselines import CellSetting, FlaxCells, Products, TorchCells, streams_of
from jaxrnn.data.windows import to_streams
from jaxrnn.errors import ConfigurationError

V = 7
IDS = np.random.default_rng(0).integers(0, V, 49).astype(np.uint8)  # 4 windows an epoch
SMALL = {"batch_size": 3, "bptt_length": 4}


def test_streams_follow_each_other():
    np.testing.assert_array_equal(streams_of(np.arange(8), 3), [[0, 2, 4], [1, 3, 5], [2, 4, 6]])
    for batch_size in (1, 2, 5):
        np.testing.assert_array_equal(streams_of(IDS, batch_size), to_streams(IDS, batch_size))


def test_a_row_is_named_by_cell_hidden_and_layers():
    setting = CellSetting.from_name("lstm-128-2")
    assert (setting.kind, setting.hidden, setting.layers, setting.name) == ("lstm", 128, 2, "lstm-128-2")
    for wrong in ("lstm-128", "lstm-x-1", "elman-128-1", "lstm-128-1-1"):
        with pytest.raises(ConfigurationError, match="as in lstm-128-1; got"):
            CellSetting.from_name(wrong)


def test_product_parameters_are_the_matrices_above_the_look_up():
    for kind in ("vanilla", "lstm", "gru"):
        for layers in (1, 3):
            setting = CellSetting(kind, 5, layers, **SMALL)
            model = nnx.eval_shape(lambda setting=setting: FlaxCells(IDS, V, setting).model)
            matrices = [p.shape for p in jax.tree.leaves(nnx.state(model, nnx.Param)) if p.ndim == 2]
            assert setting.product_parameters(V) == sum(rows * columns for rows, columns in matrices if rows != V)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_torch_and_flax_train_alike(kind, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(cell_baselines, "INIT_SCALE", 0.8)  # weights large enough for the carry to matter
    setting = CellSetting(kind, 6, 2, **SMALL)
    torch_cells, flax_cells = TorchCells(IDS, V, setting), FlaxCells(IDS, V, setting)
    ours = dict(torch_cells.rnn.named_parameters())
    model: Any = flax_cells.model
    for number, layer in enumerate(model.layers):
        cell = layer.cell
        for kernel, name in ((cell.dense_i.kernel, "weight_ih"), (cell.dense_h.kernel, "weight_hh")):
            kernel.set_value(jnp.asarray(ours[f"{name}_l{number}"].detach().numpy().T))
        bias = cell.dense_i.bias if kind == "gru" else cell.dense_h.bias
        bias.set_value(jnp.asarray(ours[f"bias_ih_l{number}"].detach().numpy()))
        with torch.no_grad():  # Flax has one bias, so one of PyTorch's two is held at 0
            ours[f"bias_hh_l{number}"].zero_().requires_grad_(False)
    model.output.kernel.set_value(jnp.asarray(torch_cells.output.weight.detach().numpy().T))
    model.output.bias.set_value(jnp.asarray(torch_cells.output.bias.detach().numpy()))
    losses = np.array([(torch_cells.advance(1), flax_cells.advance(1)) for _ in range(7)])  # into the second epoch
    # RMSprop's first steps have the size of the learning rate whatever the gradient, so rounding grows.
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=2e-5)


def test_the_first_loss_is_that_of_a_guess():
    setting = CellSetting("lstm", 4, 2, **SMALL)
    assert FlaxCells(IDS, V, setting).advance(1) == pytest.approx(np.log(V), rel=0.05)


def test_torchs_first_loss_is_that_of_a_guess():
    pytest.importorskip("torch")
    setting = CellSetting("lstm", 4, 2, **SMALL)
    assert TorchCells(IDS, V, setting).advance(1) == pytest.approx(np.log(V), rel=0.05)


def test_advance_goes_on_where_it_stopped():
    setting = CellSetting("lstm", 4, 1, **SMALL)
    whole, split = FlaxCells(IDS, V, setting), FlaxCells(IDS, V, setting)
    losses = [split.advance(updates) for updates in (1, 3, 2)]
    assert whole.advance(6) == losses[-1] != losses[0]


def test_samples_follow_the_models_own_probabilities():
    setting = CellSetting("gru", 4, 2, **SMALL)
    flax_cells = FlaxCells(IDS, V, setting)
    output: Any = flax_cells.model.output
    output.bias.set_value(jnp.zeros(V).at[5].set(50.0))
    np.testing.assert_array_equal(flax_cells.sample(6), [5] * 6)


def test_torchs_samples_follow_the_models_own_probabilities():
    torch = pytest.importorskip("torch")
    setting = CellSetting("gru", 4, 2, **SMALL)
    torch_cells = TorchCells(IDS, V, setting)
    assert len(set(torch_cells.sample(60))) > 2
    with torch.no_grad():
        torch_cells.output.bias[5] = 50.0
    np.testing.assert_array_equal(torch_cells.sample(6), [5] * 6)


@pytest.fixture
def nothing_passes(monkeypatch):
    monkeypatch.setattr(cell_baselines, "CLIP_VALUE", 0.0)


def test_clipping_reaches_flax(nothing_passes):
    setting = CellSetting("lstm", 4, 1, **SMALL)
    still = FlaxCells(IDS, V, setting)
    assert still.advance(1) == still.advance(4)  # the fifth window is the first again


def test_clipping_reaches_torch(nothing_passes):
    pytest.importorskip("torch")
    setting = CellSetting("lstm", 4, 1, **SMALL)
    torch_still = TorchCells(IDS, V, setting)
    assert torch_still.advance(1) == torch_still.advance(4)


def test_products_are_as_many_as_steps():
    products = Products(CellSetting("gru", 4, 1, **SMALL))
    h, W = np.asarray(products.h, np.float64), np.asarray(products.W, np.float64)
    for _ in range(4):
        r = h @ W
        h = r[:, :4] + r[:, 4:8] + r[:, 8:]
    assert products.advance(2) == pytest.approx(h.mean(), rel=1e-4)
