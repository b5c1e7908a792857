"""Training that begins with a trained model: on another text, with another alphabet, or larger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from jaxrnn.checks import flag
from jaxrnn.config import TrainConfig
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.decode.sampling import require_finite
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.models.carrying_over import carried_over, symbols_axis
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.structure import joined, model_with, params_of, variables_of
from jaxrnn.storage.checkpoint_leaves import leaf_digest, to_leaves
from jaxrnn.storage.model_file import ENDING, read_model
from jaxrnn.storage.run_directory import RunDirectory, stored_config
from jaxrnn.tasks.contradictions import OWN_TASK
from jaxrnn.terminal.printable import printable

# What a model is, as settings name it; `hidden` and `layers` may be more than those of the source.
STRUCTURE = (
    *("task", "cell", "hidden", "layers", "cell_bias", "skip_connections", "bidirectional", "embedding"),
    *("tie_embedding", "learned_initial_carry", "input", "pooling", "dtype", "bytes", "symbols"),
)
GROWS = ("hidden", "layers")
MOST_SHOWN = 30


class Begun(NamedTuple):
    """What a job begins with.

    Attributes:
      record: what config.json keeps of the source: its name, not its path, the update, a digest of its parameters and
        the number of symbols that were kept, new and gone.
      line: the same for people.
    """

    record: dict[str, Any]
    line: str


def structure_in(path: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trained model that one which begins with it has too, unless it is asked to be larger.

    Args:
      path: a run directory, or a file of `jaxrnn export`. No device is made and no array is read.
      asked: settings that stay as they are.

    Raises:
      ConfigurationError: if there is neither, or no settings name its model.
    """
    is_file = path.suffix == ENDING and not path.is_dir()
    directory = RunDirectory(path)
    record = read_model(path, None)[0] if is_file else directory.read_config()
    config = stored_config(record["config"], path if is_file else directory.config_path)
    if config.task == OWN_TASK:
        shown = printable(str(path), keep="")
        raise ConfigurationError(f"--init-from {shown} was made by jaxrnn.fit; give it to fit(init_from=...)")
    return {name: asked.get(name, getattr(config, name)) for name in STRUCTURE}


def refuse_other_structure(config: TrainConfig, source: Any) -> None:
    """Refuses settings that contradict those of the source.

    Raises:
      ConfigurationError: with their names.
    """
    then = source.config
    differ = [name for name in STRUCTURE if name not in GROWS and getattr(config, name) != getattr(then, name)]
    if differ:
        rows = [f"{flag(n):<24} {_name(source)}: {getattr(then, n)}  now: {getattr(config, n)}" for n in differ]
        raise ConfigurationError(
            f"{', '.join(map(flag, differ))} cannot be another than in {_name(source)}, which training is to begin "
            "with; leave it out",
            rows,
        )


def begin_with(source: Any, model: Any, vocabulary: Vocabulary | None) -> tuple[Callable[[Any], Any], Begun | None]:
    """Lets a model begin with the parameters of another.

    A language model takes what belongs to a symbol by the symbol, see `carried_over`; any other model has to be the
    same.

    Args:
      source: an opened run, a model in one file, a trainer, or a tree of parameters, of which no symbols are known.
      model: the new one; only shapes are looked at.
      vocabulary: of the new text.

    Returns:
      A function from the model's drawn parameters to those that it begins with, and what is told of it: None where the
      source is no run or file.

    Raises:
      ConfigurationError: if it does not fit.
      NumericError: if a parameter is not finite.
    """
    if isinstance(source, str | Path):
        raise ConfigurationError("init_from expects an opened run; give jaxrnn.open_run(path)")
    if not hasattr(source, "params"):
        begin = _same_tree(source, model)
        require_finite(source)
        return begin, None
    name, params = _name(source), source.params()
    require_finite(params)
    is_run = hasattr(source, "record")
    before = None
    if vocabulary is not None:
        before = source.vocabulary if is_run else source.jobs[0].task.vocabulary
    if before is None or vocabulary is None:
        return _same_tree(params, model), _told(source, params, {}, "") if is_run else None
    if before.bytes_mode != vocabulary.bytes_mode:
        kinds = ["bytes" if of.bytes_mode else "characters" for of in (before, vocabulary)]
        raise ConfigurationError(f"{name} reads {kinds[0]}, the new text is read as {kinds[1]}; read it as {kinds[0]}")
    symbols = symbols_axis(before.symbols, vocabulary.symbols)
    if not len(symbols.kept):
        raise ConfigurationError(f"the text has no symbol of {name}, so nothing of it could be kept; train without it")
    new = [vocabulary.symbols[place] for place in symbols.symbols]
    gone = [symbol for symbol in before.symbols if symbol not in set(vocabulary.symbols)]
    old = model_with(source.graphdef, params)  # without a carry that the best were kept with
    if isinstance(model, LanguageModel) and isinstance(old, LanguageModel):
        begin = carried_over(old, model, symbols, name)
    elif new or gone:
        raise ConfigurationError(
            f"{type(model).__name__} is no LanguageModel, so it is not known where its symbols are; {name} has others: "
            f"{len(new)} are new, {len(gone)} gone; give a text of the same, or a LanguageModel"
        )
    else:
        begin = _same_tree(params, model)
    counts = {"kept": len(symbols.kept), "new": len(new), "gone": len(gone)}
    line = f"{counts['kept']} symbols kept, {_shown(new, 'new')}; {_shown(gone, 'gone')}"
    return begin, _told(source, params, counts, line) if is_run else None


def begun_before(record: Mapping[str, Any]) -> Begun | None:
    """What a run that goes on began with, from the content of its config.json; it needs the source no more."""
    then = record.get("init_from")
    return Begun(then, f"begun from {_in_words(then)}") if isinstance(then, dict) else None


def refuse_other_start(then: Any, now: Begun | None) -> None:
    """Compares what a run was begun with, in its config.json, with what it is to begin with.

    Raises:
      CheckpointError: if they differ.
    """
    record = None if now is None else now.record
    if (
        then is None
        and record is None
        or isinstance(then, dict)
        and record
        and then.get("sha256") == record.get("sha256")
    ):
        return
    words = [_in_words(of) if isinstance(of, dict) else "drawn parameters" for of in (then, record)]
    raise CheckpointError(
        f"the run was begun from {words[0]}, now it is to begin from {words[1]}; go on with it by `jaxrnn resume`, "
        "which needs no --init-from, or use another --run"
    )


def _same_tree(source: Any, model: Any) -> Callable[[Any], Any]:
    source = nnx.to_pure_dict(source) if isinstance(source, nnx.State) else source
    params, variables = params_of(model), variables_of(model)  # a trained model's own have both
    trees = [
        jax.tree.map(lambda leaf: (np.shape(leaf), getattr(leaf, "dtype", None)), tree)
        for tree in (source, params, joined(params, variables))
    ]
    if trees[0] not in trees[1:]:
        raise ConfigurationError("init_from expects parameters of the same names, shapes and dtypes as the model's")
    return lambda drawn: source


def _told(source: Any, params: Any, counts: dict[str, int], line: str) -> Begun:
    training = source.record.get("training")
    update = training["update"] if training else int(source.state.best_update)
    digests = "".join(f"{name} {leaf_digest(value)}\n" for name, value in sorted(to_leaves(params).items()))
    of = {"name": source.path.resolve().name, "checkpoint": source.checkpoints[0], "update": update}
    record = of | {"sha256": hashlib.sha256(digests.encode()).hexdigest()} | counts
    return Begun(record, f"from {_name(source)} (update {update:,})" + (f": {line}" if line else ""))


def _name(source: Any) -> str:
    return printable(str(source.path), keep="") if hasattr(source, "path") else "the source"


def _in_words(record: Mapping[str, Any]) -> str:
    name, digest = printable(str(record.get("name")), keep="")[:100], printable(str(record.get("sha256")), keep="")[:12]
    return f"{name} (update {record.get('update')}, parameters {digest})"


def _shown(symbols: list[str], what: str) -> str:
    if not symbols:
        return f"0 {what}"
    more = ", ..." if len(symbols) > MOST_SHOWN else ""
    return f"{len(symbols)} {what}: {', '.join(printable(repr(s), keep='') for s in symbols[:MOST_SHOWN])}{more}"
