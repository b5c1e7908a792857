"""The compile cache: used on the second start, and a damaged entry is deleted and made anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from jaxrnn.devices import environment
from jaxrnn.devices.compile_cache import compiled

DIRECTORY = "jax_compilation_cache_dir"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    settings: dict[str, object] = {
        DIRECTORY: str(tmp_path / "xla"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield tmp_path / "xla"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def _entries(cache: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in cache.iterdir() if p.name.endswith("-cache")}


def _run() -> float:
    def cached_function(x: jax.Array) -> jax.Array:
        return jnp.sin(x) * 3 + jnp.arange(5).sum()

    x = jnp.asarray(0.5)
    return float(compiled(jax.jit(cached_function), x)(x))


def _of_function(cache: Path) -> Path:
    (entry,) = [p for p in cache.iterdir() if p.name.startswith("jit_cached_function") and p.name.endswith("-cache")]
    return entry


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "flipped"])
def test_a_damaged_entry_is_made_anew(cache: Path, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    expected = _run()
    entry = _of_function(cache)
    good = entry.read_bytes()
    entry.write_bytes(
        {
            "empty": b"",
            "cut": good[: len(good) // 2],
            "noise": os.urandom(len(good)),
            "flipped": bytes([*good[:40], good[40] ^ 255, *good[41:]]),
        }[damage]
    )
    assert _run() == expected
    assert not entry.exists() or entry.read_bytes() == good or damage == "flipped"
    assert _run() == expected
    assert _of_function(cache).stat().st_size == pytest.approx(len(good), rel=0.2)
    assert "Traceback" not in capfd.readouterr().err


def test_a_good_entry_is_used_and_left_alone(cache: Path) -> None:
    expected = _run()
    before = _entries(cache)
    assert before and _run() == expected
    assert _entries(cache) == before


def test_other_warnings_are_passed_on(cache: Path) -> None:
    def noisy(x: jax.Array) -> jax.Array:
        import warnings

        warnings.warn("something else", UserWarning, stacklevel=1)
        return x + 1

    with pytest.warns(UserWarning, match="something else"):
        compiled(jax.jit(noisy), jnp.asarray(1.0))


def test_the_cache_is_the_users_unless_jax_is_told_otherwise(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "cache_folder", lambda of: tmp_path / "mine" / of)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(cache))
    environment.use_compile_cache()
    assert getattr(jax.config, DIRECTORY) == str(cache)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.delenv("JAX_ENABLE_COMPILATION_CACHE", raising=False)
    environment.use_compile_cache()
    assert getattr(jax.config, DIRECTORY) == str(tmp_path / "mine" / "xla")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(environment, "cache_folder", lambda of: tmp_path / "file" / "below")
    environment.use_compile_cache()
    assert getattr(jax.config, DIRECTORY) == str(tmp_path / "mine" / "xla")
    monkeypatch.setattr(environment, "cache_folder", lambda of: tmp_path / "of another" / of)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "of another" / "xla")  # root may write all
    environment.use_compile_cache()
    assert getattr(jax.config, DIRECTORY) == str(tmp_path / "mine" / "xla")
