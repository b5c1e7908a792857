"""What all tests share: no silent broadcasting between ranks, and switches for precision."""

from collections.abc import Iterator

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)  # for the tests that split a batch


@pytest.fixture
def strict_dtypes() -> Iterator[None]:
    """Dtypes are never mixed silently; for cells, unroll and loss (Optax's Adam needs the standard rules)."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def float64() -> Iterator[None]:
    """64-bit numbers in JAX during one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Random inputs, the same in each run."""
    return np.random.default_rng(20240607)
