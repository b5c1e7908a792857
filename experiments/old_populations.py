"""Populations that older versions left half done, all members in one checkpoint, made into runs of their own."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrnn.config import TrainConfig
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError
from jaxrnn.random_streams import run_key_from_data
from jaxrnn.storage.checkpoint import Reader, load_latest
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.training.formats import MAY_BE_NAN, as_format_1, from_format_1
from jaxrnn.training.job import TrainJob, state_template
from jaxrnn.training.report import metric_row
from jaxrnn.training.run_files import RunFiles
from jaxrnn.training.state import RECENT_UPDATES, TrainState
from jaxrnn.training.step import MAX_BAD_IN_A_ROW, SMOOTHING
from jaxrnn.training.values import traced_values


def import_old_population(
    old: Path, jobs: Sequence[TrainJob], directories: Sequence[Path], devices: int = 1
) -> list[str]:
    """Makes a run directory of each member of an old population, saved where that stood.

    A population of sequences kept the loss and the accuracy of every update; they become the rows of the log. That of a
    text begins where it stood.

    Args:
      old: the directory of the population, with its `checkpoints`.
      jobs: of its members, in its order.
      directories: where they go on; one that holds a run is left as it is.
      devices: what the runs record.

    Returns:
      Warnings about damaged checkpoints that were passed over.

    Raises:
      ConfigurationError: if it is a population of other settings.
      CheckpointError: if no checkpoint can be used.
    """
    with numerics(jobs[0].config.dtype):
        return _import(old, jobs, directories, devices)


def _import(old: Path, jobs: Sequence[TrainJob], directories: Sequence[Path], devices: int) -> list[str]:
    config, task = jobs[0].config, jobs[0].task
    template = state_template(config, task.objective)
    dtype, members = np.dtype(config.dtype), len(jobs)
    if jobs[0].windows:
        numbers = {"number": np.int32, "fold": np.int32, "epochs": np.int32, "best_epoch": np.int32}
        others: dict[str, Any] = {**numbers, "loss_sum_nats": dtype, "train_loss_nats": dtype}
        curves = {}
    else:
        others = {}
        curves = {f"curve_{name}": ((members, jobs[0].updates), dtype) for name in ("loss", "accuracy")}
    flags = {"running": np.bool_, "diverged": np.bool_}
    alone = as_format_1(template) | {f"member_{name}": _shape((), kind) for name, kind in (others | flags).items()}
    alone["seed"] = jax.eval_shape(jax.random.key_data, template.seed)
    stacked = jax.tree.map(lambda leaf: _shape((members, *leaf.shape), leaf.dtype), alone)
    stacked |= {name: _shape(*of) for name, of in curves.items()}
    found, warnings = load_latest(old / "checkpoints", {1: Reader(stacked, lambda saved: saved, MAY_BE_NAN)})
    if found is None:
        return warnings
    _refuse_others(old, found.metadata, found.state, [job.config for job in jobs])
    for member, (job, path) in enumerate(zip(jobs, directories, strict=True)):
        directory = RunDirectory(path)
        if directory.exists():
            continue
        saved = _of_member({name: leaf for name, leaf in found.state.items() if name not in curves}, member)
        state = _state_of(saved, job)
        directory.prepare()
        files = RunFiles(job, directory, devices)
        files.begin(template)
        files.log_rows(_rows(job, state, **{name: np.asarray(found.state[name][member]) for name in curves}))
        files.save(state)
        files.close()
    return warnings


def _of_member(stacked: dict[str, Any], member: int) -> dict[str, Any]:
    return jax.tree.map(lambda leaf: leaf[member], stacked)


def _state_of(saved: dict[str, Any], job: TrainJob) -> TrainState:
    saved["seed"] = run_key_from_data(saved["seed"])
    state = from_format_1(saved)
    if job.windows:
        state = state._replace(epoch_loss_sum=saved["member_loss_sum_nats"], epoch_loss=saved["member_train_loss_nats"])
    ended = not bool(saved["member_running"]) and int(state.update) < job.updates
    if bool(saved["member_diverged"]):  # by a rule of its own, of which the state told nothing
        return state._replace(bad_in_a_row=jax.numpy.full_like(state.bad_in_a_row, MAX_BAD_IN_A_ROW))
    return state._replace(stopped=jax.numpy.asarray(ended))


def _rows(
    job: TrainJob, state: TrainState, curve_loss: np.ndarray | None = None, curve_accuracy: np.ndarray | None = None
) -> list[dict[str, Any]]:
    # As the loop writes them, but for the speed: 0 is not known.
    if curve_loss is None or curve_accuracy is None:
        return []
    rows, smooth = list[dict[str, Any]](), math.nan
    for update, loss in enumerate(curve_loss[: int(state.update)].tolist(), start=1):
        if math.isfinite(loss):
            smooth = loss if math.isnan(smooth) else SMOOTHING * smooth + (1 - SMOOTHING) * loss
        recent = curve_accuracy[max(update - RECENT_UPDATES, 0) : update]
        measured = {"loss": loss, "smooth_loss": smooth, "accuracy": recent[-1], "recent_accuracy": recent.mean()}
        rows.append(metric_row(job, update, measured, loss, math.inf))
    return rows


def _refuse_others(old: Path, metadata: dict[str, Any], saved: dict[str, Any], configs: list[TrainConfig]) -> None:
    # Populations of sequences kept a digest of their settings; those of texts nothing, so their values are compared.
    if "settings" in metadata:
        settings = [settings_of_then(config) for config in configs]
        same = metadata["settings"] == hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    else:
        rates = [np.asarray(traced_values(config).hyperparameters.learning_rate) for config in configs]
        same = np.array_equal(np.stack(rates), np.asarray(saved["hyperparameters"].learning_rate))
    if not same:
        raise ConfigurationError(f"{old} holds a population of other settings; choose another directory")


def settings_of_then(config: TrainConfig) -> dict[str, Any]:
    """The settings that there were in versions that kept populations so."""
    new = (
        *("recurrent_init", "test_fraction", "folds", "fold", "retrain"),
        *("weight_decay", "decay_shape", "plateau_patience", "bidirectional", "best_by", "log_norms"),
        *("stream_from", "profile", "precision", "deterministic", "symbols", "vocabulary_size", "update_bias"),
        "validation_text",
    )
    return {name: value for name, value in config.to_json().items() if name not in new}


def _shape(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)
