"""How much memory a run will take, so that a size that cannot fit is refused before anything is compiled."""

from __future__ import annotations

import math

import jax
import psutil

from jaxrnn.checks import flag
from jaxrnn.config import TrainConfig
from jaxrnn.errors import ConfigurationError

# Parameters, their gradient, the optimizer's accumulators, the best parameters, and room for the step's results.
COPIES_OF_PARAMETERS = 6


def parameter_count(params: object) -> int:
    """How many numbers a tree of arrays or shapes holds.

    Example:
      >>> import jax.numpy as jnp
      >>> parameter_count({"W": jnp.zeros((2, 3)), "b": jnp.zeros(3)})
      9
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def free_memory(devices: int) -> int:
    """Free bytes of so many devices; of a CPU, or where a device does not tell, those of this machine."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return devices * max(stats["bytes_limit"] - stats.get("bytes_in_use", 0), 0)
    return psutil.virtual_memory().available


def refuse_what_cannot_fit(config: TrainConfig, parameters: int, symbols: int, characters: int) -> None:
    """Estimates the memory of training and compares it with what is free.

    Args:
      config: the settings.
      parameters: how many the model has.
      symbols: features of input and output of one step together.
      characters: of the text that is held in memory.

    Raises:
      ConfigurationError: if the estimate is more, with its parts and the option to lower.
    """
    item = 8 if config.dtype == "float64" else 4
    state = COPIES_OF_PARAMETERS * parameters * item
    step_features = 8 * config.hidden * config.layers * (1 + config.bidirectional) + 3 * symbols
    activations = config.steps * config.batch_size * step_features * item
    free = psutil.virtual_memory().available
    needed = state + activations + 2 * characters
    if needed > free:
        option = (
            "--hidden"
            if state > activations
            else "--batch-size or " + flag("bptt_length" if config.task == "text" else "sequence_length")
        )
        raise ConfigurationError(
            f"these sizes need about {_gib(needed)} ({parameters:,} parameters: {_gib(state)}; activations: "
            f"{_gib(activations)}), {_gib(free)} are free; free more, or train with a smaller {option}"
        )


def _gib(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB"
