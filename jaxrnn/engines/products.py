"""The matrix products of models and engines, in the precision of the run.

    float32, float64   operands as they are: JAX's own precision says how a device multiplies them
    bf16               both operands rounded to bfloat16, forward and backward; what they give is added up in float32

The precision is JAX's `jax_default_matmul_precision`, which `jaxrnn.devices.numerics` sets for a run; programs traced
with another are kept apart by JAX. "bfloat16" makes the casts, without which a CPU would take no notice of it and a GPU
would use TF32. All that is no product stays float32: the carries, the pointwise update, softmax, loss, gradients,
optimizer.
"""

from __future__ import annotations

import functools
import math
import os
import string
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.engines.platforms import members_at_once, platform


def product(a: jax.Array, b: jax.Array, reverse_only: bool = False) -> jax.Array:
    """a b for a of shape (..., K) and b of shape (K, N), both float32 or float64; of their dtype.

    Args:
      a, b: the operands.
      reverse_only: whether the gradient is one of its own, without forward mode, as it always is in bf16. By JAX's own
        rule XLA multiplies a transposed copy of the cotangent for b's gradient on a CPU: an update of the book recipe
        took 1.02 times as long, of LSTM 64 and 128 and GRU 128 with a batch of 100 1.03 to 1.08 times.

    Example:
      >>> with jax.default_matmul_precision("bfloat16"):
      ...     float(product(jnp.full((1, 1), 1.001), jnp.ones((1, 1)))[0, 0])
      1.0
    """
    if not (reverse_only or _is_bf16(a)):
        return a @ b
    axes = string.ascii_lowercase[: a.ndim - 1]
    return _by_einsum(f"{axes}y,yz->{axes}z", _is_bf16(a), a, b)


def contract(axes: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """`jnp.einsum` of two arrays: every axis stands in two of the three, such as "tbh,tbg->hg"."""
    return _by_einsum(axes, True, a, b) if _is_bf16(a) else _einsum(axes, a, b)


def with_a_one(rows: jax.Array) -> jax.Array:
    """Rows (..., n) with a 1 at place n, and zeros up to a multiple of 8, as the tensor cores want their operands.

    A weight gradient that is made of them holds the gradient of the bias too, as row n.

    Example:
      >>> with_a_one(jnp.full((1, 2), 5.0)).tolist()
      [[5.0, 5.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    n = rows.shape[-1]
    filled = jnp.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -n % 8 or 8)])
    return jnp.where(jnp.arange(filled.shape[-1]) == n, jnp.ones_like(filled), filled)


def affine(x: jax.Array, W: jax.Array, b: jax.Array, reverse_only: bool = False) -> jax.Array:
    """x W + b for x of shape (..., K), W (K, N) and b (N,); see `product`.

    In reverse mode alone, and where every kernel counts, one product gives the gradients of W and b.
    """
    if reverse_only and platform().counts_kernels:
        return _affine(_is_bf16(x), x, W, b)
    return product(x, W, reverse_only) + jnp.expand_dims(b, tuple(range(x.ndim - 1)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _affine(rounds: bool, x: jax.Array, W: jax.Array, b: jax.Array) -> jax.Array:
    return _affine_forward(rounds, x, W, b)[0]


def _affine_forward(rounds: bool, x: jax.Array, W: jax.Array, b: jax.Array) -> tuple[jax.Array, Any]:
    axes = string.ascii_lowercase[: x.ndim - 1]
    y, kept = _forward(f"{axes}y,yz->{axes}z", rounds, x, W)
    return y + jnp.expand_dims(b, tuple(range(x.ndim - 1))), kept


def _affine_backward(rounds: bool, kept: Any, d: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    (x, W), axes = kept, string.ascii_lowercase[: d.ndim - 1]
    d_x, rows = _backward(f"{axes}y,yz->{axes}z", rounds, (with_a_one(x), W), d)
    return d_x, rows[: len(W)], rows[len(W)]


_affine.defvjp(_affine_forward, _affine_backward)


def linear_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """a b, where b is a tangent: what a rule for forward mode returns, and reverse mode makes b's gradient of.

    JAX's own transpose would round nothing in bf16, and multiply in TF32 beside the products for other weights; and
    leave the sum over steps and batch to XLA where others are made in pieces. It is made of `jax.custom_derivatives.
    linear_call`, which `vmap` does not take: for several members at once it is JAX's own after all.
    """
    if members_at_once() or not (_is_bf16(a) or platform().summing_programs):
        return a @ b
    axes = string.ascii_lowercase[: a.ndim - 1]

    def of_b(a: jax.Array, d: jax.Array) -> jax.Array:
        return contract(f"{axes}y,{axes}z->yz", a, d)

    return jax.custom_derivatives.linear_call(product, of_b, a, b)


def _is_bf16(a: jax.Array) -> bool:
    return a.dtype == jnp.float32 and jax.config.values["jax_default_matmul_precision"] == "bfloat16"


# In bf16 JAX's own gradient would multiply a cotangent in float32 by a rounded operand.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _by_einsum(axes: str, rounds: bool, a: jax.Array, b: jax.Array) -> jax.Array:
    return _forward(axes, rounds, a, b)[0]


def _forward(axes: str, rounds: bool, a: jax.Array, b: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    kept = (a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)) if rounds else (a, b)
    einsum = _einsum if platform().summing_programs else jnp.einsum
    return einsum(axes, *kept, preferred_element_type=a.dtype), kept


def _backward(axes: str, rounds: bool, kept: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array]:
    inputs, out = axes.split("->")
    of_a, of_b = inputs.split(",")
    (a, b), dtype = kept, d.dtype
    d = d.astype(jnp.bfloat16) if rounds else d
    d_a = _einsum(f"{out},{of_b}->{of_a}", d, b, preferred_element_type=dtype)
    return d_a, _einsum(f"{of_a},{out}->{of_b}", a, d, preferred_element_type=dtype)


_by_einsum.defvjp(_forward, _backward)


def _einsum(axes: str, a: jax.Array, b: jax.Array, **options: Any) -> jax.Array:
    """`jnp.einsum`; what is summed over steps and batch is a product of matrices, as it is best on the platform.

    On a CPU it has T B rows. With two axes XLA writes both operands anew, in another order, and the first one
    transposed: an update of 64 and 128 LSTM units, batch 100, took 1.03 and 1.05 times as long. With a batch of 1
    those copies are small, and the product faster. On a GPU it is made in pieces, see `pieces_of`.
    """
    inputs, out = axes.split("->")
    of_a, of_b = inputs.split(",")
    summed = len(os.path.commonprefix([of_a, of_b]))
    if summed > 1 and not set(of_a[:summed]) & set(out):
        rows, (of_a, of_b) = math.prod(a.shape[:summed]), (of[summed - 1 :] for of in (of_a, of_b))
        if platform().flattens_sums and a.shape[summed - 1] > 1:
            a, b = (x.reshape(rows, *x.shape[summed:]) for x in (a, b))
            return jnp.einsum(f"{of_a},{of_b}->{out}", a, b, **options)
        pieces = pieces_of(rows, math.prod(a.shape[summed:]), math.prod(b.shape[summed:]))
        if pieces > 1:
            a, b = (x.reshape(pieces, -1, *x.shape[summed:]) for x in (a, b))
            # Added one by one, and not as a sum along an axis, they are read by the kernel that writes all gradients.
            return functools.reduce(jnp.add, jnp.unstack(jnp.einsum(f"Z{of_a},Z{of_b}->Z{out}", a, b, **options)))
    return jnp.einsum(axes, a, b, **options)


def pieces_of(rows: int, m: int, n: int) -> int:
    """Into how many products of equal length a product (m, rows) (rows, n) is cut, which are then added up.

    A GPU gives 64 x 128 numbers of the result to a processor, and most have nothing to do where that is all there is.
    XLA cuts such a product too, after it has filled up both operands with zeros to a length of its own: two more
    kernels, each of which writes an operand anew. 1 where the platform does not want it.

    Example:
      >>> from jaxrnn.engines.platforms import tracing_for
      >>> with tracing_for("gpu"):
      ...     pieces_of(10_000, 152, 256), pieces_of(10_000, 600, 2048), pieces_of(25, 104, 83)
      (40, 1, 1)
    """
    wanted = platform().summing_programs // (-(-m // 64) * -(-n // 128))
    shortest = 128  # rows of a piece; what is shorter is sooner done than added up
    most = min(wanted, rows // shortest)
    return max((pieces for pieces in range(1, most + 1) if rows % pieces == 0), default=1)
