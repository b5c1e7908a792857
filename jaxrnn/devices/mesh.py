"""The batch split over several devices: real ones, or virtual ones of a CPU."""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxrnn.errors import ConfigurationError

BATCH_AXIS = "batch"
LARGEST_SPLIT_HIDDEN = 512
FEWEST_ROWS = 16


def batch_mesh(devices: int) -> Mesh:
    """The first `devices` devices in a row, the axis that the batch is split over.

    Raises:
      ConfigurationError: if JAX has fewer.
    """
    if devices > jax.device_count():
        raise ConfigurationError(
            f"the run splits its batch over {devices} devices, JAX has {jax.device_count()}; on a CPU call "
            f"jaxrnn.use_cpu_devices({devices}) before anything else that uses JAX, or begin a run with --devices 1"
        )
    return Mesh(np.array(jax.devices()[:devices]), (BATCH_AXIS,))


def on_first_device(tree: Any) -> Any:
    """Arrays that every device holds a copy of, as arrays of the first device; NumPy arrays stay as they are."""
    first = jax.devices()[0]
    return jax.tree.map(lambda a: jax.device_put(a, first) if isinstance(a, jax.Array) else a, tree)


def like(value: Any, array: jax.Array) -> jax.Array:
    """A value with the dtype and on the devices of an array."""
    return jax.device_put(np.asarray(value, array.dtype), array.sharding)


def use_cpu_devices(devices: int) -> None:
    """Makes JAX see so many virtual CPU devices. Only possible before JAX is used for the first time.

    XLA runs the elementwise work of one program on one core of a CPU; a batch split over virtual devices uses several.

    Raises:
      ConfigurationError: if JAX has started with another number.
    """
    try:
        jax.config.update("jax_num_cpu_devices", devices)
    except RuntimeError as error:
        if jax.default_backend() == "cpu" and jax.device_count() != devices:
            raise ConfigurationError(
                f"JAX has started with {jax.device_count()} CPU device(s), so it cannot have {devices} now; call "
                f"jaxrnn.use_cpu_devices({devices}) in the first cell, after a restart of the kernel"
            ) from error


def automatic_devices(hidden: int, batch_size: int, available: int) -> int:
    """How many CPU devices a batch is split over: a fixed rule, never a timing, so that a run repeats bit for bit.

    The largest number that divides the batch and leaves each device `FEWEST_ROWS` rows; 1 above
    `LARGEST_SPLIT_HIDDEN` hidden features, where the products alone keep all cores busy. Batch and window of 100 on two
    cores, two devices against one: LSTM of 64, 128, 256, 512 units 1.5, 1.8, 1.2 and 0.97 times as fast, GRU of 128 and
    512 units 1.6 and 1.08. More than two cores were not measured.

    Args:
      hidden: H.
      batch_size: B.
      available: devices, or cores.

    Example:
      >>> automatic_devices(128, batch_size=100, available=2), automatic_devices(128, batch_size=1, available=2)
      (2, 1)
    """
    if hidden > LARGEST_SPLIT_HIDDEN:
        return 1
    return max(n for n in range(1, available + 1) if batch_size % n == 0 and (n == 1 or batch_size // n >= FEWEST_ROWS))


def cores() -> int:
    """CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
