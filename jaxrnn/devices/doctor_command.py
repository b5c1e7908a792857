"""The command `jaxrnn doctor`. It loads JAX only when the arguments are known to be good."""

from __future__ import annotations

from jaxrnn.checks import check_choice
from jaxrnn.config import TrainConfig
from jaxrnn.errors import EXIT_DONE
from jaxrnn.tasks.users_cells import is_own, use_cell
from jaxrnn.terminal.command import write_output

PLATFORM_NAMES = ("cpu", "gpu", "tpu")


def doctor(
    *,
    cell: str | None = None,
    hidden: int = 128,
    batch_size: int = 100,
    precision: str = "auto",
    platform: str | None = None,
) -> int:
    """Print devices, releases, precision and flags, and which engine would be chosen and why no other.

    Args:
      cell: the cell to ask for, also MODULE:CLASS; vanilla, lstm and gru if not given.
      hidden: H, on which the choice may depend.
      batch_size: B, likewise.
      precision: of the products, as for train: auto, float32, tf32 or bf16.
      platform: cpu, gpu or tpu, to see what would be chosen there; that of JAX's devices if not given.
    """
    if is_own(cell):
        use_cell(str(cell))
    # Refuses what no run could have.
    asked = TrainConfig(cell=cell or "lstm", hidden=hidden, batch_size=batch_size, precision=precision)
    check_choice("platform", platform, (None, *PLATFORM_NAMES))
    from jaxrnn.devices.doctor import diagnosis
    from jaxrnn.devices.environment import use_compile_cache

    use_compile_cache()
    cells = [asked.cell] if cell else ["vanilla", "lstm", "gru"]
    write_output(diagnosis(cells, asked.hidden, asked.batch_size, platform, precision))
    return EXIT_DONE
