"""PyTorch's stored results (`tests/golden/make_torch.py`), and our cells against them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.reference.random_cell import params_of, quick_jit, unroll_with
from tests.trees import assert_trees_close

FOLDER = Path(__file__).parent.parent / "golden"


def stored(name):
    """The arrays of a file by name."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def layers_of(arrays, prefix):
    """What stands under "prefix/layer/name", as one dict by name for each layer."""
    layers: list[dict[str, np.ndarray]] = []
    for path, value in arrays.items():
        if path.startswith(f"{prefix}/"):
            layer, name = path.removeprefix(f"{prefix}/").split("/")
            layers += [{} for _ in range(int(layer) + 1 - len(layers))]
            layers[int(layer)][name] = value
    return layers


def assert_layers_equal_torch(cell_type, carry_type, name, rtol):
    """Layers of a cell with PyTorch's weights have its outputs, and its gradients by all that they depend on."""
    arrays = stored(name)
    cells = []
    for weights in layers_of(arrays, "weights"):
        cell = cell_type(*weights["W_x"].shape[:1], weights["W_h"].shape[0], rngs=nnx.Rngs(0))
        assert set(params_of(cell)) == set(weights)
        nnx.update(cell, nnx.State(jax.tree.map(jnp.asarray, weights)))
        cells.append(cell)

    def carries_of(prefix):
        return [carry_type(**carry) for carry in layers_of(arrays, prefix)]

    def loss(params, xs, carries):
        ys, total = xs, jnp.zeros(())
        for cell, own, carry, d_last in zip(cells, params, carries, carries_of("d_last"), strict=True):
            last, ys = unroll_with(cell, engine="scan")(own, ys, carry)
            total = total + sum(jnp.sum(a * b) for a, b in zip(last, d_last, strict=True))
        return total + jnp.sum(ys * arrays["d_ys"]), ys

    inputs = ([params_of(cell) for cell in cells], jnp.asarray(arrays["xs"]), carries_of("carry"))
    gradients, ys = quick_jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*inputs)
    expected = (layers_of(arrays, "results/d_weights"), arrays["results/d_xs"], carries_of("results/d_carry"))
    assert_trees_close(ys, arrays["results/ys"], rtol=rtol)
    assert_trees_close(gradients, expected, rtol=rtol)
