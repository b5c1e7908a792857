"""What JAX computes with for the time of a run, whatever the environment asks of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def numerics(dtype: str) -> Iterator[None]:
    """Fixes what would change the bits of a run, or stop a good one; afterwards all is as before.

    - 64-bit numbers if the run has them, and only then.
    - Random numbers that do not depend on how they are split over devices, JAX's default. With
      `JAX_THREEFRY_PARTITIONABLE=false` masks, samples and starting values would be others.
    - No search for NaN and infinity (`JAX_DEBUG_NANS`, `JAX_DEBUG_INFS`): the state holds both before the first
      validation, and updates that are not finite are left out and counted.

    Compiled programs are kept by these settings: a program compiled inside is found again inside, and not outside.

    Args:
      dtype: of the run, "float32" or "float64".

    Example:
      >>> with numerics("float64"):
      ...     jax.numpy.zeros(1).dtype.name
      'float64'
    """
    with (
        jax.enable_x64(dtype == "float64"),
        jax.threefry_partitionable(True),
        jax.debug_nans(False),
        jax.debug_infs(False),
    ):
        yield
