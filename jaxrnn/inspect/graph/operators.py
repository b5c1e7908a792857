"""The operators that recurrent networks are made of, each with its partial derivatives.

In the formulas C is the cost, D = dC/dout what comes from behind, ' is transposed, and where no matrices
are multiplied products are elementwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxrnn.inspect.graph.nodes import Array, Cost, Node, Operator


class MatMul(Operator):
    """The product of two matrices.

        out = A B        dC/dA = D B'        dC/dB = A' D

    Entry (i, k) of A acts on row i of out, through row k of B: dC/dA_ik = sum_j D_ij B_kj.
    """

    sign = "@"

    def op(self, a: Array, b: Array) -> Array:
        if a.ndim != 2 or b.ndim != 2:
            raise ValueError("a product of matrices")
        return a @ b

    def partials(self, d: Array, out: Array, a: Array, b: Array) -> tuple[Array, Array]:
        return d @ b.T, a.T @ d


class Add(Operator):
    """The sum of any number of inputs, each stretched to the largest shape as NumPy does: a bias goes to every row.

        out = A + B + ...        dC/dA = D

    A number that was stretched to n places acts through all of them: its partial derivative is the sum over them.
    """

    sign = "+"

    def op(self, *values: Array) -> Array:
        return sum(values[1:], values[0])

    def partials(self, d: Array, out: Array, *values: Array) -> Sequence[Array]:
        return [unstretched(d, value.shape) for value in values]


class Multiply(Operator):
    """The elementwise product of two inputs, stretched as in `Add`.

        out = A B        dC/dA = D B        dC/dB = D A

    A gate near 0 lets neither the value nor the gradient through.
    """

    sign = "×"

    def op(self, a: Array, b: Array) -> Array:
        return a * b

    def partials(self, d: Array, out: Array, a: Array, b: Array) -> tuple[Array, Array]:
        return unstretched(d * b, a.shape), unstretched(d * a, b.shape)


class Sigmoid(Operator):
    """The logistic function of each number.

        out = 1 / (1 + exp(-A))        dC/dA = D out (1 - out)

    The slope is at most 1/4, and near 0 where out is near 0 or 1.
    """

    sign = "sigmoid"

    def op(self, a: Array) -> Array:
        return 0.5 * (1 + np.tanh(0.5 * a))  # the same, and exp cannot overflow

    def partials(self, d: Array, out: Array, a: Array) -> tuple[Array]:
        return (d * out * (1 - out),)


class Tanh(Operator):
    """The hyperbolic tangent of each number.

        out = tanh A        dC/dA = D (1 - out^2)

    The slope is at most 1, and near 0 where out is near -1 or 1.
    """

    sign = "tanh"

    def op(self, a: Array) -> Array:
        return np.tanh(a)

    def partials(self, d: Array, out: Array, a: Array) -> tuple[Array]:
        return (d * (1 - out**2),)


class Concatenate(Operator):
    """Its inputs one behind the other.

        out = [A, B, ...]        dC/dA = the piece of D where A went

    Args:
      inputs: as many as there are.
      axis: along which.
      name, step: as for `Node`.
    """

    sign = "concatenate"

    def __init__(self, *inputs: Node, axis: int = -1, name: str = "", step: float | None = None):
        super().__init__(*inputs, name=name, step=step)
        self.axis = axis

    def op(self, *values: Array) -> Array:
        return np.concatenate(values, axis=self.axis)

    def partials(self, d: Array, out: Array, *values: Array) -> Sequence[Array]:
        ends = np.cumsum([value.shape[self.axis] for value in values])
        return np.split(d, ends[:-1], axis=self.axis)


class Slice(Operator):
    """Some columns of its input.

        out = A[..., start:stop]        dC/dA = D in these columns, 0 in the others

    Args:
      of: the input.
      start, stop: the first column, and the one behind the last.
      name, step: as for `Node`.
    """

    def __init__(self, of: Node, start: int, stop: int, *, name: str = "", step: float | None = None):
        super().__init__(of, name=name, step=step)
        self.start, self.stop = start, stop
        self.sign = f"[{start}:{stop}]"

    def op(self, a: Array) -> Array:
        if not 0 <= self.start < self.stop <= a.shape[-1]:
            raise ValueError(f"there are no columns {self.start} to {self.stop}")
        return a[..., self.start : self.stop]

    def partials(self, d: Array, out: Array, a: Array) -> tuple[Array]:
        part = np.zeros_like(a)
        part[..., self.start : self.stop] = d
        return (part,)


class SoftmaxCrossEntropy(Cost):
    """The negative log-likelihood of the true classes, in nats, summed over the rows.

        p = softmax(O)      C = - sum_n log p[n, y_n]      dC/dO = D (p - Y)      Y the y_n as one-hot rows

    Inputs: O, (N, V), and the ids y, (N,), which have no partial derivative.
    """

    sign = "cross-entropy"

    def op(self, o: Array, y: Array) -> Array:
        if y.min() < 0:
            raise ValueError(f"a class is {y.min()}, they begin at 0")
        o = o - o.max(axis=-1, keepdims=True)  # the softmax stays the same, and exp cannot overflow
        return (np.log(np.exp(o).sum(axis=-1)) - o[np.arange(len(y)), y]).sum()

    def partials(self, d: Array, out: Array, o: Array, y: Array) -> tuple[Array, None]:
        e = np.exp(o - o.max(axis=-1, keepdims=True))
        return d * (e / e.sum(axis=-1, keepdims=True) - np.eye(o.shape[-1])[y]), None


def unstretched(d: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an array that was stretched to the shape of d: the sum over the places that each number took."""
    d = d.sum(axis=tuple(range(d.ndim - len(shape))))
    return d.sum(axis=tuple(axis for axis, size in enumerate(shape) if size == 1 != d.shape[axis]), keepdims=True)
