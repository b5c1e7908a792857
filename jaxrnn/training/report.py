"""The rows of metrics.jsonl, and what a person or a caller is told while a run trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxrnn.config import TrainConfig
from jaxrnn.storage.logs import json_number
from jaxrnn.tasks.protocol import Score
from jaxrnn.tasks.settings import is_reports_recipe
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.progress import Status
from jaxrnn.training.chunk import ChunkMetrics
from jaxrnn.training.job import TrainJob


class Report(NamedTuple):
    """What the loop tells of the members that have just done an epoch, a validation, or their last update;
    where there are no epochs, after each chunk.

    Attributes:
      update: the update they are at.
      members: which, by number.
      seconds_an_update: lately, of all that run together.
    """

    update: int
    members: list[int]
    seconds_an_update: float


def metric_row(
    job: TrainJob, update: int, measured: dict[str, float], mean_loss: float, seconds_an_update: float
) -> dict[str, Any]:
    """One row, names with units; what a validation measures is null in it, see `score_columns`.

    Args:
      job: the job.
      update: the update, from 1.
      measured: the values of `ChunkMetrics` at this update, by name.
      mean_loss: of the updates since the row before.
      seconds_an_update: lately.
    """
    objective, smooth = job.task.objective, measured["smooth_loss"]
    row: dict[str, Any] = {"update": update}
    if job.windows:
        row["epoch"] = epoch_of(job, update)
    row[f"train/{objective.loss_name}"] = json_number(measured["loss"])
    row[f"train/mean_{objective.loss_name}"] = json_number(mean_loss)
    row[f"train/smooth_{objective.loss_name}"] = json_number(smooth)
    row |= {name: json_number(value) for name, value in objective.derived_columns(mean_loss, smooth).items()}
    named_by_the_task = ("loss", "smooth_loss")
    row |= {f"train/{name}": json_number(value) for name, value in measured.items() if name not in named_by_the_task}
    row[objective.item_rate] = round(items_per_second(job, seconds_an_update))
    return row | dict.fromkeys(score_columns(job, update, Score(0.0, 0.0, "")))


def score_columns(job: TrainJob, update: int, score: Score) -> dict[str, Any]:
    """What a validation after this update adds to its row; nothing where the job makes none."""
    if not job.validation_every:
        return {}
    objective = job.task.objective
    columns = {f"valid/{objective.loss_name}": json_number(score.loss), "valid/update": update}
    columns |= {f"valid/{name}": json_number(score.more.get(name, math.nan)) for name in objective.scored_too}
    return columns | ({"valid/accuracy": json_number(score.accuracy)} if job.measures_accuracy else {})


def epoch_of(job: TrainJob, update: int) -> int:
    """The epoch that an update belongs to, both from 1."""
    return (update - 1) // job.windows + 1


def items_per_second(job: TrainJob, seconds_an_update: float) -> float:
    """Characters of a text, or sequences, trained on per second."""
    return job.config.batch_size * job.task.objective.items_per_row / seconds_an_update


def mean_of_latest(measured: Sequence[ChunkMetrics]) -> dict[str, float]:
    """The values of the latest updates of some members, the mean over them, by name; empty where none did one."""
    of = [metrics._replace(norms=None)._asdict() for metrics in measured if len(metrics.loss)]
    latest = [{name: float(values[-1]) for name, values in m.items() if values is not None} for m in of]
    return {name: math.fsum(values[name] for values in latest) / len(latest) for name in (latest or [{}])[0]}


def status_of(job: TrainJob, update: int, total: int, measured: dict[str, float], seconds_an_update: float) -> Status:
    """Where the run stands after an update, for `Progress.show`; `measured` has the mean loss too."""
    objective = job.task.objective
    epoch = f"epoch {epoch_of(job, update)}  " if job.windows else ""
    numbers = objective.progress(measured["mean_loss"], measured.get("recent_accuracy", math.nan))
    if is_reports_recipe(job.config):
        numbers += f"  smoothed {measured['smooth_loss']:.3f}"
    speed = f"{items_per_second(job, seconds_an_update):,.0f} {objective.items}/s"
    left = (total - update) * seconds_an_update if update > 1 else math.nan  # the first is a start-up
    return Status(update, total, f"{epoch}{numbers}  {speed}", left)


def name_of_model(config: TrainConfig, parts: dict[str, Any] | None) -> str:
    """The model in a few words: cell, hidden features and layers, or the name of a user's."""
    return f"{config.cell} {config.hidden} x {config.layers}" if parts is None else str(parts["model"]["type"])


def describe_job(job: TrainJob) -> list[str]:
    """What a person wants to know before the first update, a few lines."""
    model, chance = name_of_model(job.config, job.parts), job.task.objective.chance_in_words
    told = f"{model}: {job.parameters:,} parameters; untrained loss {chance}"
    lines = [*job.task.notes, job.task.describe(), told, *([job.begun.line] if job.begun else [])]
    if job.validation is not None and job.parts is None:
        name, characters = (job.validation.identity()[of] for of in ("name", "characters"))
        lines.append(f"validated on {printable(name)}: {characters:,} characters")
    return lines
