"""What all tests share: no silent broadcasting between ranks, and switches for precision."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from filelock import FileLock

from jaxrnn.training import members, trainer

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


def _known(function: Callable, answers: dict[Any, Any]) -> Callable:
    """A function that gives what it gave before for the same arguments; those without a hash are not looked up."""

    def call(*given: Any, **named: Any) -> Any:
        key = function, given, tuple(named.items())
        try:
            hash(key)
        except TypeError:
            return function(*given, **named)
        if key not in answers:
            answers[key] = function(*given, **named)
        return answers[key]

    return call


_TRACED: dict[Any, Any] = {}


@pytest.fixture(scope="module")
def traced_once() -> Iterator[None]:
    """A training program is traced once in this process, whichever of its runs asks for it.

    That is most of the time of a tiny run that is begun again and again. What is shared is the function of the model's
    structure and the settings of the step; the state, of which it is a function, and the files are each run's own. Not
    for tests that replace what is traced.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((trainer, "train_chunk_of"), (members, "lift"), (members, "jit_on")):
            patch.setattr(module, name, _known(getattr(module, name), _TRACED))
        yield


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cell of a table is broken, whatever terminal the tests run in."""
    monkeypatch.setenv("COLUMNS", "200")
