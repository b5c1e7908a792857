"""What several processes that train one program have to bring alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import jax

from jaxrnn.devices.environment import fingerprint
from jaxrnn.devices.hosts import refuse_processes_that_differ
from jaxrnn.training.job import TrainJob
from jaxrnn.training.part_records import record_of_cell
from jaxrnn.training.record import TEXTS


def refuse_other_jobs(jobs: Sequence[TrainJob]) -> None:
    """Compares the jobs of all processes: each would train its own otherwise, and add up gradients of others.

    Texts are compared by what is read of them, not by where they lie.

    Raises:
      ConfigurationError: on every process, if one has others than the process that writes.
    """
    if jax.process_count() == 1:
        return
    values: dict[str, Any] = {f"release of {name}": of for name, of in fingerprint()["versions"].items()}
    for number, job in enumerate(jobs):
        of_run = f" of run {number}" if len(jobs) > 1 else ""
        values |= {f"{name}{of_run}": value for name, value in _brought(job).items()}
    refuse_processes_that_differ(values)


def _brought(job: TrainJob) -> dict[str, Any]:
    vocabulary = job.task.vocabulary
    settings = {name: value for name, value in job.config.to_json().items() if name not in TEXTS}
    others = {
        "the data": job.task.identity()["sha256"],
        "the symbols": vocabulary and vocabulary.digest,
        "the data to validate on": job.validation and job.validation.identity()["sha256"],
        "the parts": job.parts and hashlib.sha256(json.dumps(job.parts, sort_keys=True).encode()).hexdigest(),
        "the cell": record_of_cell(job.config.cell),
        "init_from": job.begun and job.begun.record,
    }
    return settings | others
