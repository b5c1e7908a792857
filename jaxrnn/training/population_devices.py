"""A population on its devices: what is fixed, how members and batches are spread, and programs over the grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrnn.devices.mesh import BATCH_AXIS
from jaxrnn.errors import ConfigurationError
from jaxrnn.training.state import TrainState
from jaxrnn.training.step import StepSettings, compiler_options

MEMBER_AXIS = "members"


class PopulationSettings(NamedTuple):
    """What is fixed when the programs of a population are compiled.

    Attributes:
      step: of the update; its `devices` share the batch of one member.
      member_devices: over so many the members are spread.
      batched: members of one device at once with `vmap`, or one after another.
      rule: one of `EARLY_STOPPING_RULES`.
      patience: epochs, for that rule.
      validates: whether an epoch ends with the validation data and the best parameters are kept; else the latest are.
      explosion_nats: a window's loss above it counts as divergence.
    """

    step: StepSettings
    member_devices: int = 1
    batched: bool = False
    rule: str = "none"
    patience: int = 5
    validates: bool = True
    explosion_nats: float = float("inf")


def device_layout(members: int, devices: int, batch_size: int) -> tuple[int, int]:
    """(devices that the members are spread over, devices that share the batch of each).

    Example:
      >>> device_layout(12, 2, 100), device_layout(1, 2, 100), device_layout(1, 2, 25)
      ((2, 1), (1, 2), (1, 1))
    """
    spread = max(n for n in range(1, devices + 1) if devices % n == 0 and n <= members)
    share = devices // spread
    return spread, share if batch_size % share == 0 else 1


def population_mesh(settings: PopulationSettings) -> Mesh:
    """The devices as a grid: members along one axis, parts of their batches along the other.

    Raises:
      ConfigurationError: if JAX has fewer.
    """
    wanted = settings.member_devices * settings.step.devices
    if wanted > jax.device_count():
        raise ConfigurationError(
            f"the population was begun on {wanted} devices, JAX has {jax.device_count()}; on a CPU call "
            f"jaxrnn.use_cpu_devices({wanted}) before anything else that uses JAX"
        )
    if wanted < jax.device_count() and jax.process_count() > 1:
        raise ConfigurationError(
            f"a population that uses {wanted} of {jax.device_count()} devices leaves a process without one; give more "
            "members of each structure, a batch that the devices divide, or fewer processes"
        )
    grid = np.array(jax.devices()[:wanted]).reshape(settings.member_devices, settings.step.devices)
    return Mesh(grid, (MEMBER_AXIS, BATCH_AXIS))


def state_specs() -> TrainState:
    """How stacked states of training lie on the grid."""
    along: Any = PartitionSpec(MEMBER_AXIS)
    state = TrainState(**{name: along for name in TrainState._fields})
    return state._replace(carry=PartitionSpec(MEMBER_AXIS, BATCH_AXIS))


def place_on(settings: PopulationSettings, specs: Any, tree: Any) -> Any:
    """Puts a tree where the compiled programs want it."""
    mesh = population_mesh(settings)

    def put(spec: PartitionSpec, part: Any) -> Any:
        sharding = NamedSharding(mesh, spec)
        if jax.process_count() == 1:
            return jax.device_put(part, sharding)

        def share(leaf: Any) -> jax.Array:  # every process has all of it, and puts its own share
            leaf = np.asarray(leaf)
            return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

        return jax.tree.map(share, part)

    return jax.tree.map(put, specs, tree, is_leaf=_is_spec)


def _is_spec(node: Any) -> bool:
    return isinstance(node, PartitionSpec)


def compile_on_grid(
    function: Callable, settings: PopulationSettings, in_specs: Any, out_specs: Any, **options: Any
) -> Any:
    """Compiles a function of members: on each device of the grid it sees the members that lie there."""
    mesh = population_mesh(settings)
    if mesh.size > 1:
        function = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), in_specs, is_leaf=_is_spec)
    return jax.jit(function, in_shardings=shardings, compiler_options=compiler_options(), **options)
