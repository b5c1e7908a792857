"""From settings to a job that can start: the task and its data, the model's structure, the compiled step's settings."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.cells import cell_options
from jaxrnn.cells.base import Initializer, symmetric_uniform
from jaxrnn.checks import LARGEST_COUNT, parse_devices
from jaxrnn.config import DEFAULT_UPDATES, TrainConfig
from jaxrnn.data.corpus import Corpus, load_corpus
from jaxrnn.data.windows import WindowCounts, count_windows, refuse_short_validation, to_streams
from jaxrnn.devices.memory import parameter_count, refuse_what_cannot_fit
from jaxrnn.devices.mesh import automatic_devices
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.dropout import SITES, DropoutRates
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.random_streams import STREAM_INIT, run_key, stream_key
from jaxrnn.tasks.protocol import PROBES, Sequences, Task, Text, row_numbers
from jaxrnn.terminal.printable import printable
from jaxrnn.training.state import TrainState, initial_train_state
from jaxrnn.training.step import StepSettings

VALIDATION_STREAMS = 32
SCALED_INITIALIZERS: dict[str, Callable[[float], Initializer]] = {
    "normal": jax.nn.initializers.normal,
    "uniform": symmetric_uniform,
}
# The sizes of a matrix decide: its rows or columns are orthonormal (Saxe et al., 2014), or 2 / (rows + columns)
# (Glorot and Bengio, 2010), 1 / rows (LeCun et al., 1998) or 2 / rows (He et al., 2015) is the variance.
INITIALIZERS: dict[str, Initializer] = {
    "orthogonal": jax.nn.initializers.orthogonal(),
    "glorot-uniform": jax.nn.initializers.glorot_uniform(),
    "glorot-normal": jax.nn.initializers.glorot_normal(),
    "lecun-normal": jax.nn.initializers.lecun_normal(),
    "he-normal": jax.nn.initializers.he_normal(),
}


class TrainJob(NamedTuple):
    """Everything that does not change while a run trains.

    Attributes:
      config: the settings.
      corpus: the text; None where sequences are generated.
      train_ids: what is trained on; empty where sequences are generated.
      validation_ids: what is held out; empty without a validation fraction.
      windows: how train_ids fall into windows; all 0 where sequences are generated.
      graphdef: structure of the model.
      settings: what is fixed when the step is compiled.
      parameters: how many the model has.
      updates: updates in all.
    """

    config: TrainConfig
    corpus: Corpus | None
    train_ids: np.ndarray
    validation_ids: np.ndarray
    windows: WindowCounts
    graphdef: Any
    settings: StepSettings
    parameters: int
    updates: int

    def initial_state(self) -> TrainState:
        """The state before the first update, compiled as one program."""
        with numerics(self.config.dtype):
            return jax.jit(lambda: _initial_state(self.config, self.vocabulary_size))()

    @property
    def vocabulary_size(self) -> int:
        """V of a text; 0 where sequences are generated."""
        return len(self.corpus.vocabulary) if self.corpus is not None else 0

    @property
    def data_digest(self) -> str:
        """What tells this data from other data: the text's checksum, or that of the task in words."""
        if self.corpus is not None:
            return self.corpus.digest
        return hashlib.sha256(str(self.settings.task).encode()).hexdigest()

    def streams(self) -> np.ndarray:
        """What the compiled step reads its batches from, one column a row of the batch."""
        if self.corpus is not None:
            return to_streams(self.train_ids, self.config.batch_size)
        return row_numbers(self.config.batch_size)


def task_of(config: TrainConfig) -> Task:
    """The task that the settings describe."""
    if config.task == "text" or config.sequence_length is None:
        return Text()
    return Sequences(config.task, config.sequence_length, config.input)


def make_model(config: TrainConfig, vocabulary_size: int, rngs: nnx.Rngs) -> Any:
    """The model that the settings describe: a `LanguageModel`, or a `SequenceClassifier` of generated sequences."""
    model = _model_with_fixed_biases(config, vocabulary_size, rngs)
    if config.init_biases:
        add_to_biases(model, initializer(config.init, config.init_scale), rngs)
    return model


def initializer(name: str, scale: float) -> Initializer:
    """What draws starting weights, by its name among the settings; only normal and uniform ones have a scale."""
    return SCALED_INITIALIZERS[name](scale) if name in SCALED_INITIALIZERS else INITIALIZERS[name]


def add_to_biases(model: nnx.Module, init: Initializer, rngs: nnx.Rngs) -> None:
    """Adds a draw to every bias of a model, in place; a forget gate's bias keeps its start as the centre."""
    biases = [leaf for path, leaf in nnx.iter_graph(model) if isinstance(leaf, nnx.Param) and _is_bias(path[-1])]
    sizes = [bias[...].size for bias in biases]
    drawn = init(rngs.params(), (1, sum(sizes)), biases[0][...].dtype)[0]  # one draw to compile
    for bias, part in zip(biases, jnp.split(drawn, np.cumsum(sizes)[:-1]), strict=True):
        bias[...] = bias[...] + part.reshape(bias[...].shape)


def _is_bias(name: Any) -> bool:
    return str(name).split("_")[0] in ("b", "bias")


def _model_with_fixed_biases(config: TrainConfig, vocabulary_size: int, rngs: nnx.Rngs) -> Any:
    by_name = {"forget_bias": config.forget_bias, "use_bias": config.cell_bias}
    options: dict[str, Any] = {
        "cell": config.cell,
        "layers": config.layers,
        "skip_connections": config.skip_connections,
        "learned_initial_carry": config.learned_initial_carry,
        "cell_options": {name: value for name, value in by_name.items() if name in cell_options(config.cell)},
        "kernel_init": initializer(config.init, config.init_scale),
        "param_dtype": jnp.dtype(config.dtype),
        "rngs": rngs,
    }
    if config.recurrent_init is not None:
        options["recurrent_init"] = initializer(config.recurrent_init, config.init_scale)
    task = task_of(config)
    if isinstance(task, Sequences):
        answers, classes = task.probe.answers, task.probe.classes
        return SequenceClassifier(
            task.in_features, classes, config.hidden, pooling=config.pooling, answers=answers, **options
        )
    return LanguageModel(
        vocabulary_size, config.hidden, embedding=config.embedding, tie_embedding=config.tie_embedding, **options
    )


def model_structure(config: TrainConfig, vocabulary_size: int = 0) -> tuple[Any, Any]:
    """(graphdef, shapes of the parameters) of the model, without making an array."""
    model = nnx.eval_shape(lambda: make_model(config, vocabulary_size, nnx.Rngs(0)))
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def state_template(config: TrainConfig, vocabulary_size: int = 0) -> TrainState:
    """Shapes and dtypes of the training state, without making an array."""
    return jax.eval_shape(lambda: _initial_state(config, vocabulary_size))


def make_job(config: TrainConfig, corpus: Corpus | None = None, devices: int | None = None) -> TrainJob:
    """Reads the text if there is one, and refuses what cannot be trained, before anything is compiled.

    Args:
      config: the settings.
      corpus: the text, if it was read already.
      devices: how many devices a run that goes on has split its batch over; chosen if None.

    Raises:
      DataError: if the text cannot be read or is too short.
      ConfigurationError: if the settings do not fit the text or the memory.
    """
    if config.task != "text":
        return _sequence_job(config, devices)
    if corpus is None:
        corpus = load_corpus(config.text, config.reading_options())
    train_ids, validation_ids = corpus.split(config.validation_fraction)
    held_out = len(validation_ids) if config.validation_fraction > 0 else None
    windows = count_windows(len(train_ids), config.bptt_length, config.batch_size, held_out)
    if held_out is not None:
        refuse_short_validation(len(corpus), held_out, config.bptt_length, config.batch_size)
    updates = config.updates or (config.epochs * windows.windows if config.epochs else DEFAULT_UPDATES)
    if updates > LARGEST_COUNT:
        raise ConfigurationError(
            f"--epochs {config.epochs} is {updates:,} updates, at most {LARGEST_COUNT:,} can be counted"
        )
    with numerics(config.dtype):
        graphdef, shapes = model_structure(config, len(corpus.vocabulary))
    parameters = parameter_count(shapes)
    refuse_what_cannot_fit(config, parameters, len(corpus.vocabulary), len(corpus))
    settings = step_settings(config, corpus.document_end, devices or choose_devices(config))
    return TrainJob(config, corpus, train_ids, validation_ids, windows, graphdef, settings, parameters, updates)


def _sequence_job(config: TrainConfig, devices: int | None) -> TrainJob:
    with numerics(config.dtype):
        graphdef, shapes = model_structure(config)
    parameters, probe = parameter_count(shapes), PROBES[config.task]
    refuse_what_cannot_fit(config, parameters, probe.features + probe.classes, 0)
    settings = step_settings(config, devices=devices or choose_devices(config))
    none = np.empty(0, np.uint8)
    updates = config.updates or DEFAULT_UPDATES
    return TrainJob(config, None, none, none, WindowCounts(0, 0, 0), graphdef, settings, parameters, updates)


def describe_job(job: TrainJob) -> list[str]:
    """What a person wants to know before the first update, a few lines."""
    config, corpus, windows = job.config, job.corpus, job.windows
    model = f"{config.cell} {config.hidden} x {config.layers}: {job.parameters:,} parameters; untrained loss "
    if corpus is None:
        probe = PROBES[config.task]
        chance = "1 / 6 at best" if probe.is_regression else f"ln {probe.classes} = {math.log(probe.classes):.3f} nats"
        return [f"{job.settings.task}: {config.batch_size} fresh sequences an update", model + chance]
    symbols = len(corpus.vocabulary)
    return [
        *(printable(note) for note in corpus.notes),
        f"{printable(corpus.name)}: {len(corpus):,} characters, {symbols} distinct; an epoch is {windows.windows:,} "
        f"updates of {config.bptt_length} x {config.batch_size} characters, {windows.left_over:,} are left over",
        f"{model}ln {symbols} = {math.log(symbols):.3f} nats",
    ]


def choose_devices(config: TrainConfig) -> int:
    """How many of JAX's devices the batch is split over: what the settings say, or on a CPU by a fixed rule.

    Raises:
      ConfigurationError: if the batch cannot be split so.
    """
    asked = parse_devices(config.devices)
    if asked is None:
        on_cpu = jax.default_backend() == "cpu"
        return automatic_devices(config.hidden, config.batch_size, jax.device_count()) if on_cpu else 1
    if config.batch_size % asked:
        raise ConfigurationError(
            f"--devices {asked} cannot share --batch-size {config.batch_size} evenly; give a divisor of it"
        )
    return asked


def step_settings(config: TrainConfig, document_end: int | None = None, devices: int = 1) -> StepSettings:
    """What is fixed when the step is compiled."""
    return StepSettings(
        bptt_length=config.steps,
        optimizer=config.optimizer_settings(),
        loss_reduction=config.loss_reduction,
        engine=config.engine,
        document_end=document_end,
        learned_initial_carry=config.learned_initial_carry,
        drops_out=any(rate is not None for rate in _dropout_rates(config)),
        dropout_per_window=config.dropout_mask == "sequence",
        clips_backward=config.clip_backward > 0,
        devices=devices,
        task=task_of(config),
        accuracy=config.measures_accuracy,
        stop_at_accuracy=float(config.stop_at_accuracy),
    )


def _dropout_rates(config: TrainConfig) -> DropoutRates:
    dtype = jnp.dtype(config.dtype)
    by_site = {site: getattr(config, f"dropout_{site}") for site in SITES}
    return DropoutRates(**{site: jnp.asarray(rate, dtype) if rate else None for site, rate in by_site.items()})


def _initial_state(config: TrainConfig, vocabulary_size: int) -> TrainState:
    key = stream_key(run_key(config.seed), STREAM_INIT)
    model = make_model(config, vocabulary_size, nnx.Rngs(params=key))
    return initial_train_state(
        model,
        config.optimizer_settings(),
        config.hyperparameters(),
        config.batch_size,
        config.seed,
        _dropout_rates(config),
        config.clip_backward or jnp.inf,
        passes_carry=task_of(config).passes_carry,
        measures_accuracy=config.measures_accuracy,
    )
