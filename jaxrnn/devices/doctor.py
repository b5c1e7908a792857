"""What `jaxrnn doctor` says: the devices and releases that a run would have, and what would be chosen on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import jax
from flax import nnx

from jaxrnn.cells.by_name import CELLS
from jaxrnn.devices.environment import fingerprint
from jaxrnn.engines import choose_engine
from jaxrnn.engines.platforms import PLATFORMS, platform, tracing_for

NVIDIA, TPU = "/proc/driver/nvidia/version", ("/dev/accel0", "/dev/vfio/0")


def diagnosis(cells: Sequence[str], hidden: int, batch_size: int, name: str | None = None) -> str:
    """Devices, releases, precision, flags, and for each cell the chosen engine and why no other was.

    Args:
      cells: their names.
      hidden: H, on which the choice may depend.
      batch_size: B, likewise.
      name: of a platform, to see what would be chosen there; the one of JAX's devices if None.
    """
    here, about, devices = platform(), fingerprint(), jax.devices()
    of = here if name is None else PLATFORMS[name]
    versions = ", ".join(f"{package} {version or 'not installed'}" for package, version in about["versions"].items())
    processes = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    lines = [
        f"devices    {len(devices)} x {about['device']} ({about['platform']}){processes}",
        *(f"           {line}" for line in advice(about["platform"])),
        f"releases   Python {about['python']}, {versions}",
        f"precision  {precision_of(about['platform'], about['matmul_precision'])}",
        f"XLA_FLAGS  {about['XLA_FLAGS'] or 'none'}",
        f"cache      {jax.config.values['jax_compilation_cache_dir'] or 'none: every start compiles anew'}",
        f"platform   {of.name}: {of.evidence}",
    ]
    lines += [
        f"           {field} = {value}" for field, value in of._asdict().items() if field not in ("name", "evidence")
    ]
    with tracing_for(of.name):
        for cell in cells:
            choice = choose_engine(CELLS[cell](hidden, hidden, rngs=nnx.Rngs(0)), batch_size)
            lines.append(f"{cell}, {hidden} hidden features, batch {batch_size}: {choice.engine}")
            lines += [f"           not {engine}: {why}" for engine, why in choice.rejected.items()]
    return "\n".join(lines) + "\n"


def advice(name: str) -> list[str]:
    """What to do where JAX computes on the CPU: why it does, and what to install."""
    if name != "cpu":
        return []
    if os.environ.get("JAX_PLATFORMS", "").split(",")[0] == "cpu":
        return ["JAX_PLATFORMS=cpu keeps JAX from any accelerator; unset it to use one"]
    if Path(NVIDIA).exists():
        return ['an NVIDIA GPU is here, and JAX cannot use it: pip install "jax[cuda12]", or "jax[cuda13]"']
    if any(Path(device).exists() for device in TPU):
        return ['a TPU is here, and JAX cannot use it: pip install "jax[tpu]"']
    return [
        "no accelerator: training runs on the CPU, which is fast up to some 500 hidden features",
        'on a machine with an NVIDIA GPU: pip install "jax[cuda12]"; on a TPU VM: pip install "jax[tpu]"',
    ]


def precision_of(name: str, setting: str) -> str:
    """What a product of float32 matrices is computed in."""
    if setting not in ("None", "default"):
        return f"{setting}, as JAX is told"
    return {
        "cpu": "float32",
        "gpu": "JAX's default: TF32 on NVIDIA GPUs from Ampere on, 10 bits of each factor",
        "tpu": "JAX's default: bfloat16, 8 bits of each factor, summed in float32",
    }.get(name, "JAX's default")
