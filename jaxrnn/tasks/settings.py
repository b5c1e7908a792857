"""Which settings go with which task, known without JAX."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from jaxrnn.checks import check_number, flag, word_of_now
from jaxrnn.errors import ConfigurationError
from jaxrnn.tasks.contradictions import OWN_TASK
from jaxrnn.tasks.generated import GENERATED, check_length

TASK_NAMES = ("text", *GENERATED)
NAMES = ", ".join(GENERATED)

# What a text has and generated sequences do not: why, and what to do.
ONLY_FOR_TEXT = {
    "text": "its sequences are generated; leave TEXT out",
    "epochs": "every sequence is new, there are no epochs; give --updates",
    "decay_after_epochs": "every sequence is new, there are no epochs; give --decay-every-updates",
    "validation_fraction": "validation uses fresh sequences; give --validation-every",
    "validation_text": "validation uses fresh sequences; give --validation-every",
    "test_fraction": "tests use fresh sequences; leave it out",
    "folds": "no text is read; leave it out",
    "fold": "no text is read; leave it out",
    "retrain": "every sequence is new; leave it out",
    "bptt_length": "the gradient flows through the whole sequence; give --sequence-length",
    "embedding": "it reads numbers or one-hot symbols; leave it out",
    "tie_embedding": "it reads numbers or one-hot symbols; leave it out",
    "best_by": "every sequence is read from a fresh start; leave it out",
    "sample_every": "a classifier writes no text; leave it out",
    "sample_length": "a classifier writes no text; leave it out",
    "encoding": "no text is read; leave it out",
    "newlines": "no text is read; leave it out",
    "byte_order_mark": "no text is read; leave it out",
    "bytes": "no text is read; leave it out",
    "symbols": "no text is read; leave it out",
    "vocabulary_size": "no text is read; leave it out",
    "stream_from": "no text is read; leave it out",
}
ONLY_FOR_SEQUENCES = ("sequence_length", "input", "pooling")


def is_reports_recipe(config: Any) -> bool:
    """Whether the reports' smoothed loss is what they say, so that people are shown it beside the mean loss."""
    return (config.task, config.batch_size, config.loss_reduction, config.optimizer) == ("text", 1, "sum", "adagrad")


def with_settings_of_then(values: dict[str, Any]) -> dict[str, Any]:
    """Stored settings as they are meant now.

    `best_by` is younger: the versions before it did what is now "smoothed". Of bytes an encoding and a byte order mark
    were taken, and had no effect. A rule that was called otherwise has its name of now.
    """
    values = {name: word_of_now(name, value) for name, value in values.items()}
    if values.get("bytes"):
        values = {**values, "encoding": None, "byte_order_mark": None}
    validates = values.get("validation_text") or (values.get("validation_fraction") and not values.get("retrain"))
    is_young = "best_by" in values or values.get("task", "text") != "text" or validates
    return values if is_young else {**values, "best_by": "smoothed"}


def refuse_what_the_task_lacks(values: Mapping[str, Any], given: Set[str]) -> None:
    """Refuses settings that the task has no use for, and lengths and inputs that it cannot have.

    Args:
      values: every setting by name.
      given: the names of those that are not at their default.

    Raises:
      ConfigurationError: with the setting and what to do.
    """
    task = values["task"]
    check_number("stop_at_accuracy", values["stop_at_accuracy"], 0.0)
    if values["stop_at_accuracy"] > 1:
        raise ConfigurationError(
            f"--stop-at-accuracy expects a share of at most 1, or 0 for never; got {values['stop_at_accuracy']}"
        )
    if task == OWN_TASK:
        return
    if task == "text":
        if values["bidirectional"]:
            raise ConfigurationError(
                "--bidirectional does not go with a text: such a layer has seen the symbol that is to be predicted; "
                f"give it to --task {NAMES}"
            )
        for name in ONLY_FOR_SEQUENCES:
            if name in given:
                raise ConfigurationError(f"{flag(name)} has no effect on a text; it belongs to --task {NAMES}")
        if values["stop_at_accuracy"] and not values["accuracy"]:
            raise ConfigurationError("--stop-at-accuracy needs --accuracy, which a text does not measure by itself")
        return
    for name, why in ONLY_FOR_TEXT.items():
        if name in given:
            option = "TEXT" if name == "text" else flag(name)
            raise ConfigurationError(f"{option} has no effect with --task {task}: {why}")
    if values["sequence_length"] is None:
        raise ConfigurationError(f"--task {task} needs a --sequence-length, the steps that the network reads")
    check_length(task, values["sequence_length"])
    kind = GENERATED[task]
    if values["input"] not in (None, *kind.inputs):
        raise ConfigurationError(f"--task {task} has --input {' or '.join(kind.inputs)}; got {values['input']!r}")
    if values["pooling"] == "mean" and kind.answers > 1:
        raise ConfigurationError(f"--pooling mean gives one answer, --task {task} asks for several; leave it out")
    if values["decay_rate"] < 1 and not (values["decay_every_updates"] or values["plateau_patience"]):
        raise ConfigurationError(
            f"--decay-rate needs --decay-every-updates or --plateau-patience with --task {task}, which has no epochs "
            "to decay by"
        )
