"""What `jaxrnn doctor` says: the devices and releases that a run would have, and what would be chosen on them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.by_name import CELLS
from jaxrnn.cells.initializers import initializer
from jaxrnn.devices.environment import fingerprint
from jaxrnn.devices.numerics import numerics
from jaxrnn.engines.choose import EngineChoice, choose_engine
from jaxrnn.engines.platforms import PLATFORMS, platform, tracing_for

NVIDIA, TPU = "/proc/driver/nvidia/version", ("/dev/accel0", "/dev/vfio/0")


def diagnosis(
    cells: Sequence[str], hidden: int, batch_size: int, name: str | None = None, precision: str = "auto"
) -> str:
    """Devices, releases, precision, flags, and for each cell the chosen engine and why no other was.

    Args:
      cells: their names.
      hidden: H, on which the choice may depend.
      batch_size: B, likewise.
      name: of a platform, to see what would be chosen there; the one of JAX's devices if None.
      precision: of the products of a run, "auto", "float32", "tf32" or "bf16".
    """
    here, about, devices = platform(), fingerprint(), jax.devices()
    of = here if name is None else PLATFORMS[name]
    versions = ", ".join(f"{package} {version or 'not installed'}" for package, version in about["versions"].items())
    processes = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    lines = [
        f"devices    {len(devices)} x {about['device']} ({about['platform']}){processes}",
        *(f"           {line}" for line in advice(about["platform"])),
        f"releases   Python {about['python']}, {versions}",
        f"precision  {precision}: {precision_of(of.name, precision)}",
        f"XLA_FLAGS  {about['XLA_FLAGS'] or 'none'}",
        f"cache      {jax.config.values['jax_compilation_cache_dir'] or 'none: every start compiles anew'}",
        f"platform   {of.name}: {of.evidence}",
    ]
    lines += [
        f"           {field} = {value}" for field, value in of._asdict().items() if field not in ("name", "evidence")
    ]
    # The devices that are here tell more than the name of their platform.
    elsewhere = tracing_for(of.name) if of.name != here.name else contextlib.nullcontext()
    with elsewhere, numerics("float32", precision):
        for cell in cells:
            choice = _choice(cell, hidden, batch_size)
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


def precision_of(name: str, precision: str) -> str:
    """What the products of a run are made in on a platform."""
    if precision == "bf16":
        return "operands rounded to bfloat16, 8 bits, summed in float32"
    if name == "gpu" and precision != "float32":
        return "TF32 on NVIDIA GPUs from Ampere on, 10 bits of each factor"
    if name == "tpu":
        passes = {"auto": "one bfloat16 pass, 8 bits of each factor", "tf32": "three bfloat16 passes"}
        return passes.get(precision, "float32, in several bfloat16 passes")
    return "float32"


def _choice(cell: str, hidden: int, batch_size: int) -> EngineChoice:
    found = list[EngineChoice]()

    def choose() -> None:  # of a cell whose parameters are not drawn, however large it is
        options: Any = {"kernel_init": initializer("normal", 0.01), "param_dtype": jnp.float32}
        found.append(choose_engine(CELLS[cell](hidden, hidden, rngs=nnx.Rngs(0), **options), batch_size))

    jax.eval_shape(choose)
    return found[0]
