"""The one mesh: members along one axis, the rows of a batch along the other; on real devices or those of a CPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrnn.checks import as_count
from jaxrnn.engines.platforms import platform
from jaxrnn.errors import ConfigurationError

MEMBER_AXIS, BATCH_AXIS = "members", "batch"
LARGEST_SPLIT_HIDDEN = 512
MOST_CPU_DEVICES = 256  # each has threads of its own: 1,000 came to nothing on two cores, 100,000 end the process
FEWEST_ROWS = 16


class Layout(NamedTuple):
    """How a program lies on devices.

    Attributes:
      spread: over so many devices the members are spread.
      share: so many devices share the batch of one member.
      batched: the members of one device at once with `vmap`, as suits an accelerator, or one after another.
    """

    spread: int = 1
    share: int = 1
    batched: bool = False

    @property
    def devices(self) -> int:
        """Devices in use."""
        return self.spread * self.share


def layout_for(members: int, devices: int, batch_size: int, batched: bool = False) -> Layout:
    """Members spread as far as they go; where there are fewer than devices, several share the batch of each.

    Example:
      >>> layout_for(12, 2, 100)[:2], layout_for(1, 2, 100)[:2], layout_for(1, 2, 25)[:2]
      ((2, 1), (1, 2), (1, 1))
    """
    spread = max(n for n in range(1, devices + 1) if devices % n == 0 and n <= members)
    share = devices // spread
    return Layout(spread, share if batch_size % share == 0 else 1, batched)


def mesh_of(layout: Layout) -> Mesh:
    """The first devices as a grid.

    Raises:
      ConfigurationError: if JAX has fewer, or one of several processes would have none.
    """
    wanted, present = layout.devices, jax.device_count()
    if wanted > present:
        raise ConfigurationError(
            f"the run uses {wanted} devices, JAX has {present}; on a CPU call jaxrnn.use_cpu_devices({wanted}) before "
            "anything else that uses JAX, begin a run with --devices 1, or go on with `jaxrnn resume --devices "
            f"{present}`, which changes its bits"
        )
    if wanted < present and jax.process_count() > 1:
        raise ConfigurationError(
            f"what uses {wanted} of {present} devices leaves a process without one; give a batch that all devices "
            "divide, more members of each structure, or fewer processes"
        )
    grid = np.array(jax.devices()[:wanted]).reshape(layout.spread, layout.share)
    return Mesh(grid, (MEMBER_AXIS, BATCH_AXIS))


def place(layout: Layout, specs: Any, tree: Any) -> Any:
    """Puts a tree where the programs of this layout want it; `specs` is a prefix of it."""
    if layout.devices == 1 and jax.process_count() == 1:
        return jax.tree.map(jnp.asarray, tree)
    mesh = mesh_of(layout)

    def put(spec: PartitionSpec, part: Any) -> Any:
        sharding = NamedSharding(mesh, spec)
        if jax.process_count() == 1:
            return jax.device_put(part, sharding)

        def share(leaf: Any) -> jax.Array:  # every process has all of it, and puts its own share
            leaf = np.asarray(leaf)
            return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

        return jax.tree.map(share, part)

    return jax.tree.map(put, specs, tree, is_leaf=_is_spec)


def jit_on(function: Callable, layout: Layout, in_specs: tuple, out_specs: Any) -> Any:
    """Jits a function: on each device of the layout it sees the part of its arguments that lies there.

    The first argument is given away.
    """
    options: dict[str, Any] = {"donate_argnums": 0, "compiler_options": platform().compiler_options}
    if layout.devices == 1 and jax.process_count() == 1:
        return jax.jit(function, **options)
    mesh = mesh_of(layout)
    function = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), in_specs, is_leaf=_is_spec)
    return jax.jit(function, in_shardings=shardings, **options)


def _is_spec(node: Any) -> bool:
    return isinstance(node, PartitionSpec)


def on_first_device(tree: Any) -> Any:
    """Arrays that every device holds a copy of, as arrays of this process's first; NumPy arrays stay as they are."""
    first = jax.local_devices()[0]
    return jax.tree.map(lambda a: jax.device_put(a, first) if isinstance(a, jax.Array) else a, tree)


def like(value: Any, array: Any) -> Any:
    """A value with the dtype and on the devices of an array; of a NumPy array one of NumPy."""
    if not isinstance(array, jax.Array):
        return np.asarray(value, array.dtype)
    return jax.device_put(np.asarray(value, array.dtype), array.sharding)


def use_cpu_devices(devices: int) -> None:
    """Makes JAX see so many virtual CPU devices. Only possible before JAX is used for the first time.

    XLA runs the elementwise work of one program on one core of a CPU; a batch split over virtual devices uses several.

    Raises:
      ConfigurationError: if JAX has started with another number, or it is no number, or too large a one.
    """
    devices = as_count("devices", devices, 1, max(MOST_CPU_DEVICES, cores()))
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
