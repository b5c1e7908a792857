"""Makes the torch_*.npz beside it: what PyTorch computes from inputs and weights that are stored with its results.

Command: python -m tests.golden.make_torch [FOLDER]

Made with torch 2.13.0+cpu on one thread, 2026-11-25. Arrays have the library's names, shapes (W_x is (F, blocks * H))
and order of axes (steps, streams, features); PyTorch's matrices are their transposes. A name that begins with "d_" and
stands under "results/" is a gradient. Of PyTorch's two biases, which it adds, the RNN gets a quarter and three
quarters, the LSTM all and zero; the GRU's are two parameters here too.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
FOLDER = Path(__file__).parent
THEIRS = {"W_x": "weight_ih_l{}", "W_h": "weight_hh_l{}", "b": "bias_ih_l{}", "b_h": "bias_hh_l{}"}
LAYERS = {"vanilla": 1, "lstm": 2, "gru": 2}
BLOCKS = {"vanilla": 1, "lstm": 4, "gru": 3}
STATES = {"vanilla": ("h",), "lstm": ("c", "h"), "gru": ("h",)}
SHARE_OF_FIRST_BIAS = {"vanilla": 0.25, "lstm": 1.0}
CURVES = {"lstm_adam": ("lstm", "adam", 0.01), "gru_adam": ("gru", "adam", 0.01), "gru_sgd": ("gru", "sgd", 0.2)}


def drawn_weights(draw: np.random.Generator, kind: str, features: int, hidden: int, layers: int, std: float) -> Arrays:
    """Weights and biases of every layer, none of them zero, by "layer/name"."""
    weights = {}
    for layer in range(layers):
        columns = BLOCKS[kind] * hidden
        shapes: dict[str, tuple[int, ...]] = {
            "W_x": (hidden if layer else features, columns),
            "W_h": (hidden, columns),
            "b": (columns,),
        }
        if kind == "gru":
            shapes["b_h"] = (columns,)
        for name, shape in shapes.items():
            weights[f"{layer}/{name}"] = (std * draw.standard_normal(shape)).astype(np.float32)
    return weights


def recurrent_network(kind: str, features: int, hidden: int, layers: int, weights: Arrays) -> Any:
    """PyTorch's module with these weights; a second bias that we do not have is not trained."""
    import torch

    network: Any = {"vanilla": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](
        features, hidden, num_layers=layers
    )
    with torch.no_grad():
        for path, value in weights.items():
            layer, name = path.split("/")
            getattr(network, THEIRS[name].format(layer)).copy_(torch.tensor(value.T))
        for number in range(layers) if kind != "gru" else ():
            first, second = (getattr(network, THEIRS[name].format(number)) for name in ("b", "b_h"))
            second.copy_((1 - SHARE_OF_FIRST_BIAS[kind]) * first)
            first.mul_(SHARE_OF_FIRST_BIAS[kind])
            second.requires_grad = False
    return network


def cell_results(kind: str) -> Arrays:
    """Outputs of a network over a window, and all gradients of sum(d_ys * ys) + sum(d_last * last carries)."""
    import torch

    draw, T, B, F, H, layers = np.random.default_rng(list(LAYERS).index(kind)), 7, 3, 5, 4, LAYERS[kind]
    weights = drawn_weights(draw, kind, F, H, layers, 0.5)
    shapes: dict[str, tuple[int, ...]] = {"xs": (T, B, F), "d_ys": (T, B, H)}
    shapes |= {f"{what}/{n}/{s}": (B, H) for what in ("carry", "d_last") for n in range(layers) for s in STATES[kind]}
    inputs = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    network = recurrent_network(kind, F, H, layers, weights)
    x = torch.tensor(inputs["xs"], requires_grad=True)
    carry = {
        state: torch.tensor(np.stack([inputs[f"carry/{n}/{state}"] for n in range(layers)]), requires_grad=True)
        for state in STATES[kind]
    }
    ys, last = network(x, (carry["h"], carry["c"]) if kind == "lstm" else carry["h"])
    lasts = {"h": last[0], "c": last[1]} if kind == "lstm" else {"h": last}
    loss = (ys * torch.tensor(inputs["d_ys"])).sum()
    for state, of_layers in lasts.items():
        for n in range(layers):
            loss = loss + (of_layers[n] * torch.tensor(inputs[f"d_last/{n}/{state}"])).sum()
    loss.backward()
    results = {"ys": ys.detach().numpy(), "d_xs": x.grad.numpy()}  # type: ignore[union-attr]
    for path in weights:
        layer, name = path.split("/")
        results[f"d_weights/{path}"] = getattr(network, THEIRS[name].format(layer)).grad.numpy().T
    for state, value in carry.items():
        results |= {f"d_carry/{n}/{state}": value.grad.numpy()[n] for n in range(layers)}  # type: ignore[union-attr]
    return {
        **{f"weights/{name}": value for name, value in weights.items()},
        **inputs,
        **{f"results/{name}": value for name, value in results.items()},
    }


def predictable_ids(draw: np.random.Generator, symbols: int, length: int) -> np.ndarray:
    """Symbols that mostly follow a fixed order, so that there is something to learn."""
    follower = draw.permutation(symbols)
    ids = [0]
    for surprise in draw.random(length - 1):
        ids.append(int(draw.integers(symbols)) if surprise < 0.2 else int(follower[ids[-1]]))
    return np.array(ids, np.uint8)


def curve_results(name: str) -> Arrays:
    """The loss of 200 updates of a language model of two layers: windows in order, the carry cut off and handed on."""
    import torch

    kind, rule, rate = CURVES[name]
    draw, V, H, T, B, updates = np.random.default_rng(20240607), 11, 16, 10, 4, 200
    ids = predictable_ids(draw, V, B * (updates * T + 1))
    weights = drawn_weights(draw, kind, V, H, 2, 0.3)
    W_y, b_y = ((0.3 * draw.standard_normal(shape)).astype(np.float32) for shape in ((H, V), (V,)))
    streams = np.stack([ids[b * updates * T : (b + 1) * updates * T + 1] for b in range(B)], axis=1).astype(np.int64)

    network, output = recurrent_network(kind, V, H, 2, weights), torch.nn.Linear(H, V)
    with torch.no_grad():
        output.weight.copy_(torch.tensor(W_y.T))
        output.bias.copy_(torch.tensor(b_y))
    trained = [p for p in [*network.parameters(), *output.parameters()] if p.requires_grad]
    optimizer: Any = (
        torch.optim.Adam(trained, rate, betas=(0.9, 0.999), eps=1e-8)
        if rule == "adam"
        else torch.optim.SGD(trained, rate, momentum=0.5)
    )
    carry: Any = None
    losses = []
    for update in range(updates):
        window = torch.tensor(streams[update * T : (update + 1) * T + 1])
        hs, carry = network(torch.nn.functional.one_hot(window[:-1], V).float(), carry)
        carry = tuple(part.detach() for part in carry) if kind == "lstm" else carry.detach()
        loss = torch.nn.functional.cross_entropy(output(hs).reshape(-1, V), window[1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    stored = {f"weights/{name}": value for name, value in weights.items()}
    return {"ids": ids, "W_y": W_y, "b_y": b_y, **stored, "results/losses": np.array(losses, np.float32)}


def vanilla_in_float64() -> Arrays:
    """Loss, last h and gradients of one window of ids, written out step by step for autograd, in float64."""
    import torch

    draw, V, H = np.random.default_rng(3), 5, 4
    shapes = {"W_x": (V, H), "W_h": (H, H), "b": (H,), "W_y": (H, V), "b_y": (V,)}
    weights = {name: 0.7 * draw.standard_normal(shape) for name, shape in shapes.items()}
    window, h = np.array([0, 3, 3, 1, 2, 0, 1]), np.tanh(draw.standard_normal(H))
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    state, loss = torch.tensor(h), torch.zeros((), dtype=torch.float64)
    for x, y in zip(window[:-1], window[1:], strict=True):
        state = torch.tanh(leaves["W_x"][x] + state @ leaves["W_h"] + leaves["b"])
        loss = loss - torch.log_softmax(state @ leaves["W_y"] + leaves["b_y"], dim=0)[y]
    loss.backward()
    return {
        **{f"weights/{name}": value for name, value in weights.items()},
        **{"window": window, "h": h, "results/loss": loss.detach().numpy(), "results/h": state.detach().numpy()},
        **{f"results/d_weights/{name}": leaf.grad.numpy() for name, leaf in leaves.items()},  # type: ignore[union-attr]
    }


FILES: dict[str, Callable[[], Arrays]] = {
    **{f"torch_{kind}": lambda kind=kind: cell_results(kind) for kind in LAYERS},  # type: ignore[misc]
    **{f"torch_curve_{name}": lambda name=name: curve_results(name) for name in CURVES},  # type: ignore[misc]
    "torch_vanilla_float64": vanilla_in_float64,
}


def main(folder: Path = FOLDER) -> None:
    """Writes the files."""
    import torch

    torch.set_num_threads(1)
    for name, make in FILES.items():
        arrays: dict[str, Any] = {"torch": np.array(torch.__version__), **make()}
        np.savez_compressed(folder / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
