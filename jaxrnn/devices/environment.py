"""What besides the settings decides the bits of a run: releases, flags, device, precision; and the compile cache."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from jaxrnn.data.cache import cache_folder
from jaxrnn.errors import ConfigurationError

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
PACKAGES = ("jaxrnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def fingerprint() -> dict[str, Any]:
    """Everything that may change the bits of a result, as JSON can hold it."""
    import jax

    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "versions": versions,
        "platform": device.platform,
        "device": device.device_kind if device.platform != "cpu" else _processor(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
    }


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of a fingerprint differs, one line each. The version of Python and of jaxrnn does not change the bits."""

    def flat(content: dict[str, Any]) -> dict[str, Any]:
        versions = {package: content.get("versions", {}).get(package) for package in PACKAGES[1:]}
        return {name: value for name, value in content.items() if name not in ("python", "versions")} | versions

    old, new = flat(before), flat(now)
    return [
        f"{name} {old.get(name)} -> {new.get(name)}" for name in sorted(old | new) if old.get(name) != new.get(name)
    ]


def use_deterministic_ops() -> None:
    """Has XLA choose operations on a GPU whose bits are the same each time. Only possible before JAX is first used.

    Without it some sums, such as those of a gather's gradient, are taken in the order in which threads come, and the
    fastest kernel is chosen by a timing at each start. A CPU's programs are not concerned.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    os.environ["XLA_FLAGS"] = " ".join([*(flag for flag in flags if flag != DETERMINISTIC), DETERMINISTIC])


def refuse_unset_determinism() -> None:
    """Refuses a GPU that was not told to be deterministic.

    Raises:
      ConfigurationError: with what to do.
    """
    import jax

    if jax.default_backend() == "gpu" and DETERMINISTIC not in os.environ.get("XLA_FLAGS", "").split():
        raise ConfigurationError(
            "deterministic expects a call of jaxrnn.devices.use_deterministic_ops() before anything else that uses "
            "JAX; call it in the first cell, after a restart of the kernel"
        )


def use_compile_cache() -> None:
    """Lets XLA keep compiled programs in the user's cache, unless JAX's own variables say where, or switch it off."""
    import jax

    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is None and os.environ.get("JAX_ENABLE_COMPILATION_CACHE") is None:
        directory = cache_folder("xla")
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        if not os.access(directory, os.W_OK | os.X_OK):  # else JAX warns of every program that it compiles
            return
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                vector = [name for name in ("sse4_2", "avx", "avx2", "avx512f", "amx_tile") if name in line.split()]
                return f"{platform.machine()} {' '.join(vector)}"
    except OSError:
        pass
    return platform.machine()
