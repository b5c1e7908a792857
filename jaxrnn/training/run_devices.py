"""How many virtual CPU devices a run needs, found out before JAX starts."""

from __future__ import annotations

from pathlib import Path

from jaxrnn.checks import parse_devices
from jaxrnn.config import TrainConfig
from jaxrnn.devices.mesh import automatic_devices, cores, use_cpu_devices
from jaxrnn.storage.run_directory import RunDirectory


def prepare_devices(config: TrainConfig | None, run: str | Path | None = None) -> None:
    """Makes JAX see the devices of a run: those its record names, or those its settings ask for.

    Only programs call this: a library or a notebook leaves JAX to its user.

    Args:
      config: the settings; None for a run that goes on.
      run: the run directory, if there is one.

    Raises:
      CheckpointError: if the record is damaged; no device is made before all of it was looked at.
    """
    devices = None
    if run is not None and RunDirectory(run).exists():
        record = RunDirectory(run).read_config()
        devices, config = record.get("devices"), config or TrainConfig.from_json(record["config"])
    if devices is None and config is not None:
        devices = parse_devices(config.devices)
        if devices is None:
            devices = automatic_devices(config.hidden, config.batch_size, cores())
    if devices is not None and devices > 1:
        use_cpu_devices(devices)
