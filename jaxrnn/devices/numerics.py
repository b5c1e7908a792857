"""What JAX computes with for the time of a run, whatever the environment asks of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def numerics(dtype: str, precision: str | None = "float32") -> Iterator[None]:
    """Fixes what would change the bits of a run, or stop a good one; afterwards all is as before.

    - 64-bit numbers if the run has them, and only then.
    - Random numbers that do not depend on how they are split over devices, JAX's default. With
      `JAX_THREEFRY_PARTITIONABLE=false` masks, samples and starting values would be others.
    - Products in the precision of the run, where JAX's own default is TF32 on a GPU and bfloat16 on a TPU; there
      "float32" asks for float32 and takes its price. "tf32" is TF32 on a GPU, three bfloat16 products on a TPU. A CPU
      multiplies in float32 in either case. "bf16" is the same everywhere: see `jaxrnn.engines.products`.
    - No search for NaN and infinity (`JAX_DEBUG_NANS`, `JAX_DEBUG_INFS`): the state holds both before the first
      validation, and updates that are not finite are left out and counted.

    Compiled programs are kept by these settings: a program compiled inside is found again inside, and not outside.

    Args:
      dtype: of the run, "float32" or "float64".
      precision: of its products, "float32", "tf32" or "bf16"; None leaves JAX's default, the same text for all devices.

    Example:
      >>> with numerics("float64"):
      ...     jax.numpy.zeros(1).dtype.name
      'float64'
    """
    with (
        jax.enable_x64(dtype == "float64"),
        jax.threefry_partitionable(True),
        jax.default_matmul_precision(_matmul_precision(precision)),
        jax.debug_nans(False),
        jax.debug_infs(False),
    ):
        yield


def _matmul_precision(precision: str | None) -> str | None:
    """The name that JAX has for it; none on a CPU, whose programs stay what they were before there was a choice."""
    if precision is None or (precision != "bf16" and jax.default_backend() == "cpu"):
        return None
    return {"float32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}[precision]
