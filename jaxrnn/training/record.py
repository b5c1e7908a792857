"""What a run directory records of its run, and whether a job may go on with it."""

from __future__ import annotations

from typing import Any

from jaxrnn.checks import check_texts
from jaxrnn.config import CHANGEABLE, TrainConfig
from jaxrnn.data.corpus import Corpus
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary, only_in_one
from jaxrnn.devices.environment import changes, fingerprint
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.storage.checkpoint import Checkpoint, load_latest, remove_leftovers
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.storage.vocabulary_file import load_vocabulary
from jaxrnn.tasks.settings import with_settings_of_then
from jaxrnn.terminal.printable import printable
from jaxrnn.training.formats import readers
from jaxrnn.training.init_from import refuse_other_start
from jaxrnn.training.job import TrainJob
from jaxrnn.training.part_records import record_of_cell, refuse_other_cell, refuse_other_parts
from jaxrnn.training.state import TrainState

MOST_SYMBOLS_SHOWN = 1024  # kept in the metadata of a checkpoint, which may have 1 MB
MOST_ROWS_SHOWN = 6
TEXTS = frozenset({"text", "validation_text"})  # known by their digests, wherever they lie
PARTS = ("train_characters", "validation_characters", "test_characters", "fold", "folds")


def record_of(job: TrainJob, devices: int) -> dict[str, Any]:
    """The content of config.json: settings, parameter count, data, environment."""
    record = {
        "config": job.config.to_json(),
        "parameters": job.parameters,
        "devices": devices,
        "data": job.task.identity(),
        "environment": fingerprint(),
    }
    validation = None
    if job.config.validation_text is not None and job.validation is not None:
        told = job.validation.identity()
        validation = {name: told[name] for name in ("name", "path", "sha256", "characters")}
    own = {
        "validation": validation,
        "parts": job.parts,
        "own_cell": record_of_cell(job.config.cell),
        "init_from": job.begun and job.begun.record,
    }
    return record | {name: value for name, value in own.items() if value is not None}


def identity_of(job: TrainJob) -> dict[str, Any]:
    """What a checkpoint of this job belongs to; see `identity`."""
    return identity(job.config, job.task.identity(), job.task.vocabulary)


def identity(config: TrainConfig, data: dict[str, Any], vocabulary: Vocabulary | None) -> dict[str, Any]:
    """What a checkpoint belongs to: all, besides its parameters, that decides what a model writes and scores.

    It is stored in the checkpoint's metadata, under their digest, so that a run directory of which another file was
    changed, or a checkpoint copied from another run, is refused.

    Args:
      config: the settings.
      data: what config.json holds of the data.
      vocabulary: of a text; None for generated sequences.
    """
    settings = {name: value for name, value in config.to_json().items() if name not in CHANGEABLE | TEXTS}
    belongs: dict[str, Any] = {"config": settings, "data": data["sha256"]}
    if vocabulary is None or "reading" not in data:
        return belongs
    is_shown = vocabulary.spelt is vocabulary and len(vocabulary) <= MOST_SYMBOLS_SHOWN
    shown = "".join(vocabulary.symbols) if is_shown else None
    return belongs | {
        "vocabulary": vocabulary.digest,
        "symbols": shown,  # only to say which of them differ
        "document_end": data.get("document_end"),
        "reading": ReadingOptions.from_json(data["reading"]).to_json(),
    }


def restore(
    directory: RunDirectory, job: TrainJob, record: dict[str, Any], template: TrainState, newest: int | None = None
) -> tuple[dict[str, Any], Checkpoint | None, list[str]]:
    """The newest good checkpoint of a run that was begun before, if the job may go on with it.

    Args:
      directory: of the run.
      job: what is to go on.
      record: from `record_of`.
      template: shapes and dtypes of its state.
      newest: no checkpoint of a later update is looked at.

    Returns:
      The record to keep, the checkpoint or None if none was saved yet, and warnings.

    Raises:
      CheckpointError: if text, vocabulary or settings are another run's, or no checkpoint can be used.
      ConfigurationError: if the run is past the total that is asked for.
    """
    stored = directory.read_config()
    refuse_other_data(stored, job, directory)
    if job.validation is not None and job.parts is None:
        now = job.validation.identity()
        _refuse_other_validation_text(stored, now["name"], now["sha256"], now["characters"])
    refuse_other_start(stored.get("init_from"), job.begun)
    of_parts = refuse_other_parts(stored, "parts", job.parts) + refuse_other_cell(stored)
    remove_leftovers(directory.checkpoints)
    latest, warnings = load_latest(directory.checkpoints, readers(template), newest)
    warnings = of_parts + warnings
    if latest is None and job.begun and job.given is None:
        raise CheckpointError("the run was stopped before it began; give the command that began it once more")
    if latest is None and newest is None and directory.has_lost_checkpoints():  # a member's is warned of instead
        raise CheckpointError(
            f"{printable(str(directory.checkpoints))} is missing, and the run has begun; restore it from a copy, or "
            "train anew with another --run"
        )
    if latest is None:
        return record, None, warnings
    refuse_other_run(latest.metadata, identity_of(job), job.task.former_digests())
    update = latest.metadata["update"]
    if update > job.updates:
        raise ConfigurationError(f"the run is at update {update}, past {job.updates}; give more --updates or --epochs")
    record, changed = with_environment(stored, record, update)
    if changed:
        warnings.append(f"bit-exactness ends at update {update}: {'; '.join(changed)}")
    return record, latest, warnings


def vocabulary_of_run(directory: RunDirectory, config: TrainConfig) -> Vocabulary | None:
    """The longer symbols that a run was begun with, so that they are not learned again; None if there are none."""
    is_long = config.task == "text" and config.symbols != "characters" and directory.exists()
    return load_vocabulary(directory.vocabulary_path) if is_long else None


def refuse_other_data(stored: dict[str, Any], job: TrainJob, directory: RunDirectory) -> None:
    """Compares the data and the vocabulary with those the run was begun with.

    Raises:
      CheckpointError: if they are others.
    """
    now, then = job.task.identity(), stored["data"]
    if then["sha256"] not in (now["sha256"], *job.task.former_digests()):
        raise _other_data(now["name"], now.get("characters"), then)
    if job.task.vocabulary is None:
        return
    # Settings know how a text is cut; of a `Text` that `fit` was given its counts do.
    if cut := [name for name in PARTS if name in then and then[name] != now.get(name)]:
        raise CheckpointError(
            f"{printable(now['name'])} is cut into other parts than the run was begun with; give the same fractions "
            "and fold, or train anew with another --run",
            [f"{name}: then {printable(str(then[name]))}, now {now.get(name)}" for name in cut],
        )
    job.task.vocabulary.require_same(load_vocabulary(directory.vocabulary_path), "this run")
    for name in ("document_end", "reading"):
        if then[name] != now[name]:
            raise CheckpointError(
                f"data.{name} in config.json is {printable(str(then[name]))}, the text's is {now[name]}; "
                "restore config.json from a copy"
            )


def refuse_changed_text(
    directory: RunDirectory, config: TrainConfig, corpus: Corpus | None, validation: Corpus | None
) -> None:
    """Compares texts with those of their names that the run was begun with, before they are cut and encoded.

    One that has shrunk would be too short for the sizes of the run, which are not what is to be mended.

    Raises:
      CheckpointError: if it is another.
    """
    stored = directory.read_config()
    if corpus is None or check_texts(stored["config"].get("text")) != config.text:
        return
    if stored["data"]["sha256"] != corpus.digest:
        raise _other_data(corpus.name, len(corpus), stored["data"])
    if validation is not None and stored["config"].get("validation_text") == config.validation_text:
        _refuse_other_validation_text(stored, validation.name, validation.digest, len(validation))


def _refuse_other_validation_text(stored: dict[str, Any], name: str, digest: str, characters: int) -> None:
    then = stored.get("validation")
    if not isinstance(then, dict) or then.get("sha256") != digest:
        then = then if isinstance(then, dict) else {}
        raise _other_data(name, characters, then, "the text this run was validated on")


def _other_data(
    name: str, characters: int | None, then: dict[str, Any], what: str = "the data this run was begun with"
) -> CheckpointError:
    counts = ""
    if characters is not None:
        counts = f": {characters:,} characters, then {then.get('characters', 0):,}, and another checksum"
    return CheckpointError(f"{printable(name)} is not {what}{counts}; give that back, or train anew with another --run")


def refuse_other_run(metadata: dict[str, Any], mine: dict[str, Any], former_digests: tuple[str, ...] = ()) -> None:
    """Compares a checkpoint's metadata with what it should belong to.

    A checkpoint of an earlier version knows less of what it belongs to; what it does not know is not compared.

    Args:
      metadata: the checkpoint's.
      mine: what `identity` gives of the run it was found in.
      former_digests: what older versions took for the checksum of its data.

    Raises:
      CheckpointError: if the checkpoint is another run's, with a table of what differs.
    """
    # A setting that did not exist yet when it was saved had its default, but for one.
    theirs = TrainConfig().to_json() | with_settings_of_then(_dict(metadata.get("config")))
    rows = [_row(name, theirs.get(name), value) for name, value in mine["config"].items() if theirs.get(name) != value]
    if metadata.get("data") not in (mine["data"], *former_digests):
        rows.append("the checksum of the data")
    if "document_end" in mine:
        rows += _text_rows(metadata, mine)
    if rows:
        raise CheckpointError(
            f"the checkpoint of update {metadata['update']} is of another run or of other settings; restore the "
            "directory from a copy, or train anew",
            rows,
        )


def _text_rows(metadata: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    rows = []
    end = metadata.get("document_end", mine["document_end"])
    if end != mine["document_end"]:
        rows.append(_row("document_end", end, mine["document_end"]))
    reading = ReadingOptions().to_json() | _dict(metadata.get("reading", mine["reading"]))
    rows += [_row(name, reading.get(name), value) for name, value in mine["reading"].items() if reading[name] != value]
    if metadata.get("vocabulary", mine["vocabulary"]) == mine["vocabulary"]:
        return rows
    then, now = metadata.get("symbols"), mine["symbols"]
    if not isinstance(then, str) or not isinstance(now, str):
        return [*rows, "the symbols of the vocabulary"]
    rows += only_in_one(then, now, ("the checkpoint", "the vocabulary.json"), MOST_ROWS_SHOWN)
    return rows if set(then) != set(now) else [*rows, "whether the symbols are bytes or characters"]


def _row(name: str, then: Any, now: Any) -> str:
    return f"{name:<24} checkpoint: {printable(str(then))}  now: {printable(str(now))}"


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def with_environment(stored: dict[str, Any], record: dict[str, Any], update: int) -> tuple[dict[str, Any], list[str]]:
    """The record to keep when a run goes on, and what changed in its environment since (each may change the bits)."""
    changed = changes(stored["environment"], record["environment"])
    if record["config"].get("log_norms") != stored["config"].get("log_norms", False):  # another program
        changed.append(f"--log-norms is {'on' if record['config'].get('log_norms') else 'off'} now")
    data = stored["data"] | {"sha256": record["data"]["sha256"]}  # older versions gave generated data another
    now = {name: record[name] for name in ("config", "environment", "parts") if name in record}
    record = stored | {"data": data} | now
    return (with_changes(record, update, changed) if changed else record), changed


def with_changes(record: dict[str, Any], update: int, changed: list[str]) -> dict[str, Any]:
    """The record of a run whose bits may be others from this update on, and why."""
    change = {"update": update, "changes": changed}
    return record | {"environment_changes": [*record.get("environment_changes", []), change]}
