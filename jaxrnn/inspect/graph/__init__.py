"""A small library of nodes to learn from: values forward, gradients backward, and drawings of both."""

from jaxrnn.inspect.graph.nodes import Cost, Node, Operator, Static, check_gradients
from jaxrnn.inspect.graph.operators import (
    Add,
    Concatenate,
    MatMul,
    Multiply,
    Sigmoid,
    Slice,
    SoftmaxCrossEntropy,
    Tanh,
)
from jaxrnn.inspect.graph.recurrent import Unrolled, unrolled

__all__ = [
    "Add",
    "Concatenate",
    "Cost",
    "MatMul",
    "Multiply",
    "Node",
    "Operator",
    "Sigmoid",
    "Slice",
    "SoftmaxCrossEntropy",
    "Static",
    "Tanh",
    "Unrolled",
    "check_gradients",
    "unrolled",
]
