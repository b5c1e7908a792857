"""Settings that do not go together: each error names both, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from jaxrnn.cells.initializers import SCALED
from jaxrnn.cells.table import CELL_TABLE
from jaxrnn.checks import flag
from jaxrnn.errors import ConfigurationError
from jaxrnn.optim.table import CONSTANTS, OPTIMIZERS, rules_with

OWN_TASK = "own"  # of `jaxrnn.fit`: data, model and optimizer come from a program, not from settings


def refuse_contradictions(values: Mapping[str, Any], given: Set[str]) -> None:
    """Refuses settings that would have no effect beside the others, or that ask for two things at once.

    Args:
      values: every setting by name.
      given: the names of those that are not at their default.

    Raises:
      ConfigurationError: with the first contradiction that is found.
    """
    optimizer = values["optimizer"]
    for name in CONSTANTS:
        if name not in OPTIMIZERS[optimizer] and name in given:
            belongs = ", ".join(rules_with(name))
            raise ConfigurationError(
                f"{flag(name)} has no effect with --optimizer {optimizer}; it belongs to {belongs}"
            )
    init, recurrent_init = values["init"], values["recurrent_init"]
    drawn_by = f"--init {init}" + (f" and --recurrent-init {recurrent_init}" if recurrent_init else "")
    scaled = " or ".join(SCALED)
    validation = "validation_fraction" if values["task"] == "text" else "validation_every"
    or_text = ", or a --validation-text," if values["task"] == "text" else ""
    stops = values["early_stopping"] != "none"
    looking = f"--early-stopping {values['early_stopping']}" if stops else "--plateau-patience"
    of_another = values["validation_text"] is not None
    held_out = "--validation-text" if of_another else "--validation-fraction"
    fractions = values["validation_fraction"] + values["test_fraction"]
    read_otherwise = [name for name in ("encoding", "byte_order_mark") if values[name] is not None]
    read_otherwise += ["newlines"] if values["newlines"] == "universal" else []
    contradictions = {
        f"--fold {values['fold']} is not one of --folds {values['folds']}, which are counted from 0 to "
        f"{values['folds'] - 1}": values["fold"] >= values["folds"],
        f"--precision {values['precision']} has no effect with --dtype float64; leave one out": (
            values["dtype"] == "float64" and "precision" in given
        ),
        "--vocabulary-size has no effect without --symbols words or bpe": (
            "vocabulary_size" in given and "symbols" not in given
        ),
        f"--bytes reads every byte as it is, without {' or '.join(map(flag, read_otherwise))}; leave one out": (
            values["bytes"] and read_otherwise
        ),
        f"--symbols {values['symbols']} reads characters, not --bytes; leave one out": (
            "symbols" in given and values["bytes"]
        ),
        f"--symbols {values['symbols']} holds the text in memory, not with --stream-from disk; leave one out": (
            "symbols" in given and values["stream_from"] == "disk"
        ),
        "--stream-from disk reads the text in its order, which --fold above 0 does not; leave one out": (
            values["stream_from"] == "disk" and values["fold"] > 0
        ),
        "--early-stopping has no validation to look at with --retrain; leave one out": (
            values["early_stopping"] != "none" and values["retrain"]
        ),
        "--validation-text and --validation-fraction both say what is validated on; leave one out": (
            of_another and values["validation_fraction"] > 0
        ),
        "--folds move the parts that are kept out, of which a --validation-text is none; leave one out, or give a "
        "--test-fraction": of_another and values["folds"] > 1 and values["test_fraction"] == 0,
        "--retrain needs a --validation-fraction, the part that is trained on as well": (
            values["retrain"] and values["validation_fraction"] == 0
        ),
        f"--validation-fraction and --test-fraction leave nothing to train on: their sum is {fractions:g}, it must be "
        "below 1": fractions >= 1,
        "--updates and --epochs both set the length of the run; give one of them": (
            values["updates"] is not None and values["epochs"] is not None
        ),
        **{
            f"--{gate}-bias has no effect with --cell {values['cell']}, which has no {gate} gate": (
                f"{gate}_bias" in given and not getattr(CELL_TABLE[values["cell"]], f"{gate}_bias")
            )
            for gate in ("forget", "update")
        },
        f"--init-scale has no effect with {drawn_by}; it belongs to {scaled}": (
            "init_scale" in given and not {init, recurrent_init} & set(SCALED)
        ),
        f"--init-biases needs --init {scaled}: {init} draws matrices only": (
            values["init_biases"] and init not in SCALED
        ),
        "--dropout-between needs at least two --layers; with one there is nothing between": (
            values["dropout_between"] > 0 and values["layers"] == 1 and values["task"] != OWN_TASK
        ),
        f"--tie-embedding needs an --embedding of --hidden {values['hidden']} features; got {values['embedding']}": (
            values["tie_embedding"] and values["embedding"] != values["hidden"]
        ),
        "--tie-embedding does not go with --skip-connections: the output layer then has more inputs": (
            values["tie_embedding"] and values["skip_connections"]
        ),
        "--nesterov needs a --momentum above 0": values["nesterov"] and values["momentum"] == 0,
        "--decay-every-updates needs a --decay-rate below 1": (
            values["decay_every_updates"] > 0 and values["decay_rate"] == 1
        ),
        "--plateau-patience needs a --decay-rate below 1": (
            values["plateau_patience"] > 0 and values["decay_rate"] == 1
        ),
        "--decay-shape cosine needs --decay-every-updates, its length, and no --decay-after-epochs": (
            values["decay_shape"] == "cosine"
            and (values["decay_every_updates"] == 0 or values["decay_after_epochs"] is not None)
        ),
        f"{looking} needs a {flag(validation)} above 0{or_text} to look at": (
            (stops or values["plateau_patience"] > 0)
            and values["task"] != OWN_TASK  # its validation is an object
            and values[validation] == 0
            and not of_another
        ),
        f"--best-by has no effect with a {held_out}, whose loss decides; leave it out": (
            "best_by" in given and (of_another or (values["validation_fraction"] > 0 and not values["retrain"]))
        ),
        "--validation-every needs --best-by fresh, a --validation-fraction above 0 without --retrain, or a "
        "--validation-text": values["validation_every"] > 0 and "best_by" in given,
    }
    for message, found in contradictions.items():
        if found:
            raise ConfigurationError(message)
