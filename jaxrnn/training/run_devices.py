"""How many devices a run needs, found out before JAX starts, and how its program lies on them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxrnn.cells.base import Cell
from jaxrnn.checks import parse_devices
from jaxrnn.config import TrainConfig
from jaxrnn.devices.environment import refuse_unset_determinism, use_deterministic_ops
from jaxrnn.devices.joining import ALONE, Hosts
from jaxrnn.devices.mesh import Layout, automatic_devices, cores, layout_for
from jaxrnn.devices.numerics import numerics
from jaxrnn.engines.choose import unable
from jaxrnn.engines.platforms import platform, tracing_members
from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.run_directory import RunDirectory, stored_config
from jaxrnn.terminal.printable import printable
from jaxrnn.training.job import TrainJob


def prepare_devices(
    config: TrainConfig | None, run: str | Path | None = None, hosts: Hosts = ALONE, devices: int | None = None
) -> None:
    """Makes JAX see the devices of a run: those its record names, or those its settings ask for; joins other processes.

    Only programs call this: a library or a notebook leaves JAX to its user.

    Args:
      config: the settings; None for a run that goes on.
      run: the run directory, if there is one.
      hosts: the processes that share the devices.
      devices: asked for in place of those of the record.

    Raises:
      CheckpointError: if the record is damaged; no device is made before all of it was looked at.
      ConfigurationError: if the devices or processes do not fit.
    """
    if run is not None and RunDirectory(run).exists():
        directory = RunDirectory(run)
        record = directory.read_config()
        devices = devices or record.get("devices")
        config = config or stored_config(record["config"], directory.config_path)
    if config is not None and config.deterministic:
        use_deterministic_ops()
    if devices is None and config is not None:
        devices = parse_devices(config.devices)
        if devices is None and hosts.coordinator is not None:  # how many cores the others have is not known
            devices = hosts.processes
        elif devices is None:
            devices = automatic_devices(config.hidden, config.batch_size, cores())
    hosts.join(devices)


def layout_of(configs: Sequence[TrainConfig], devices: int | None = None) -> Layout:
    """How so many members lie on JAX's devices: as asked, or on a CPU by a fixed rule.

    Raises:
      ConfigurationError: if a batch cannot be split so.
    """
    config, members = configs[0], len(configs)
    if config.deterministic:
        refuse_unset_determinism()
    asked = devices or parse_devices(config.devices)
    if members > 1:
        return layout_for(members, asked or jax.device_count(), config.batch_size, batched=platform().batches_members)
    if asked is None and jax.process_count() > 1:
        asked = jax.device_count()
    elif asked is None:
        asked = (
            automatic_devices(config.hidden, config.batch_size, jax.device_count()) if platform().name == "cpu" else 1
        )
    if config.batch_size % asked:
        raise ConfigurationError(
            f"--devices {asked} cannot share --batch-size {config.batch_size} evenly; give a divisor of it"
        )
    return Layout(1, asked)


def refuse_engine_that_cannot_run(job: TrainJob, members: int = 1) -> None:
    """Refuses an engine that cannot run the model's cells on windows of the task here, before anything is written.

    Args:
      job: what is trained.
      members: how many are trained as one program.

    Raises:
      ConfigurationError: with the reason.
    """
    config, objective = job.config, job.task.objective
    if config.engine in ("auto", "scan", "reference"):  # which run everything
        return
    resets = getattr(objective, "document_end", None) is not None  # what `unroll` is given beside the inputs
    resets |= config.learned_initial_carry and objective.passes_carry
    given = {"resets": resets or None, "recurrent_mask": config.dropout_recurrent or None}
    window: Any = SimpleNamespace(times=np.arange(objective.steps), **given)
    clip_backward: Any = config.clip_backward or None

    def reasons() -> None:
        cells = {id(node): node for _, node in nnx.iter_graph(job.make_model(nnx.Rngs(0))) if isinstance(node, Cell)}
        for cell in cells.values():
            if why := unable(cell, window, clip_backward).get(config.engine):
                raise ConfigurationError(
                    f"--engine {config.engine} cannot run here: {printable(why, keep='')}; train without it, or where "
                    "it can"
                )

    at_once = members > 1 and platform().batches_members
    with numerics(config.dtype, config.precision), tracing_members() if at_once else contextlib.nullcontext():
        jax.eval_shape(reasons)
