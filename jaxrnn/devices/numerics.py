"""What JAX computes with for the time of a run, whatever the environment asks of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax

from jaxrnn.engines.platforms import platform


@contextlib.contextmanager
def numerics(dtype: str, precision: str | None = "float32") -> Iterator[None]:
    """Fixes what would change the bits of a run, or stop a good one; afterwards all is as before.

    - 64-bit numbers if the run has them, and only then.
    - Random numbers that do not depend on how they are split over devices, JAX's default. With
      `JAX_THREEFRY_PARTITIONABLE=false` masks, samples and starting values would be others.
    - Products in the precision of the run: "auto" is float32 on a CPU, TF32 on a GPU, and on a TPU JAX's own, one
      bfloat16 pass. There "float32" asks for float32 and takes its price. "tf32" is TF32 on a GPU, three bfloat16
      passes on a TPU. A CPU multiplies in float32 in any case but "bf16", which is the same everywhere: see
      `jaxrnn.engines.products`.
    - No search for NaN and infinity (`JAX_DEBUG_NANS`, `JAX_DEBUG_INFS`): the state holds both before the first
      validation, and updates that are not finite are left out and counted.
    - Programs compiled (`JAX_DISABLE_JIT`): operation by operation the bits are others, and not all of them run.

    Compiled programs are kept by these settings: a program compiled inside is found again inside, and not outside.

    Args:
      dtype: of the run, "float32" or "float64".
      precision: of its products, "auto", "float32", "tf32" or "bf16"; None leaves JAX's default.

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
        jax.disable_jit(False),
    ):
        yield


def _matmul_precision(precision: str | None) -> str | None:
    """The name that JAX has for it; none on a CPU, whose programs stay what they were before there was a choice."""
    name = platform().name
    if precision is None:
        return None
    if precision != "bf16" and (name == "cpu" or (name == "tpu" and precision == "auto")):
        return None
    return {"auto": "tensorfloat32", "float32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}[precision]
