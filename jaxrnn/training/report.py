"""The rows of metrics.jsonl, and what a person sees of them while a run trains."""

from __future__ import annotations

import math
from typing import Any

from jaxrnn.storage.logs import json_number
from jaxrnn.terminal.progress import Status, duration
from jaxrnn.training.job import TrainJob
from jaxrnn.training.state import TrainState


def metric_row(
    job: TrainJob, update: int, measured: dict[str, float], state: TrainState, seconds_an_update: float
) -> dict[str, Any]:
    """One row, names with units.

    Args:
      job: the job.
      update: the update, from 1.
      measured: the values of `ChunkMetrics` at this update, by name.
      state: the state, of which the latest validation is read.
      seconds_an_update: lately.
    """
    config, loss_name = job.config, job.settings.task.loss_name
    loss, smooth = measured["loss_nats"], measured["smooth_loss_nats"]
    row: dict[str, Any] = {"update": update}
    if job.corpus is not None:
        row |= {"epoch": (update - 1) // job.windows.windows + 1}
    row |= {f"train/{loss_name}": json_number(loss), f"train/smooth_{loss_name}": json_number(smooth)}
    if job.corpus is not None:
        row |= {
            "train/smooth_loss_sum_nats": json_number(smooth * config.bptt_length),
            "train/bits_per_char": json_number(smooth / math.log(2)),
        }
    if job.settings.accuracy:
        row |= {f"train/{name}": json_number(measured[name]) for name in ("accuracy", "recent_accuracy")}
    speed = items_per_second(job, seconds_an_update)
    row["chars_per_second" if job.corpus is not None else "sequences_per_second"] = round(speed)
    if len(job.validation_ids) or config.validation_every:
        row |= {
            f"valid/{loss_name}": json_number(float(state.valid_loss_nats)),
            "valid/update": int(state.valid_update),
        }
        if job.settings.accuracy:
            assert state.valid_accuracy is not None
            known = int(state.valid_update) > 0
            row["valid/accuracy"] = json_number(float(state.valid_accuracy) if known else math.nan)
    return row


def items_per_second(job: TrainJob, seconds_an_update: float) -> float:
    """Characters of a text, or sequences, trained on per second."""
    config = job.config
    return config.batch_size * (config.bptt_length if job.corpus is not None else 1) / seconds_an_update


class SequenceStatus(Status):
    """Where a run of generated sequences stands: no epochs, bits or characters, but an accuracy.

    Attributes:
      accuracy: mean of the latest updates.
      loss_name: what the loss is called.
    """

    accuracy: float
    loss_name: str

    def describe(self) -> str:
        """The numbers in one line."""
        unit = " nats" if self.loss_name == "loss_nats" else ""
        return (
            f"accuracy {self.accuracy:.3f}  smoothed {self.smooth_loss_nats:.3f}{unit}  "
            f"{self.chars_per_second:,.0f} sequences/s  {duration(self.seconds_left)} left"
        )


def status_of(
    job: TrainJob, update: int, measured: dict[str, float], seconds_an_update: float, seconds_left: float
) -> Status:
    """Where the run stands after an update, for `Progress.show`."""
    speed, smooth = items_per_second(job, seconds_an_update), measured["smooth_loss_nats"]
    if job.corpus is not None:
        epoch = (update - 1) // job.windows.windows + 1
        return Status(update, job.updates, epoch, smooth, speed, seconds_left)
    status = SequenceStatus(update, job.updates, 1, smooth, speed, seconds_left)
    status.accuracy, status.loss_name = measured["recent_accuracy"], job.settings.task.loss_name
    return status
