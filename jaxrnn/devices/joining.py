"""Several processes find each other before JAX starts. Free of JAX, since `--help` shows the options."""

from __future__ import annotations

import os
import re
import socket
import threading
from dataclasses import dataclass

from jaxrnn.checks import check_count
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.command import SECONDS_UNTIL_LOST, CountIfAny
from jaxrnn.terminal.printable import first_line, printable

AUTO = "auto"
LARGEST_PORT = 65_535
SECONDS_UNTIL_ALL_ARE_THERE = 300  # they may be started one after another
SECONDS_TO_LEAVE = 60  # one that is done waits so long for the others


@dataclass(frozen=True)
class Hosts:
    """The processes that train together: the same command on each, on one machine or on many.

    Args:
      coordinator: HOST:PORT of process 0, where several processes train together: the same command on each, with its
        own --process. auto asks SLURM, Open MPI, Kubernetes or the TPU pod that started them. Only process 0 writes.
      processes: how many there are.
      process: which this is, from 0.
    """

    coordinator: str | None = None
    processes: CountIfAny = None
    process: CountIfAny = None

    def __post_init__(self) -> None:
        # Read as JAX is imported: a process that is lost is told of once, not in C++'s own lines too.
        if self.coordinator is not None:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    def join(self, devices: int | None = None) -> None:
        """Joins the others. Only possible before JAX is used for the first time; waits until all are there.

        Args:
          devices: of all processes together. On a CPU JAX then sees this process's share as virtual ones; an
            accelerator has its own. None leaves JAX what it finds.

        Raises:
          ConfigurationError: if the numbers do not fit, or the others do not come.
        """
        count, process = 1 if self.processes is None else self.processes, self.process
        check_count("processes", count, 1)
        if self.coordinator is None and (count > 1 or process is not None):
            raise ConfigurationError("--processes and --process need a --coordinator, HOST:PORT of process 0")
        if self.coordinator not in (None, AUTO):
            host, _, port = str(self.coordinator).rpartition(":")
            if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= LARGEST_PORT:
                raise ConfigurationError(
                    "--coordinator expects HOST:PORT of process 0, or auto; got "
                    f"{printable(repr(self.coordinator), keep='')}; a PORT is from 1 to {LARGEST_PORT}"
                )
            if isinstance(process, bool) or not isinstance(process, int) or not 0 <= process < count:
                raise ConfigurationError(f"--process expects a number from 0 to {count - 1}; got {process}")
        elif process is not None:
            check_count("process", process, 0)
        if devices is not None and devices % count:
            raise ConfigurationError(f"--devices {devices} cannot be spread over --processes {count} evenly")
        if devices is not None and (count > 1 or (devices > 1 and self.coordinator is None)):
            from jaxrnn.devices.mesh import use_cpu_devices

            use_cpu_devices(devices // count)
        if self.coordinator is not None:
            self._join()

    def _join(self) -> None:
        import jax

        from jaxrnn.devices.lost import watched

        address = None if self.coordinator == AUTO else self.coordinator
        if address is not None and self.process == 0:
            _refuse_port_in_use(int(address.rpartition(":")[2]))
        failed = list[Exception]()

        def initialize() -> None:
            try:
                with watched():
                    jax.distributed.initialize(
                        address,
                        num_processes=self.processes,
                        process_id=self.process,
                        initialization_timeout=2 * SECONDS_UNTIL_ALL_ARE_THERE,
                        heartbeat_timeout_seconds=SECONDS_UNTIL_LOST,
                        shutdown_timeout_seconds=SECONDS_TO_LEAVE,
                    )
            except (RuntimeError, ValueError) as error:
                failed.append(error)

        # JAX aborts the program when its own time is over, and hears no Ctrl-C before.
        waiting = threading.Thread(target=initialize, daemon=True)
        waiting.start()
        waiting.join(SECONDS_UNTIL_ALL_ARE_THERE)
        if not failed and not waiting.is_alive():
            return
        why = first_line(failed[0]) if failed else f"not all were there within {SECONDS_UNTIL_ALL_ARE_THERE} seconds"
        if address is None and failed:
            error = ConfigurationError(
                f"--coordinator auto found no cluster that tells the processes of each other: {why}; give HOST:PORT of "
                "process 0, --processes and --process"
            )
        else:
            error = ConfigurationError(
                f"process {self.process} of {self.processes} could not join at {address}: {why}; start all processes "
                "with the same --coordinator and --processes"
            )
        raise error from (failed[0] if failed else None)


def _refuse_port_in_use(port: int) -> None:
    # JAX crashes where it cannot listen, and two programs can listen at one port unnoticed.
    if os.environ.get("JAX_COORDINATOR_BIND_ADDRESS"):
        return
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise ConfigurationError(
            f"process 0 cannot listen at port {port}: {os.strerror(error.errno or 0)}; give all processes another port "
            "in --coordinator, and each --process once"
        ) from None


ALONE = Hosts()


def join_hosts(coordinator: str | None, processes: int | None = None, process: int | None = None) -> None:
    """Joins the other processes. Only possible before JAX is used for the first time; waits until all are there.

    If another one is lost later, this process says so on stderr and ends with exit code 75, or 1 before it trains.

    Args:
      coordinator: HOST:PORT of process 0; "auto" where SLURM, Open MPI, Kubernetes or a TPU pod started them; None for
        a process alone.
      processes: how many there are; not needed with "auto".
      process: which this is, from 0; not needed with "auto".

    Raises:
      ConfigurationError: if the numbers do not fit, or the others do not come.
    """
    Hosts(coordinator, processes, process).join()
