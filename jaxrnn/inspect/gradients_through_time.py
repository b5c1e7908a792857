"""How the gradient fades or grows on its way back through time: |dL/dh_t|, and the law of the step's Jacobians."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.cells.base import Cell
from jaxrnn.engines.window import is_ids
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.models.stack import Stack
from jaxrnn.tasks.sequences import Sequences

ACTIVATIONS = ("linear", "tanh")


def hidden_gradients(
    model: SequenceClassifier, inputs: jax.Array, targets: jax.Array, task: Sequences, *, layer: int = -1
) -> dict[str, jax.Array]:
    r"""dL/dh_t of each row's own loss, by adding e_t = 0 to h_t at every step and differentiating by it.

        h_t    = step(x_t, carry_{t-1}).h + e_t
        dL/dh_t = dL/de_t                 at e = 0, for t = 1 .. T

    This is the whole derivative: h_t acts on the output of step t, and on all later steps through every part of the
    carry. The other parts of a carry are differentiated alike, h_t held as it is: for an LSTM "c" is dL/dc_t through
    c_{t+1} alone, which is 0 at t = T.

    Args:
      model: the classifier.
      inputs: ids (T, B) or features (T, B, F).
      targets: (K, B).
      task: gives the loss of each target; with K answers a row's loss is their sum.
      layer: number of the layer; the top one if not given.

    Returns:
      By the name of the part of the carry: gradients (T, B, H).

    Raises:
      ConfigurationError: if the model is bidirectional.
      ValueError: if there is no such layer, or the outputs of the cell are not its h.

    Example:
      >>> model = SequenceClassifier(1, 10, 4, cell="lstm", rngs=nnx.Rngs(0))
      >>> task = Sequences("palindromes", 6)
      >>> inputs, targets = task.draw(jax.random.key(0), jnp.arange(3))
      >>> {name: part.shape for name, part in hidden_gradients(model, inputs, targets, task).items()}
      {'c': (6, 3, 4), 'h': (6, 3, 4)}
    """
    if model.stack.is_bidirectional:
        raise ConfigurationError(
            "hidden_gradients follows the one direction of time, the model is bidirectional; train one without it"
        )
    layers = len(model.stack.layers)
    if not -layers <= layer < layers:
        raise ValueError(f"hidden_gradients expects a layer from {-layers} to {layers - 1}, got {layer}")
    graphdef, state = nnx.split(model)
    return _gradients(graphdef, state, jnp.asarray(inputs), jnp.asarray(targets), task, layer % layers)


def hidden_gradient_norms(
    model: SequenceClassifier,
    inputs: jax.Array,
    targets: jax.Array,
    task: Sequences,
    *,
    layer: int = -1,
    part: str = "h",
) -> np.ndarray:
    """|dL/dh_t| for t = 1 .. T, (T,): the mean over the rows of the Euclidean norm.

    Args:
      model, inputs, targets, task, layer: as for `hidden_gradients`.
      part: of the carry: "h", or "c" where the cell has one.

    Raises:
      ValueError: as `hidden_gradients`, or if the carry has no such part.

    Example:
      >>> model = SequenceClassifier(1, 10, 4, rngs=nnx.Rngs(0))
      >>> task = Sequences("palindromes", 6)
      >>> inputs, targets = task.draw(jax.random.key(0), jnp.arange(3))
      >>> norms = hidden_gradient_norms(model, inputs, targets, task)
      >>> norms.shape, bool(norms[0] < norms[-1])
      ((6,), True)

    References: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013.
    """
    gradients = hidden_gradients(model, inputs, targets, task, layer=layer)
    if part not in gradients:
        raise ValueError(f"hidden_gradient_norms expects a part out of {', '.join(gradients)}; got {part!r}")
    rows = np.asarray(gradients[part], np.float64)  # the squares of what has faded away would be 0 in float32
    return np.sqrt((rows**2).sum(axis=2)).mean(axis=1)


@functools.partial(jax.jit, static_argnames=("graphdef", "task", "layer"))
def _gradients(graphdef: Any, state: Any, inputs: Any, targets: Any, task: Any, layer: int) -> dict[str, jax.Array]:
    model = nnx.merge(graphdef, state)
    T, B = inputs.shape[:2]
    carry = model.initial_carry(B)[layer]
    parts = [name for name, leaf in carry._asdict().items() if leaf.shape == carry.h.shape]
    nothing = {name: jnp.zeros((T, *carry.h.shape), carry.h.dtype) for name in parts}

    def loss(added: dict[str, jax.Array]) -> jax.Array:
        ys = _outputs(model.stack, inputs, model.initial_carry(B), layer, added)
        read = ys.mean(axis=0, keepdims=True) if model.pooling == "mean" else ys[T - model.answers :]
        logits = read @ model.W_y[...] + model.b_y[...][None, None, :]
        return task.losses(logits, targets).sum()  # rows do not meet, so each gets the gradient of its own loss

    return jax.grad(loss)(nothing)


def _outputs(stack: Stack, xs: jax.Array, carries: tuple, layer: int, added: dict[str, jax.Array]) -> jax.Array:
    """What the stack gives, (T, B, ...), with `added` on the parts of one layer's carry after each step."""
    if is_ids(xs):
        xs = jax.nn.one_hot(xs, stack.in_features, dtype=carries[0].h.dtype)

    def step(carries, now):
        x, t, extra = now
        below, new_carries, outputs = x, [], []
        for number, (cell, carry) in enumerate(zip(stack.layers, carries, strict=True)):
            new, y = cell(carry, below, t)
            if number == layer:
                if y is not new.h:
                    raise ValueError(f"hidden_gradients expects a cell whose output is h; {type(cell).__name__} is not")
                new = new._replace(**{name: getattr(new, name) + e for name, e in extra.items()})
                y = new.h
            new_carries.append(new)
            outputs.append(y)
            below = jnp.concatenate([y, x], axis=-1) if stack.skip_connections else y
        ys = jnp.concatenate(outputs, axis=-1) if stack.skip_connections else outputs[-1]
        return tuple(new_carries), ys

    return jax.lax.scan(step, carries, (xs, jnp.arange(len(xs), dtype=jnp.int32), added))[1]


def jacobian_norms(
    W_h: Any, inputs: Any, *, start: Any | None = None, activation: str = "tanh", last: int | None = None
) -> np.ndarray:
    r"""The spectral norm of dx_t/dx_k against t - k, t held at the last step, for one sequence.

        x_t       = f(x_{t-1} W_h + p_t)                          f = tanh, or the identity
        dx_t/dx_k = J_t J_{t-1} ... J_{k+1}                       J_t = diag(1 - x_t^2) W_h^T, or W_h^T

    Without the tanh it is |W_h^n| whatever the inputs. Computed in float64.

    Args:
      W_h: (H, H), as a vanilla cell has it.
      inputs: p_t = x_t W_x + b, (T, H).
      start: x_0, (H,); zeros if None.
      activation: "tanh" or "linear".
      last: t, from 0 to T; T if None.

    Returns:
      (t + 1,); the first is |dx_t/dx_t| = 1, and those that float64 does not hold are infinity.

    Raises:
      ValueError: for an unknown activation, or shapes that do not fit.

    Example:
      >>> jacobian_norms([[0.5, 0.0], [0.0, 0.25]], np.zeros((3, 2)), activation="linear").tolist()
      [1.0, 0.5, 0.25, 0.125]
    """
    W, p = _square(W_h), np.asarray(inputs, np.float64)
    H = len(W)
    x = np.zeros(H) if start is None else np.asarray(start, np.float64)
    if p.ndim != 2 or p.shape[1] != H or x.shape != (H,):
        raise ValueError(f"jacobian_norms expects inputs (T, {H}) and a start ({H},), got {p.shape} and {x.shape}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"jacobian_norms expects an activation out of {', '.join(ACTIVATIONS)}; got {activation!r}")
    last = len(p) if last is None else last
    if not 0 <= last <= len(p):
        raise ValueError(f"jacobian_norms expects a last step from 0 to {len(p)}, got {last}")
    jacobians, product, norms = [], np.eye(H), [1.0]
    with np.errstate(over="ignore", invalid="ignore"):
        for p_t in p[:last]:
            x = x @ W + p_t
            x = np.tanh(x) if activation == "tanh" else x
            jacobians.append((1 - x**2)[:, None] * W.T if activation == "tanh" else W.T)
        for jacobian in reversed(jacobians):
            product = product @ jacobian
            norms.append(float(np.linalg.norm(product, 2)) if np.isfinite(product).all() else np.inf)
    return np.array(norms)


def eigenvalues(W_h: Cell | Any) -> np.ndarray:
    """The eigenvalues of a recurrent matrix, (H,), complex, the largest in size first.

    Args:
      W_h: (H, H), or a cell that has one, such as a trained vanilla cell.

    Raises:
      ValueError: if the matrix is not square: an LSTM's or GRU's has a block a gate, and no eigenvalues.

    Example:
      >>> eigenvalues([[0.0, 2.0], [-2.0, 0.0]]).round(6).tolist()
      [2j, -2j]
    """
    values = np.linalg.eigvals(_square(W_h)).astype(np.complex128)
    return values[np.lexsort((-values.imag, -np.abs(values)))]


def spectral_radius(W_h: Cell | Any) -> float:
    """The size of the largest eigenvalue: over many steps |W_h^n| grows like its n-th power."""
    return float(np.abs(eigenvalues(W_h)[0]))


def with_spectral_radius(W_h: Any, radius: float) -> np.ndarray:
    """W_h times the factor that gives it this spectral radius.

    Raises:
      ValueError: if every eigenvalue is 0, or the radius is negative.

    Example:
      >>> round(spectral_radius(with_spectral_radius([[1.0, 2.0], [3.0, 4.0]], 0.9)), 12)
      0.9
    """
    W = _square(W_h)
    present = spectral_radius(W)
    if radius < 0 or present == 0:
        raise ValueError(
            f"with_spectral_radius expects a radius of at least 0 from one above 0, got {radius}, {present}"
        )
    return W * (radius / present)


def _square(W_h: Any) -> np.ndarray:
    W = np.asarray(W_h.W_h[...] if isinstance(W_h, Cell) else W_h, np.float64)
    if W.ndim != 2 or W.shape[0] != W.shape[1] or not W.size:
        raise ValueError(f"expected a square recurrent matrix (H, H), got {W.shape}; that of a gated cell has blocks")
    return W
