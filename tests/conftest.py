"""What all tests share: no silent broadcasting between ranks, and switches for precision."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from filelock import FileLock

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


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Gives the path of a name after `make(path)`, which one worker of the session calls and the others wait for."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def path_of(name: str, make: Callable[[Path], object]) -> Path:
        path, made = root / "once" / name, root / f"{name}.made"
        with FileLock(root / f"{name}.lock"):
            if not made.exists():
                path.parent.mkdir(exist_ok=True)
                make(path)
                made.touch()
        return path

    return path_of


@pytest.fixture(scope="module")
def with_optimizations() -> Iterator[None]:
    """Programs as users run them, in this process and in those that it starts; see `tests/__init__.py`."""

    def switch(on: bool) -> None:
        jax.config.update("jax_disable_most_optimizations", not on)
        jax.clear_caches()  # what was compiled the other way

    without = jax.config.read("jax_disable_most_optimizations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "false")
        switch(True)
        yield
        switch(not without)


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cell of a table is broken, whatever terminal the tests run in."""
    monkeypatch.setenv("COLUMNS", "200")
