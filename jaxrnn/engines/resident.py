"""The engine `resident`: W_h stays in the fast memory of the device for all steps, in kernels of its own.

One module a platform has them; they are loaded where they can run. This one says where that is.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.platforms import is_for_another, platform
from jaxrnn.engines.window import Window

FEWEST_STEPS = 8  # a sampler reads one at a time
HOPPER = "9.0"  # compute capability; the tensor cores of other cards want other instructions


def unroll_resident(
    cell: Cell, window: Window, carry: Carry, fresh: Carry | None = None, clip_backward: jax.Array | None = None
) -> tuple[Carry, jax.Array]:
    """Unrolls by the kernels of the platform that is traced for; `why_not_resident` says whether they can."""
    if platform().name == "tpu":
        from jaxrnn.engines.resident_tpu import unroll_resident_tpu

        return unroll_resident_tpu(cell, window, carry, fresh, clip_backward)
    from jaxrnn.engines import resident_gpu

    return resident_gpu.unroll_resident(cell, window, carry, fresh, clip_backward)


def why_not_resident(cell: Cell, window: Window | None) -> str | None:
    """Why no kernel can run this, or None; without a window, what the cell and the device say alone."""
    name = platform().name
    if name == "cpu":
        return "it needs a TPU, or an NVIDIA GPU of the Hopper generation"
    if window is not None and len(window.times) < FEWEST_STEPS:
        return f"a window of {len(window.times)} steps does not pay for its kernels, {FEWEST_STEPS} might"
    if cell.W_h[...].dtype != jnp.float32:
        return f"its state is float32, not {cell.W_h[...].dtype}"
    if name == "tpu":
        from jaxrnn.engines.resident_tpu import why_not_resident_tpu

        return why_not_resident_tpu(cell)
    if (card := _capability()) not in (None, HOPPER):
        return f"it needs a GPU of compute capability {HOPPER}; this one has {card}"
    if jax.__version_info__ < (0, 11):
        return f"its kernels were made for JAX 0.11; this is {jax.__version__}"
    if jax.config.values["jax_default_matmul_precision"] in ("float32", "highest"):
        return "its products are of TF32 or bfloat16; the precision asked for is float32"
    from jaxrnn.engines import resident_gpu

    return resident_gpu.why_not(cell, window)


def resident_pays(cell: Cell, batch_size: int) -> bool:
    """Whether it is to be chosen on a GPU that can run it."""
    from jaxrnn.engines import resident_gpu

    return resident_gpu.pays(cell, batch_size)


def _capability() -> str | None:
    # None where a program is compiled for a card that need not be here.
    return None if is_for_another() else getattr(jax.devices()[0], "compute_capability", None)
