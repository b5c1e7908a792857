"""What a run directory records of its run, and whether a job may go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxrnn.checkpoint import Checkpoint, load_latest, remove_leftovers
from jaxrnn.config import CHANGEABLE, TrainConfig
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.environment import changes, fingerprint
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.printable import printable
from jaxrnn.run_directory import RunDirectory
from jaxrnn.train_job import TrainJob, state_template


def record_of(job: TrainJob) -> dict[str, Any]:
    """The content of config.json: settings, parameter count, data, environment."""
    return {
        "config": job.config.to_json(),
        "parameters": job.parameters,
        "devices": job.settings.devices,
        "data": _data_of(job),
        "environment": fingerprint(),
    }


def _data_of(job: TrainJob) -> dict[str, Any]:
    corpus = job.corpus
    if corpus is None:
        return {"name": str(job.settings.task), "sha256": job.data_digest}
    return {
        "name": corpus.name,
        "path": str(Path(job.config.text).resolve()) if Path(job.config.text).is_file() else None,
        "sha256": corpus.digest,
        "characters": len(corpus),
        "distinct": len(corpus.vocabulary),
        "reading": corpus.reading.to_json(),
        "document_end": corpus.document_end,
        "train_characters": len(job.train_ids),
        "validation_characters": len(job.validation_ids),
        "windows_per_epoch": job.windows.windows,
        "left_over_characters": job.windows.left_over,
    }


def identity_of(job: TrainJob) -> dict[str, Any]:
    """What a checkpoint belongs to; stored in its metadata, so that one copied from another run is refused."""
    config = {name: value for name, value in job.config.to_json().items() if name not in CHANGEABLE | {"text"}}
    return {"config": config, "data": job.data_digest}


def restore(
    directory: RunDirectory, job: TrainJob, record: dict[str, Any]
) -> tuple[dict[str, Any], Checkpoint | None, list[str]]:
    """The newest good checkpoint of a run that was begun before, if the job may go on with it.

    Returns:
      The record to keep, the checkpoint or None if none was saved yet, and warnings.

    Raises:
      CheckpointError: if text, vocabulary or settings are another run's, or no checkpoint can be used.
      ConfigurationError: if the run is past the total that is asked for.
    """
    stored = directory.read_config()
    refuse_other_data(stored, job, directory.vocabulary_path)
    remove_leftovers(directory.checkpoints)
    template = state_template(job.config, job.vocabulary_size)
    latest, warnings = load_latest(directory.checkpoints, template)
    if latest is None:
        return record, None, warnings
    refuse_other_run(latest.metadata, job)
    update = latest.metadata["update"]
    if update > job.updates:
        raise ConfigurationError(f"the run is at update {update}, past {job.updates}; give a larger --updates")
    record, changed = with_environment(stored, record, update)
    if changed:
        warnings.append(f"bit-exactness ends at update {update}: {'; '.join(changed)}")
    return record, latest, warnings


def refuse_other_data(stored: dict[str, Any], job: TrainJob, vocabulary_path: Path) -> None:
    """Compares the text and the vocabulary with those the run was begun with.

    Raises:
      CheckpointError: if they are others.
    """
    if job.corpus is None:
        return  # the settings, compared already, say all of generated data
    if stored["data"]["sha256"] != job.corpus.digest:
        raise CheckpointError(
            f"{printable(job.config.text)} is not the text this run was begun with: {len(job.corpus):,} characters, "
            f"then {stored['data']['characters']:,}, and another checksum; give that text back, or use another --run"
        )
    job.corpus.vocabulary.require_same(Vocabulary.load(vocabulary_path), "this run")


def refuse_other_run(metadata: dict[str, Any], job: TrainJob) -> None:
    """Compares a checkpoint's metadata with the job.

    Raises:
      CheckpointError: if the checkpoint is another run's, with a table of what differs.
    """
    # A setting that did not exist yet when it was saved had its default.
    mine, theirs = identity_of(job), TrainConfig().to_json() | metadata.get("config", {})
    rows = [
        f"{name:<24} checkpoint: {printable(str(theirs.get(name)))}  now: {printable(str(value))}"
        for name, value in mine["config"].items()
        if theirs.get(name) != value
    ]
    if metadata.get("data") != mine["data"]:
        rows.append("the checksum of the data")
    if rows:
        raise CheckpointError(
            "the checkpoint belongs to a run with other settings; restore the directory from a copy, or train anew",
            rows,
        )


def with_environment(stored: dict[str, Any], record: dict[str, Any], update: int) -> tuple[dict[str, Any], list[str]]:
    """The record to keep when a run goes on, and what changed in its environment since (each may change the bits)."""
    changed = changes(stored["environment"], record["environment"])
    record = stored | {"config": record["config"], "environment": record["environment"]}
    if changed:
        history = [*stored.get("environment_changes", []), {"update": update, "changes": changed}]
        record["environment_changes"] = history
    return record, changed
