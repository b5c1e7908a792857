"""The engine `resident-output`: as `resident`, with a kernel for the output layer and its loss; off until it was run.

A model's layers are unrolled as by `resident`. The kernel stands in the place of four products, the softmax and the sum
over steps and batch: it is for training alone, where nothing else reads the logits.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

WITH_OUTPUT = "resident-output"


def why_not_output(W: jax.Array) -> str | None:
    """Why the kernel cannot run with such a W_y, (H, V), or None."""
    from jaxrnn.engines.resident_gpu import output

    if W.dtype != jnp.float32 or jax.config.values["jax_default_matmul_precision"] == "bfloat16":
        return "its products are of TF32"
    if not output.fits(*W.shape):
        return f"{W.shape[0]} features and {W.shape[1]} symbols do not fit into the shared memory of its programs"
    return None


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def output_loss(
    h: jax.Array, W: jax.Array, b: jax.Array, targets: jax.Array, scale: float, interpret: Any = None
) -> jax.Array:
    """`scale` times the sum of the losses in nats of logits = h W + b; the forward pass makes the gradients too.

    Args:
      h: (N, H), float32.
      W, b: (H, V) and (V,).
      targets: ids, (N,).
      scale: a number known while tracing, so that no kernel multiplies by it.
      interpret: parameters of Pallas's interpreter, where there is no GPU.
    """
    return _forward(h, W, b, targets, scale, interpret)[0]


def _forward(h: Any, W: Any, b: Any, targets: Any, scale: float, interpret: Any) -> tuple[jax.Array, Any]:
    from jaxrnn.engines.resident_gpu.output import output_gradients

    total, *gradients = output_gradients(h, W, b, targets, scale, interpret)
    return scale * total, gradients


def _backward(scale: float, interpret: Any, gradients: Any, d: jax.Array) -> tuple[Any, ...]:
    del scale, interpret
    return *[d * gradient for gradient in gradients], None


output_loss.defvjp(_forward, _backward)
