"""Gradients held against numbers: differences of the loss, and the backward pass written out by hand.

Three roads to the same gradient, none of which shares code with another: `jax.grad` (what training uses),
differences of the loss (no calculus at all), and `vanilla_loss_and_gradients` (the chain rule in plain NumPy).
Where two agree to rounding, a common mistake is unlikely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

Method = Literal["central", "forward", "five-point"]

# Rounding errs by about loss * 1e-16 / step, the cut-off series by a power of the step. Where the two are about equal:
DEFAULT_STEP: dict[Method, float] = {"central": 3e-5, "forward": 1e-4, "five-point": 2e-3}
# (offset in steps, weight) of each loss in the difference, to be divided by the step.
STENCIL: dict[Method, tuple[tuple[int, float], ...]] = {
    "central": ((1, 1 / 2), (-1, -1 / 2)),
    "forward": ((1, 1.0), (0, -1.0)),
    "five-point": ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12)),
}
SHARE_THRESHOLD = 1e-6


@dataclass(frozen=True)
class GradientError:
    """How far two gradients of one parameter group are apart.

    Args:
      group: path of the parameter in its tree, for example `stack/layers/0/W_h`.
      size: number of entries.
      max_absolute: largest |a - n|.
      max_relative: largest |a - n| / max(eps, |a| + |n|).
      share_below_1e6: share of the entries with |a - n| < 1e-6, between 0 and 1.
    """

    group: str
    size: int
    max_absolute: float
    max_relative: float
    share_below_1e6: float


def vanilla_losses(
    parameters: Mapping[str, np.ndarray], inputs: np.ndarray, targets: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads one window with a vanilla RNN, a step at a time.

        a_t = x_t W_x + h_{t-1} W_h + b      h_t = tanh(a_t)
        o_t = h_t W_y + b_y                  L_t = log sum_k exp(o_t[k]) - o_t[y_t]

    Args:
      parameters: `W_x` (V, H), `W_h` (H, H), `b` (H,), `W_y` (H, V), `b_y` (V,), of any float dtype. The reports
        write U, W, b, V, c and multiply from the left, so their matrices are ours transposed.
      inputs: x, the T ids that are read.
      targets: y, the T ids that follow them.
      h: hidden state before the window, (H,).

    Returns:
      Loss of each step in nats, (T,); hidden states with the first one in front, (T + 1, H); the
      probabilities p_t, (T, V).
    """
    W_x, W_h, b, W_y, b_y = (parameters[name] for name in ("W_x", "W_h", "b", "W_y", "b_y"))
    losses, hidden_states, probabilities = [], [h], []
    for x, y in zip(inputs, targets, strict=True):
        h = np.tanh(W_x[x] + h @ W_h + b)
        o = h @ W_y + b_y
        o = o - np.max(o)  # the softmax stays the same, and exp cannot overflow
        total = np.sum(np.exp(o))
        losses.append(np.log(total) - o[y])
        hidden_states.append(h)
        probabilities.append(np.exp(o) / total)
    return np.array(losses), np.array(hidden_states), np.array(probabilities)


def vanilla_loss_and_gradients(
    parameters: Mapping[str, np.ndarray], inputs: np.ndarray, targets: np.ndarray, h: np.ndarray
) -> tuple[np.floating[Any], dict[str, np.ndarray], np.ndarray]:
    """Loss of one window and its gradients by the chain rule, as the reports write it.

    With L the sum of the losses of the window, and ' for transposed:

        dL/do_t = p_t - y_t                           y_t the target as one-hot
        dL/dh_t = V' dL/do_t + W' dL/da_{t+1}         nothing comes from behind the window
        dL/da_t = dL/dh_t * (1 - h_t^2)
        dL/dV = sum_t dL/do_t h_t'      dL/dc = sum_t dL/do_t
        dL/dW = sum_t dL/da_t h_{t-1}'  dL/dU = sum_t dL/da_t x_t'  dL/db = sum_t dL/da_t

    Written for reading, one step after the other: it is the oracle of the other roads, not a way to train.

    Args:
      parameters: as for `vanilla_losses`, where our names stand beside the reports'.
      inputs: the T ids that are read.
      targets: the T ids that follow them.
      h: hidden state before the window, (H,); no gradient flows into it.

    Returns:
      The summed loss in nats, the gradients under the parameters' names, and the last hidden state.

    Example:
      >>> parameters = {"W_x": np.zeros((4, 3)), "W_h": np.zeros((3, 3)), "b": np.zeros(3),
      ...               "W_y": np.zeros((3, 4)), "b_y": np.zeros(4)}
      >>> loss, gradients, h = vanilla_loss_and_gradients(parameters, np.array([0, 1]), np.array([1, 2]), np.zeros(3))
      >>> print(f"{loss:.4f}", gradients["b_y"])  # 2 ln 4, and each target pulled up by one
      2.7726 [ 0.5 -0.5 -0.5  0.5]
    """
    losses, hidden_states, probabilities = vanilla_losses(parameters, inputs, targets, h)
    W_h, W_y = parameters["W_h"], parameters["W_y"]
    gradients = {name: np.zeros_like(value) for name, value in parameters.items()}
    d_a_next = np.zeros_like(hidden_states[0])
    for t in reversed(range(len(losses))):
        h_before, h = hidden_states[t], hidden_states[t + 1]
        d_o = probabilities[t].copy()
        d_o[targets[t]] -= 1
        d_h = W_y @ d_o + W_h @ d_a_next
        d_a = d_h * (1 - h**2)
        gradients["W_y"] += np.outer(h, d_o)
        gradients["b_y"] += d_o
        gradients["W_h"] += np.outer(h_before, d_a)
        gradients["W_x"][inputs[t]] += d_a
        gradients["b"] += d_a
        d_a_next = d_a
    return losses.sum(), gradients, hidden_states[-1]


def numeric_gradients(
    loss_fn: Callable[[Any], Any], parameters: Any, *, method: Method = "central", step: float | None = None
) -> Any:
    """Gradient of a loss by moving one number at a time.

        forward:     (L(x + step) - L(x)) / step                                          errs by step
        central:     (L(x + step) - L(x - step)) / (2 step)                               errs by step^2
        five-point:  (8 L(x + step) - 8 L(x - step) - L(x + 2 step) + L(x - 2 step)) / (12 step)    by step^4

    Two or four calls of `loss_fn` for each number.

    Args:
      loss_fn: any function of the tree, in NumPy or JAX. It may give the loss in parts, such as one number a
        character: the differences of the parts are then added up, and less is lost to rounding than in the
        difference of two large sums.
      parameters: tree of float64 arrays; left as it is.
      method: `"central"`, `"forward"` or `"five-point"`.
      step: the distance; 3e-5, 1e-4 and 2e-3 if not given.

    Returns:
      A tree of the same form with float64 NumPy arrays.

    Raises:
      ValueError: if a parameter is not float64: in float32 the differences drown in rounding.

    Example:
      >>> numeric_gradients(lambda p: p["w"] ** 2, {"w": np.array(3.0)})["w"].round(6)
      np.float64(6.0)
    """
    if method not in STENCIL:
        raise ValueError(f"method must be one of {', '.join(STENCIL)}; got {method!r}.")
    step = DEFAULT_STEP[method] if step is None else step
    if not step > 0:
        raise ValueError(f"step must be above 0, got {step}.")
    paths_and_leaves, structure = jax.tree_util.tree_flatten_with_path(parameters)
    for path, leaf in paths_and_leaves:
        if np.asarray(leaf).dtype != np.float64:
            raise ValueError(f"{_name(path)} must be float64 to be told from rounding, got {np.asarray(leaf).dtype}.")
    leaves = [np.array(leaf) for _, leaf in paths_and_leaves]
    gradients = [np.zeros_like(leaf) for leaf in leaves]

    def parts() -> np.ndarray:
        # Copies, since JAX on a CPU may read a NumPy array later, in place.
        tree = jax.tree.unflatten(structure, [leaf.copy() for leaf in leaves])
        return np.array(loss_fn(tree), dtype=np.float64)

    for leaf, gradient in zip(leaves, gradients, strict=True):
        for index in np.ndindex(leaf.shape):
            value = leaf[index]
            difference: Any = 0.0
            for offset, weight in STENCIL[method]:
                leaf[index] = value + offset * step
                difference = difference + weight * parts()
            leaf[index] = value
            gradient[index] = np.sum(difference) / step
    return jax.tree.unflatten(structure, gradients)


def gradient_errors(analytic: Any, numeric: Any, *, eps: float = 1e-8) -> tuple[GradientError, ...]:
    """Compares two gradient trees of one form, a row for each parameter group.

    Args:
      analytic: gradients a, any tree of arrays.
      numeric: gradients n, a tree with the same paths and shapes.
      eps: smallest divisor of the relative error, so that two zeros do not differ.

    Returns:
      One `GradientError` for each leaf, in the tree's order. A NaN on either side gives NaN, never a small error.

    Raises:
      ValueError: if paths or shapes differ.

    Example:
      >>> row, = gradient_errors({"w": np.array([1.0, 2.0])}, {"w": np.array([1.0, 2.5])})
      >>> row.group, row.max_absolute, row.share_below_1e6
      ('w', 0.5, 0.5)
    """
    analytic_leaves = {_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(analytic)}
    numeric_leaves = {_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(numeric)}
    if {k: v.shape for k, v in analytic_leaves.items()} != {k: v.shape for k, v in numeric_leaves.items()}:
        raise ValueError(
            f"expected gradients of one form, got {_shapes(analytic_leaves)} and {_shapes(numeric_leaves)}."
        )
    rows = []
    for group, a in analytic_leaves.items():
        n = numeric_leaves[group]
        absolute = np.abs(a - n)
        relative = absolute / np.maximum(eps, np.abs(a) + np.abs(n))
        rows.append(
            GradientError(
                group=group,
                size=a.size,
                max_absolute=float(absolute.max()),
                max_relative=float(relative.max()),
                share_below_1e6=float(np.mean(absolute < SHARE_THRESHOLD)),
            )
        )
    return tuple(rows)


def compare_gradients(
    loss_fn: Callable[[Any], jax.Array],
    parameters: Any,
    *,
    method: Method = "central",
    step: float | None = None,
    eps: float = 1e-8,
) -> tuple[GradientError, ...]:
    """Holds `jax.grad` of a loss against differences of it, in float64 throughout.

    Args:
      loss_fn: function of the tree in JAX, of any model; its sum is the loss (see `numeric_gradients`). To be
        exact it must keep float64, so build the model with `param_dtype=jnp.float64`.
      parameters: tree of floating point arrays, such as `nnx.state(model, nnx.Param)`; taken as float64.
      method, step: as for `numeric_gradients`.
      eps: smallest divisor of the relative error.

    Returns:
      One `GradientError` for each parameter.

    Raises:
      ValueError: if the loss comes out in a smaller dtype than float64.

    Example:
      >>> rows = compare_gradients(lambda p: jax.numpy.sum(jax.numpy.tanh(p["w"]) ** 2), {"w": np.arange(3.0)})
      >>> rows[0].max_absolute < 1e-8
      True
    """
    with jax.enable_x64(True):
        parameters = jax.tree.map(lambda leaf: np.asarray(leaf, dtype=np.float64), parameters)
        compiled = jax.jit(loss_fn)
        dtype = compiled(parameters).dtype
        if dtype != np.float64:
            raise ValueError(
                f"the loss must be float64 to be told from rounding, got {dtype}; build the model in float64."
            )
        analytic = jax.jit(jax.grad(lambda p: loss_fn(p).sum()))(parameters)
        numeric = numeric_gradients(compiled, parameters, method=method, step=step)
        return gradient_errors(analytic, numeric, eps=eps)


def _name(path: tuple[Any, ...]) -> str:
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]  # the array inside an nnx.Variable
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _shapes(leaves: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in leaves.items())
