"""Every setting of a training run, with its default, its check and what it may change to on resume."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any

from jaxrnn.data.reading import ReadingOptions
from jaxrnn.errors import ConfigurationError
from jaxrnn.printable import printable

DEFAULT_TEXT = "python-reference"
DEFAULT_UPDATES = 500_000
LARGEST_COUNT = 2**31 - 1
LARGEST_LAYERS = 1000
LARGEST_SAMPLE = 1_000_000  # held in memory while training; `jaxrnn sample` streams any length

CELL_NAMES = ("vanilla",)
OPTIMIZER_NAMES = ("adagrad", "rmsprop", "adam", "sgd")
ENGINE_NAMES = ("auto", "scan", "hoisted", "reference")

# What `jaxrnn resume` and a repeated `jaxrnn train` may change: totals and intervals. Nothing else, since anything
# else would make another run of it.
CHANGEABLE = frozenset({"updates", "epochs", "sample_every", "log_every", "checkpoint_every"})


def flag(name: str) -> str:
    """The command-line form of a setting's name."""
    return "--" + name.replace("_", "-")


def setting(default: Any, help: str) -> Any:
    """A field of `TrainConfig` with the words that `jaxrnn train --help` shows."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a run. The defaults are the recipe of the book reports.

    Every field is an option of `jaxrnn train`, which shows its help.
    """

    text: str = setting(DEFAULT_TEXT, "a file, a known text, `python-reference` or `python-stdlib`")
    cell: str = setting("vanilla", "name of the recurrent cell")
    hidden: int = setting(100, "H, hidden features of each layer")
    layers: int = setting(1, "recurrent layers")
    bptt_length: int = setting(25, "T, symbols in a window: the steps that the gradient flows through")
    batch_size: int = setting(1, "B, streams read side by side")
    optimizer: str = setting("adagrad", "adagrad, rmsprop, adam or sgd")
    learning_rate: float = setting(0.1, "the learning rate")
    clip_value: float = setting(5.0, "limit of each gradient entry; 0 clips nothing")
    clip_global_norm: float = setting(0.0, "limit of the gradient's L2 norm; 0 clips nothing")
    decay_rate: float = setting(1.0, "factor of the learning rate at each epoch after `decay_after_epochs`")
    decay_after_epochs: int = setting(10, "epochs at the full learning rate")
    loss_reduction: str = setting("sum", "sum (over the window, mean over the batch: the reports' loss) or mean")
    init_std: float = setting(0.01, "standard deviation of the starting weights")
    updates: int | None = setting(None, "total number of updates; 500,000 if neither updates nor epochs are given")
    epochs: int | None = setting(None, "total number of passes over the text, in place of updates")
    seed: int = setting(0, "seed of everything random")
    validation_fraction: float = setting(
        0.0, "share at the text's end that is kept out of training and scored at each epoch's end"
    )
    dtype: str = setting("float32", "float32 or float64")
    engine: str = setting("auto", "how the cell is unrolled; auto chooses")
    sample_every: int = setting(10_000, "updates between text samples; 0 writes none")
    sample_length: int = setting(200, "characters of each sample")
    log_every: int = setting(100, "updates between rows of metrics.jsonl")
    checkpoint_every: str = setting("30s", "updates (1000) or seconds (30s) between checkpoints")
    encoding: str | None = setting(None, "encoding of the text")
    newlines: str | None = setting(None, "keep them, or universal: every line end read as a line feed")
    byte_order_mark: str | None = setting(None, "strip or keep")
    bytes: bool = setting(False, "read bytes instead of characters")

    def __post_init__(self) -> None:
        one_of = {
            "cell": CELL_NAMES,
            "optimizer": OPTIMIZER_NAMES,
            "loss_reduction": ("sum", "mean"),
            "dtype": ("float32", "float64"),
            "engine": ENGINE_NAMES,
            "newlines": ("keep", "universal", None),
            "byte_order_mark": ("strip", "keep", None),
        }
        for name, allowed in one_of.items():
            if getattr(self, name) not in allowed:
                raise choice_error(name, getattr(self, name), [a for a in allowed if a])
        for name in ("hidden", "bptt_length", "batch_size", "log_every"):
            _check_count(name, getattr(self, name), 1)
        _check_count("layers", self.layers, 1, LARGEST_LAYERS)
        _check_count("sample_length", self.sample_length, 1, LARGEST_SAMPLE)
        for name in ("seed", "sample_every", "decay_after_epochs"):
            _check_count(name, getattr(self, name), 0)
        for name in ("updates", "epochs"):
            if getattr(self, name) is not None:
                _check_count(name, getattr(self, name), 1)
        if self.updates is not None and self.epochs is not None:
            raise ConfigurationError("--updates and --epochs both set the length of the run; give one of them")
        for name in ("learning_rate", "clip_value", "clip_global_norm", "init_std", "decay_rate"):
            _check_number(name, getattr(self, name), 0.0, math.inf)
        _check_number("validation_fraction", self.validation_fraction, 0.0, 1.0)
        if self.decay_rate > 1 or self.decay_rate == 0:
            raise ConfigurationError(f"--decay-rate expects a factor above 0 and at most 1, got {self.decay_rate}")
        if not isinstance(self.text, str) or not self.text:
            raise ConfigurationError("TEXT is empty; give a file or a known text, or leave it out")
        parse_interval(self.checkpoint_every)

    def reading_options(self) -> ReadingOptions | None:
        """The reading options that were asked for, or None if none was: a known text then brings its own."""
        asked: dict[str, Any] = {
            "encoding": self.encoding,
            "newlines": self.newlines,
            "byte_order_mark": self.byte_order_mark,
            "bytes_mode": self.bytes or None,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        return ReadingOptions(**given) if given else None

    def to_json(self) -> dict[str, Any]:
        """All settings as a dict that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainConfig:
        """Settings from `to_json`; refuses names this version does not know."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigurationError(
                f"the stored configuration has settings this version does not know: {printable(', '.join(unknown))}; "
                "resume it with the jaxrnn that wrote it"
            )
        return cls(**values)

    def differences(self, other: TrainConfig, ignore: frozenset[str] = frozenset()) -> list[tuple[str, Any, Any]]:
        """(setting, value here, value there) for each setting that differs."""
        return [
            (f.name, getattr(self, f.name), getattr(other, f.name))
            for f in dataclasses.fields(self)
            if f.name not in ignore and getattr(self, f.name) != getattr(other, f.name)
        ]


def choice_error(name: str, value: Any, allowed: list[str]) -> ConfigurationError:
    """The error for a value that is not in a list, with the nearest name."""
    import difflib

    near = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return ConfigurationError(f"{flag(name)} expects one of {', '.join(allowed)}; got {printable(repr(value))}{hint}")


def parse_interval(text: str) -> tuple[int | None, float | None]:
    """Reads "1000" as (1000 updates, None) and "30s" as (None, 30.0 seconds).

    Example:
      >>> parse_interval("30s")
      (None, 30.0)
    """
    match = re.fullmatch(r"(\d{1,9})|(\d{1,9}(?:\.\d+)?)s", str(text))
    if match and match[1] and int(match[1]) >= 1:
        return int(match[1]), None
    if match and match[2] and float(match[2]) > 0:
        return None, float(match[2])
    raise ConfigurationError(
        f"--checkpoint-every expects updates such as 1000 or seconds such as 30s, above 0; got {printable(repr(text))}"
    )


def _check_count(name: str, value: Any, least: int, most: int = LARGEST_COUNT) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(
            f"{flag(name)} expects a whole number from {least} to {most}; got {printable(repr(value))}"
        )


def _check_number(name: str, value: Any, least: float, below: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value < below:
        limit = "a finite number" if math.isinf(below) else f"a number below {below:g}"
        raise ConfigurationError(f"{flag(name)} expects {limit} of at least {least:g}; got {printable(repr(value))}")
