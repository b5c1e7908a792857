"""Every setting of a training run, with its default, its check and what it may change to on resume."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxrnn.cells.initializers import INITIALIZER_NAMES
from jaxrnn.cells.table import CELL_TABLE, GATE_BIASES
from jaxrnn.checks import (
    LARGEST_COUNT,
    LARGEST_SEED,
    check_choice,
    check_count,
    check_number,
    check_switch,
    check_texts,
    check_validation_text,
    parse_devices,
    parse_interval,
    plain,
    word_of_now,
)
from jaxrnn.errors import ConfigurationError
from jaxrnn.optim.table import OPTIMIZERS, rules_with
from jaxrnn.tasks.contradictions import OWN_TASK, refuse_contradictions
from jaxrnn.tasks.settings import TASK_NAMES, refuse_what_the_task_lacks, with_settings_of_then
from jaxrnn.tasks.users_cells import is_known_own
from jaxrnn.terminal.printable import printable

if TYPE_CHECKING:  # JAX is not loaded before the settings are known to be good
    from jaxrnn.data.reading_options import ReadingOptions
    from jaxrnn.optim.optimizer import Hyperparameters
    from jaxrnn.optim.settings import OptimizerSettings

DEFAULT_TEXT = "python-reference"
DEFAULT_UPDATES = 500_000
DEFAULT_DECAY_AFTER_EPOCHS = 10
LARGEST_LAYERS = 1000
LARGEST_SAMPLE = 1_000_000  # held in memory while training; `jaxrnn sample` streams any length
SMALLEST_EPSILON = 1e-30  # a float32 below 1e-38 is flushed to 0, and 0 / 0 follows

CELL_NAMES = tuple(CELL_TABLE)
OPTIMIZER_NAMES = tuple(OPTIMIZERS)
ENGINE_NAMES = ("auto", "scan", "hoisted", "recompute", "resident", "resident-output", "cudnn", "reference")
CHOICES = {
    "task": (*TASK_NAMES, OWN_TASK),
    "cell": CELL_NAMES,
    "input": ("number", "one-hot", None),
    "pooling": ("last", "mean"),
    "init": INITIALIZER_NAMES,
    "recurrent_init": (*INITIALIZER_NAMES, None),
    "dropout_mask": ("step", "sequence"),
    "optimizer": OPTIMIZER_NAMES,
    "clip_norm": ("l1", "l2", "linf"),
    "loss_reduction": ("sum", "mean"),
    "decay_shape": ("steps", "cosine"),
    "early_stopping": ("none", "patience", "relative-decrease"),
    "best_by": ("fresh", "smoothed"),
    "dtype": ("float32", "float64"),
    "precision": ("auto", "float32", "tf32", "bf16"),
    "engine": ENGINE_NAMES,
    "stream_from": ("auto", "memory", "disk"),
    "newlines": ("keep", "universal", None),
    "byte_order_mark": ("strip", "keep", None),
    "symbols": ("characters", "words", "bpe"),
}

COUNTS_FROM_0 = (
    *("sample_every", "embedding", "decay_every_updates", "warmup_updates", "validation_every", "fold"),
    *("plateau_patience", "profile"),
)
COUNTS_FROM_1 = "hidden bptt_length batch_size log_every accumulate patience folds vocabulary_size".split()
DROPOUT_SITES = ("dropout_input", "dropout_between", "dropout_output", "dropout_recurrent")
DECAYS = ("rmsprop_decay", "momentum", "adam_b1", "adam_b2", "weight_decay")
SHARES = ("validation_fraction", "test_fraction", *DECAYS, *DROPOUT_SITES)  # from 0 up to, but not, 1

# What `jaxrnn resume` and a repeated `jaxrnn train` may change: what makes no other run of it.
CHANGEABLE = frozenset(
    {"updates", "epochs", "sample_every", "log_every", "log_norms", "checkpoint_every", "stream_from", "profile"}
)


def setting(default: Any, help: str) -> Any:
    """A field of `TrainConfig` with the words that `jaxrnn train --help` shows."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a run, each an option of `jaxrnn train`. The defaults are the recipe of the book reports."""

    text: str | tuple[str, ...] = setting(DEFAULT_TEXT, "a file, several, a directory, - (stdin), or a known text")
    task: str = setting("text", "what is learned: " + ", ".join(TASK_NAMES))
    sequence_length: int | None = setting(None, "T, steps of each generated sequence of a task that is not text")
    input: str | None = setting(None, "how palindromes are read: number (one a digit, if not given) or one-hot")
    pooling: str = setting("last", "what a class is read from: the last step, or the mean over all")
    cell: str = setting("vanilla", "the recurrent cell: " + ", ".join(CELL_NAMES) + "; or your own, MODULE:CLASS")
    hidden: int = setting(100, "H, hidden features of each layer")
    layers: int = setting(1, "recurrent layers")
    forget_bias: float = setting(1.0, "starting value of an LSTM's forget gate bias")
    update_bias: float = setting(0.0, "starting value of a GRU's update gate bias; above 0 it keeps the state at first")
    cell_bias: bool = setting(True, "whether the cells have biases")
    init: str = setting("normal", "what the starting weights are drawn by: " + ", ".join(INITIALIZER_NAMES))
    init_scale: float = setting(
        0.01, "standard deviation of normal, half the width of uniform; the sizes of a matrix give that of the others"
    )
    recurrent_init: str | None = setting(None, "what the weights from a layer's own last step are drawn by instead")
    init_biases: bool = setting(False, "draw the biases like the weights, around their usual start")
    skip_connections: bool = setting(False, "every layer sees the input, and the output layer sees every layer")
    bidirectional: bool = setting(False, "each layer reads a sequence from its end too, with weights of its own")
    embedding: int = setting(0, "features of a dense embedding of the symbols; 0 feeds one-hot symbols")
    tie_embedding: bool = setting(False, "the output layer uses the embedding's weights, transposed")
    learned_initial_carry: bool = setting(False, "the carry at a text's start is a parameter, in place of 0")
    dropout_input: float = setting(0.0, "probability of zeroing an input of the first layer")
    dropout_between: float = setting(0.0, "probability of zeroing what one layer gives to the next")
    dropout_output: float = setting(0.0, "probability of zeroing an input of the output layer")
    dropout_recurrent: float = setting(0.0, "probability of zeroing what a layer gives to its own next step")
    dropout_mask: str = setting("step", "step: a new mask at each step; sequence: one for the whole window")
    bptt_length: int = setting(25, "T, symbols in a window: the steps that the gradient flows through")
    batch_size: int = setting(1, "B, streams read side by side")
    accumulate: int = setting(1, "windows whose mean gradient makes one change of the parameters")
    optimizer: str = setting("adagrad", "the rule: " + ", ".join(OPTIMIZER_NAMES))
    learning_rate: float = setting(0.1, "the learning rate")
    epsilon: float | None = setting(None, f"keeps the divisor of {', '.join(rules_with('epsilon'))} from 0; 1e-8")
    epsilon_in_root: bool | None = setting(
        None, "epsilon inside the root or outside; if not given, inside for adagrad, outside for rmsprop and adam"
    )
    rmsprop_decay: float = setting(0.95, "decay of rmsprop's mean square")
    momentum: float = setting(0.0, "momentum of " + ", ".join(rules_with("momentum")))
    nesterov: bool = setting(False, "Nesterov's form of the momentum")
    adam_b1: float = setting(0.9, "decay of adam's mean")
    adam_b2: float = setting(0.999, "decay of adam's mean square")
    weight_decay: float = setting(0.01, "decay of adamw's weights, beside the gradient")
    clip_value: float = setting(5.0, "limit of each gradient entry; 0 clips nothing")
    clip_global_norm: float = setting(0.0, "limit of the norm of the whole gradient; 0 clips nothing")
    clip_norm: str = setting("l2", "which norm: l1, l2 or linf")
    clip_backward: float = setting(0.0, "limit of each pre-activation's gradient in the backward loop; 0: none")
    decay_rate: float = setting(1.0, "factor of the learning rate each time it decays")
    decay_after_epochs: int | None = setting(
        None, "epochs at the full rate, after which it decays at each epoch; 10, or all with --decay-every-updates"
    )
    decay_every_updates: int = setting(0, "updates between two decays; 0: the rate decays by epochs only")
    decay_shape: str = setting(
        "steps", "steps, or cosine: half a cosine over --decay-every-updates, down to --decay-rate of the rate"
    )
    plateau_patience: int = setting(0, "validations without a new lowest loss after which the rate decays; 0: never")
    warmup_updates: int = setting(0, "updates in which the learning rate grows from 0 to its full size")
    early_stopping: str = setting(
        "none",
        "stop by the validation loss: none, patience, or relative-decrease (fell by under 5 per mille an epoch in ten)",
    )
    patience: int = setting(5, "validations without a new lowest loss before patience stops")
    loss_reduction: str = setting("sum", "sum (over the window, mean over the batch: the reports' loss) or mean")
    updates: int | None = setting(None, "total number of updates; 500,000 if neither updates nor epochs are given")
    epochs: int | None = setting(None, "total number of passes over the text, in place of updates")
    seed: int = setting(0, "seed of everything random")
    validation_fraction: float = setting(
        0.0, "share at the text's end that is kept out of training and scored, see validation-every"
    )
    validation_text: str | None = setting(None, "another text to validate on, in place of a share of this one")
    test_fraction: float = setting(0.0, "share at the text's very end, scored once, at last, with the best parameters")
    folds: int = setting(1, "parts of the text that can be its end in turn")
    fold: int = setting(0, "which of them is, from 0")
    retrain: bool = setting(False, "train on the validation part as well, and validate nothing")
    validation_every: int = setting(0, "updates between validations or choices of the best; 0: an epoch; tasks: none")
    best_by: str = setting("fresh", "what chooses the best parameters of an unvalidated text: fresh starts or smoothed")
    accuracy: bool = setting(False, "measure the share of right answers on a text too; other tasks always do")
    stop_at_accuracy: float = setting(0.0, "stop when the mean accuracy of the last 100 updates reaches it; 0: never")
    dtype: str = setting("float32", "float32 or float64")
    precision: str = setting("auto", "of products: float32, tf32, bf16, or auto: float32 on a CPU, tf32 on a GPU")
    deterministic: bool = setting(False, "a GPU gives the same bits each time, at a price; a CPU always does")
    engine: str = setting("auto", "how the cell is unrolled; auto chooses")
    devices: str = setting("auto", "how many devices share the work: auto or a number")
    stream_from: str = setting("auto", "where a text's ids lie: memory, disk (read a block ahead), or auto by size")
    sample_every: int = setting(10_000, "updates between text samples; 0 writes none")
    sample_length: int = setting(200, "characters of each sample")
    log_every: int = setting(100, "updates between rows of metrics.jsonl")
    log_norms: bool = setting(False, "log norms of gradient, parameters and steps by layer too, in norms.jsonl")
    checkpoint_every: str = setting("30s", "updates (1000) or seconds (30s) between checkpoints")
    profile: int = setting(0, "updates, a few after the first, that are traced into RUN/profile for Perfetto")
    encoding: str | None = setting(None, "encoding of the text")
    newlines: str | None = setting(None, "keep them, or universal: every line end read as a line feed")
    byte_order_mark: str | None = setting(None, "strip or keep")
    bytes: bool = setting(False, "read bytes instead of characters")
    symbols: str = setting("characters", "what the symbols of a text are: characters, words, or bpe (byte pairs)")
    vocabulary_size: int = setting(8000, "most symbols of words or bpe, the characters among them")

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, word_of_now(name, plain(value)))
        for name, allowed in CHOICES.items():
            if name != "cell" or not is_known_own(self.cell):
                check_choice(name, getattr(self, name), allowed)
        for name in COUNTS_FROM_1:
            check_count(name, getattr(self, name), 1)
        check_count("layers", self.layers, 1, LARGEST_LAYERS)
        check_count("sample_length", self.sample_length, 1, LARGEST_SAMPLE)
        check_count("seed", self.seed, 0, LARGEST_SEED)
        for name in COUNTS_FROM_0:
            check_count(name, getattr(self, name), 0)
        for name, least in (("updates", 1), ("epochs", 1), ("decay_after_epochs", 0), ("sequence_length", 1)):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), least)
        for name in ("learning_rate", "clip_value", "clip_global_norm", "clip_backward", "init_scale", "decay_rate"):
            check_number(name, getattr(self, name), 0.0, dtype=str(self.dtype))
        for name in SHARES:
            check_number(name, getattr(self, name), 0.0, 1.0)
        for name in GATE_BIASES:
            check_number(name, getattr(self, name), -math.inf, dtype=str(self.dtype))
        if self.epsilon is not None:
            check_number("epsilon", self.epsilon, SMALLEST_EPSILON, dtype=str(self.dtype))
        for field in dataclasses.fields(self):
            if field.type == "bool":
                check_switch(field.name, getattr(self, field.name))
        if self.epsilon_in_root is not None:
            check_switch("epsilon_in_root", self.epsilon_in_root)
        if self.decay_rate > 1 or self.decay_rate == 0:
            raise ConfigurationError(f"--decay-rate expects a factor above 0 and at most 1, got {self.decay_rate}")
        object.__setattr__(self, "text", check_texts(self.text))  # a list in JSON
        check_validation_text(self.validation_text)
        object.__setattr__(self, "dtype", str(self.dtype))  # which NumPy's is equal to
        parse_interval(self.checkpoint_every)
        parse_devices(self.devices)
        given = {f.name for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}
        refuse_what_the_task_lacks(vars(self), given)
        refuse_contradictions(vars(self), given)

    @property
    def steps(self) -> int:
        """T: the symbols of a window, or the steps of a sequence. The gradient flows through all of them."""
        return self.sequence_length or self.bptt_length

    @property
    def drops_out(self) -> bool:
        """Whether the network has a dropout site."""
        return any(getattr(self, site) > 0 for site in DROPOUT_SITES)

    @property
    def validates(self) -> bool:
        """Whether a text has something to validate on, a share of its own or another."""
        return bool(self.validation_text) or (self.validation_fraction > 0 and not self.retrain)

    def optimizer_settings(self) -> OptimizerSettings:
        """What is static of the optimizer. A clipping limit of 0 leaves its transformation out."""
        from jaxrnn.optim.settings import OptimizerSettings

        shared = {
            name: getattr(self, name) for name in OptimizerSettings._fields if name in TrainConfig.__annotations__
        }
        return OptimizerSettings(
            name=self.optimizer,
            scheduled=self.decay_rate != 1 or self.warmup_updates > 0,
            clips_value=self.clip_value > 0,
            clips_global_norm=self.clip_global_norm > 0,
            **shared,
        )

    def hyperparameters(self) -> Hyperparameters:
        """The values that steer the optimizer, as arrays."""
        from jaxrnn.optim.optimizer import Hyperparameters, make_hyperparameters

        values = {name: getattr(self, name) for name in Hyperparameters._fields}
        if self.decay_after_epochs is None:
            by_epochs = not self.decay_every_updates and not self.plateau_patience
            values["decay_after_epochs"] = DEFAULT_DECAY_AFTER_EPOCHS if by_epochs else LARGEST_COUNT
        return make_hyperparameters(**values, dtype=self.dtype)

    def reading_options(self) -> ReadingOptions | None:
        """The reading options that were asked for, with a known text's own beside them; None if none was."""
        from jaxrnn.data.known_texts import reading_with

        asked = {name: getattr(self, name) for name in ("encoding", "newlines", "byte_order_mark")}
        return reading_with(self.text, asked | {"bytes_mode": self.bytes or None})

    def to_json(self) -> dict[str, Any]:
        """All settings as a dict that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainConfig:
        """Settings from `to_json`; refuses names this version does not know."""
        known, values = {f.name for f in dataclasses.fields(cls)}, with_settings_of_then(values)
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
