"""One compile cache for all tests of faults, in this process and in those that it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from .support import call, tiny_options, tiny_text

CACHE: dict[str, object] = {
    "jax_compilation_cache_dir": "",
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="session")
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the workers of one test session."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root
    cache = root / "xla-cache"
    cache.mkdir(exist_ok=True)
    return cache


@pytest.fixture(scope="module", autouse=True)
def compile_cache(cache_directory: Path) -> Iterator[Path]:
    """Points JAX here and in child processes at the shared cache, and puts everything back."""
    settings = CACHE | {"jax_compilation_cache_dir": str(cache_directory)}
    before = {name: getattr(jax.config, name) for name in settings}
    variables = {name.upper(): str(value) for name, value in settings.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, variable in variables.items():
            patch.setenv(name, variable)
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        yield cache_directory
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text file; never changed."""
    path = tmp_path_factory.mktemp("text") / "tiny.txt"
    path.write_text(tiny_text(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory, text: Path, compile_cache: Path) -> Path:
    """A run of 120 updates that nothing disturbed, made by another process; never changed, only copied."""
    run = tmp_path_factory.mktemp("finished") / "run"
    answer = call("train", text, *tiny_options(run))
    assert answer.code == 0, answer.err
    return run
