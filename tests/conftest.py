"""What all tests share: no silent broadcasting between ranks, and switches for precision."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from filelock import FileLock
from jax._src import compiler
from jax.sharding import PartitionSpec

from jaxrnn.training import members, trainer
from tests import QUICK_TO_COMPILE

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
    compile_options: Callable[..., Any] = compiler.get_compile_options

    def with_emitters(*arguments: Any, **options: Any) -> Any:
        own = options.pop("env_options_overrides", None) or {}
        return compile_options(*arguments, env_options_overrides={"xla_cpu_use_fusion_emitters": True} | own, **options)

    def switch(on: bool) -> None:
        jax.config.update("jax_disable_most_optimizations", not on)
        jax.clear_caches()  # what was compiled the other way

    without = jax.config.read("jax_disable_most_optimizations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "false")
        if QUICK_TO_COMPILE in os.environ.get("XLA_FLAGS", ""):  # XLA reads them once in a process
            patch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"].replace(QUICK_TO_COMPILE, "").strip())
            patch.setattr(compiler, "get_compile_options", with_emitters)
        switch(True)
        yield
        switch(not without)


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called once in this process for equal arguments; each time for such as have no hash."""

    def hashable(argument: Any) -> Any:
        try:
            hash(argument)
        except TypeError:  # a tree of specifications
            leaves, tree = jax.tree.flatten(argument, is_leaf=lambda node: isinstance(node, PartitionSpec))
            return tuple(leaves), tree
        return argument

    def call(*arguments: Any, **options: Any) -> Any:
        key = function, *(hashable(argument) for argument in (*arguments, *sorted(options.items())))
        try:
            hash(key)
        except TypeError:
            return function(*arguments, **options)
        if key not in _PROGRAMS:
            _PROGRAMS[key] = function(*arguments, **options)
        return _PROGRAMS[key]

    return call


_PROGRAMS: dict[Any, Any] = {}


@pytest.fixture(scope="module")
def shared_programs() -> Iterator[None]:
    """Runs of one structure and settings call one training program, which is traced for the first of them.

    That is most of the time of a tiny run that is begun again and again. Each run has its own state, data and files.
    Not for tests that replace what is traced.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((trainer, "train_chunk_of"), (members, "lift"), (members, "jit_on")):
            patch.setattr(module, name, kept(getattr(module, name)))
        yield


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cell of a table is broken, whatever terminal the tests run in."""
    monkeypatch.setenv("COLUMNS", "200")
