"""A language model of vanilla or LSTM layers as a graph, unrolled over the steps of a window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx

from jaxrnn.cells.lstm import LSTMCell
from jaxrnn.cells.vanilla import VanillaCell
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.graph.nodes import Cost, Node, Static
from jaxrnn.inspect.graph.operators import Add, Concatenate, MatMul, Multiply, Sigmoid, Slice, SoftmaxCrossEntropy, Tanh
from jaxrnn.models.language_model import LanguageModel


@dataclass(frozen=True)
class Unrolled:
    """A window of a model as a graph.

    Attributes:
      cost: the loss of the window in nats, summed over its steps and streams; its value is computed.
      parameters: the static nodes of the parameters by their paths in the model, such as `stack/layers/0/W_h`. Each is
        one node, which all steps read: their gradients are summed there.
      hidden: h_t of each layer, `hidden[t][layer]`, from the carry before the window at t = 0 to t = T.
    """

    cost: Cost
    parameters: dict[str, Static]
    hidden: list[list[Node]]

    def gradients(self) -> dict[str, np.ndarray]:
        """dC/dparameter by path, from a `forward` and a `backward` of the cost."""
        self.cost.forward()
        self.cost.backward()
        return {path: node.gradient for path, node in self.parameters.items() if node.gradient is not None}


def unrolled(model: LanguageModel, window: Any, carry: Any = None, *, symbols: Sequence[str] = ()) -> Unrolled:
    """Builds the graph of a language model that reads a window and is told each next symbol.

        x_t = one-hot(window_t)       p_t = softmax(o_t)      C = - sum_t log p_t[window_{t+1}]
        h_t = tanh(x_t W_x + h_{t-1} W_h + b)                 a vanilla layer; the LSTM's lines stand at `LSTMCell`
        o_t = h_t W_y + b_y

    Layers lie one above the other, with or without skip connections; an embedding is a product x_t E. The gradients are
    those of the summed `loss_nats` of the model's logits.

    Args:
      model: of `VanillaCell`s and `LSTMCell`s. Its parameters are copied, as float64.
      window: ids of T + 1 symbols, (T + 1,), or of B streams, (T + 1, B).
      carry: before the window, as the model takes it; that of a fresh start if None. No gradient goes further back, but
        the nodes of the carry have theirs.
      symbols: of the ids, such as `Vocabulary.symbols`: with one stream the inputs are named by them.

    Raises:
      ConfigurationError: if a layer is of another kind, the model ties its embedding or learns its first carry, or the
        window is too short or holds ids beyond the vocabulary.

    Example:
      >>> model = LanguageModel(5, 3, cell="lstm", rngs=nnx.Rngs(0))
      >>> graph = unrolled(model, [0, 3, 1, 4])
      >>> print(f"{graph.cost.value:.2f}", len(graph.cost.order()), graph.gradients()["stack/layers/0/W_h"].shape)
      4.83 67 (3, 12)
    """
    ids = np.asarray(window)
    ids = ids[:, None] if ids.ndim == 1 else ids
    V, layers = model.vocabulary_size, list(model.stack.layers)
    if ids.ndim != 2 or len(ids) < 2 or ids.dtype.kind not in "iu" or not 0 <= ids.min() <= ids.max() < V:
        raise ConfigurationError(
            f"unrolled expects a window of at least 2 ids from 0 to {V - 1}, (T + 1,) or (T + 1, B); got shape "
            f"{ids.shape} of {ids.dtype}"
        )
    others = {type(cell).__name__ for cell in layers if type(cell) not in (VanillaCell, LSTMCell)}
    others |= {"a tied embedding"} if model.W_y is None else set()
    others |= {"a learned first carry"} if model.stack.first_carry is not None else set()
    if others:
        raise ConfigurationError(
            f"unrolled knows VanillaCell and LSTMCell; got {', '.join(sorted(others))}; draw_step draws any cell"
        )

    place = [f" of layer {number}" if len(layers) > 1 else "" for number in range(len(layers))]

    def name_of(path: tuple[Any, ...]) -> str:
        return str(path[-1]) + (place[path[2]] if path[0] == "stack" else "")

    flat = {path: Static(leaf[...], name_of(path)) for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))}
    parameters = {"/".join(map(str, path)): node for path, node in flat.items()}
    B = ids.shape[1]
    carry = model.initial_carry(B) if carry is None else carry

    def state(layer: int, part: str) -> Static:
        return Static(getattr(carry[layer], part), f"{part}_0{place[layer]}", step=0)

    hidden: list[list[Node]] = [[state(layer, "h") for layer in range(len(layers))]]
    memory: list[Any] = [state(k, "c") if isinstance(cell, LSTMCell) else None for k, cell in enumerate(layers)]
    outputs: list[Node] = []
    for t in range(1, len(ids)):
        symbol = f" = {symbols[ids[t - 1, 0]]!r}" if len(symbols) == V and B == 1 else ""
        x: Node = Static(np.eye(V)[ids[t - 1]], f"x_{t}{symbol}", step=t)
        x = x if model.embedding is None else MatMul(x, parameters["embedding"], step=t)
        below, now = x, []
        for number, (cell, h) in enumerate(zip(layers, hidden[-1], strict=True)):
            if number and model.stack.skip_connections:
                below = Concatenate(below, x, step=t)
            weights = {name: parameters.get(f"stack/layers/{number}/{name}") for name in ("W_x", "W_h", "b")}
            if isinstance(cell, VanillaCell):
                below = vanilla_step(below, h, t, place[number], **weights)
            else:
                memory[number], below = lstm_step(below, h, memory[number], t, place[number], **weights)
            now.append(below)
        hidden.append(now)
        seen = Concatenate(*now, step=t) if model.stack.skip_connections and len(layers) > 1 else below
        o = Add(MatMul(seen, parameters["W_y"], step=t), parameters["b_y"], name=f"logits_{t}", step=t)
        outputs.append(o)
    y = Static(ids[1:].reshape(-1), "y", step=math.inf)
    cost = SoftmaxCrossEntropy(Concatenate(*outputs, axis=0, step=math.inf), y, name="loss", step=math.inf)
    cost.forward()
    return Unrolled(cost, parameters, hidden)


def vanilla_step(x: Node, h: Node, t: int, place: str, *, W_x: Any, W_h: Any, b: Static | None) -> Node:
    """h_t = tanh(x_t W_x + h_{t-1} W_h + b)."""
    return Tanh(_sum(x, h, t, W_x, W_h, b), name=f"h_{t}{place}", step=t)


def lstm_step(
    x: Node, h: Node, c: Node, t: int, place: str, *, W_x: Any, W_h: Any, b: Static | None
) -> tuple[Node, Node]:
    """c_t = f c_{t-1} + i g and h_t = o tanh(c_t); the gates are the blocks of x_t W_x + h_{t-1} W_h + b."""
    a, H = _sum(x, h, t, W_x, W_h, b), len(W_h.value)
    a_i, a_f, a_g, a_o = (Slice(a, k * H, (k + 1) * H, step=t) for k in range(4))
    i, f, o = (Sigmoid(of, name=f"{gate}_{t}{place}", step=t) for gate, of in (("i", a_i), ("f", a_f), ("o", a_o)))
    g = Tanh(a_g, name=f"g_{t}{place}", step=t)
    c = Add(Multiply(f, c, step=t), Multiply(i, g, step=t), name=f"c_{t}{place}", step=t)
    return c, Multiply(o, Tanh(c, step=t), name=f"h_{t}{place}", step=t)


def _sum(x: Node, h: Node, t: int, W_x: Node, W_h: Node, b: Node | None) -> Node:
    products = MatMul(x, W_x, step=t), MatMul(h, W_h, step=t)
    return Add(*products, step=t) if b is None else Add(*products, b, step=t)
