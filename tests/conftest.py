"""What all tests share: no silent broadcasting between ranks, and switches for precision."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)  # for the tests that split a batch
# Tests of one session compile a program once, whatever object asks for it: the workers of a session share a folder.
SESSION = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
jax.config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir()) / f"jaxrnn-tests-{SESSION}"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


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
