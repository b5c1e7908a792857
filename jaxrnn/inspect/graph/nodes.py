"""Nodes of a computation: what goes in and what comes out is kept, and gradients flow back from the cost.

A node that another node reads is that one's input; the reader is its parent. Values flow from inputs to parents, the
gradient of the cost from parents to inputs, and what comes from several parents is summed:

    dC/dN = sum over the parents P of N of  dC/dP dP/dN

where dP/dN is taken as if no other input of P depended on N. So a kind of node states its own value and its own partial
derivatives and knows nothing of the rest. NumPy in float64, one node after the other: to be read, not to be fast.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.gradient_check import GradientError, gradient_errors, numeric_gradients

Array: TypeAlias = np.ndarray


class Node:
    """What static and operator nodes share.

    Args:
      inputs: the nodes that this one reads.
      name: what a drawing calls it; by default the sign of its kind.
      step: the time step in whose column it is drawn, from 1; 0 for the carry before the first, infinity for what
        comes after the last, None for what all steps share.

    Attributes:
      value: what came out of it in the latest `forward`, a float64 array, or an array of ids.
      gradient: dC/dvalue of the latest `backward`, of the same shape; None where the cost does not depend on it.
    """

    sign = ""

    def __init__(self, *inputs: Node, name: str = "", step: float | None = None):
        self.inputs = inputs
        self.name = name
        self.step = step
        self.value: Array = np.asarray(np.nan)
        self.gradient: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name or self.sign!r}, {self.value.shape})"

    def order(self) -> list[Node]:
        """This node and all that it depends on, each after its inputs.

        A stack of our own in place of recursion, which Python ends after about 1,000 calls: a loop over time is deep.
        """
        done: dict[Node, None] = {}  # a set that keeps its order
        waiting: list[tuple[Node, bool]] = [(self, False)]
        while waiting:
            node, inputs_are_done = waiting.pop()
            if inputs_are_done:
                done[node] = None
            elif node not in done:
                waiting += [(node, True), *((one, False) for one in reversed(node.inputs))]
        return list(done)

    def forward(self) -> Array:
        """Computes the value of this node and of all that it depends on, anew.

        Raises:
          ConfigurationError: if the shapes of an operator's inputs do not fit.
        """
        for node in self.order():
            if isinstance(node, Operator):
                values = [one.value for one in node.inputs]
                try:
                    node.value = np.asarray(node.op(*values))
                except (ValueError, IndexError) as error:
                    shapes = " and ".join(str(value.shape) for value in values)
                    raise ConfigurationError(
                        f"{type(node).__name__} expects inputs whose shapes fit, got {shapes}: {error}"
                    ) from error
        return self.value

    def backward(self) -> None:
        """Computes dC/dN of every node N that C, this node, depends on; after `forward`.

        Starts with dC/dC = 1 and goes through the nodes from the last to the first, so that all parents of a node have
        given their part before it is asked for its own.

        Raises:
          ConfigurationError: if this node is no single number, or a partial derivative has the wrong shape.
        """
        if self.value.ndim != 0:
            raise ConfigurationError(
                f"backward expects a node with one number, got shape {self.value.shape}; end the graph in a cost"
            )
        order = self.order()
        for node in order:
            node.gradient = None
        self.gradient = np.ones(())
        for node in reversed(order):
            if not isinstance(node, Operator) or node.gradient is None:
                continue
            parts = node.partials(node.gradient, node.value, *(one.value for one in node.inputs))
            for one, part in zip(node.inputs, parts, strict=True):
                if part is None:
                    continue
                if part.shape != one.value.shape:
                    raise ConfigurationError(
                        f"the partial derivative of {type(node).__name__} by an input of shape {one.value.shape} "
                        f"must have that shape, got {part.shape}"
                    )
                one.gradient = part if one.gradient is None else one.gradient + part


class Static(Node):
    """A leaf: a parameter, an input, or the truth. It changes only by `node.value = ...`.

    Args:
      value: numbers, taken as a float64 array of their own, or integer ids, which have no gradient.
      name, step: as for `Node`.
    """

    def __init__(self, value: object, name: str = "", step: float | None = None):
        super().__init__(name=name, step=step)
        array = np.array(value)
        self.value = array if array.dtype.kind in "iu" else array.astype(np.float64)


class Operator(Node, abc.ABC):
    """A node that makes a value of other nodes' values. A new kind writes `op` and `partials`, and its `sign`."""

    @abc.abstractmethod
    def op(self, *values: Any, **none: Any) -> Array:
        """The value, from those of the inputs."""

    @abc.abstractmethod
    def partials(self, d: Array, out: Array, *values: Any, **none: Any) -> Sequence[Array | None]:
        """dC/dinput for each input, by the chain rule: dC/dout dout/dinput.

        Args:
          d: dC/dout, of the shape of `out`.
          out: what `op` returned.
          values: of the inputs.

        Returns:
          One array an input, of its shape; None for one that has no gradient.
        """


class Cost(Operator):
    """An operator whose value is one number, which no other node need read."""


def check_gradients(cost: Node, *, step: float | None = None) -> tuple[GradientError, ...]:
    """Holds `backward` against central differences of `forward`, a number of a static node at a time.

        dC/dx  =  (C(x + step) - C(x - step)) / (2 step)        errs by step^2

    Args:
      cost: a node with one number.
      step: the distance; 3e-5 if not given.

    Returns:
      One `GradientError` for each static node of floats. Its group is the node's name, or "static"; where that is
      taken, with a number behind it.

    Example:
      >>> from jaxrnn.inspect.graph.operators import Multiply
      >>> x = Static(3.0, "x")
      >>> row, = check_gradients(Multiply(x, x))  # d x^2 / dx = 2 x, a part from either side
      >>> row.group, float(x.gradient), row.max_absolute < 1e-8
      ('x', 6.0, True)
    """
    statics: dict[str, Node] = {}
    for number, node in enumerate(cost.order()):
        if isinstance(node, Static) and node.value.dtype.kind == "f":
            name = node.name or "static"
            statics[f"{name} (node {number})" if name in statics else name] = node
    before = {name: node.value for name, node in statics.items()}

    def loss(values: dict[str, Array]) -> Array:
        for name, node in statics.items():
            node.value = values[name]
        return cost.forward()

    try:
        numeric = numeric_gradients(loss, before, step=step)
    finally:
        loss(before)
    cost.backward()
    nothing = {name: np.zeros_like(value) for name, value in before.items()}
    found = {name: node.gradient for name, node in statics.items() if node.gradient is not None}
    return gradient_errors(nothing | found, numeric)
