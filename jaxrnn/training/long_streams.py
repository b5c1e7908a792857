"""Streams that are longer than a cell can count their steps."""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from jaxrnn.cells.temporal_gate_lstm import TemporalGateCarry
from jaxrnn.errors import ConfigurationError
from jaxrnn.training.job import TrainJob
from jaxrnn.training.state import TrainState


def largest_count(dtype: jax.typing.DTypeLike) -> int:
    """Up to which number each whole one has its place; one more stays the same.

    Example:
      >>> largest_count("float32") == 2**24
      True
    """
    return 2 ** (jnp.finfo(dtype).nmant + 1)


def refuse_streams_that_are_not_counted(jobs: Iterable[TrainJob], template: TrainState) -> None:
    """Refuses a temporal gate whose time would stand still: its carry counts the steps since the fresh start.

    Where documents end, each begins afresh, and their lengths are not looked at.

    Args:
      jobs: what is trained, one program.
      template: shapes and dtypes of its state.

    Raises:
      ConfigurationError: if a stream has more steps, as far as it is trained on.
    """
    leaves = jax.tree.leaves(template.carry, is_leaf=lambda node: isinstance(node, TemporalGateCarry))
    most = min(
        (largest_count(node.steps.dtype) for node in leaves if isinstance(node, TemporalGateCarry)), default=None
    )
    for job in jobs:
        objective = job.task.objective
        if most is None or not objective.passes_carry or getattr(objective, "document_end", None) is not None:
            continue
        steps = min(job.windows or job.updates, job.updates) * objective.steps
        if steps > most:
            raise ConfigurationError(
                f"a temporal gate in {job.config.dtype} counts {most:,} steps from a fresh start; each of the "
                f"{job.config.batch_size} streams has {steps:,}, and the gate would stand still; give a larger "
                "--batch-size, which makes them shorter, or --dtype float64"
            )
