"""From settings to a job that can start: the task and its data, the model's structure, the compiled step's settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.cells import cell_options
from jaxrnn.cells.initializers import Initializer, initializer
from jaxrnn.checks import LARGEST_COUNT, parse_devices
from jaxrnn.config import DEFAULT_UPDATES, TrainConfig
from jaxrnn.data.corpus import Corpus, load_corpus
from jaxrnn.data.splits import split_text
from jaxrnn.data.windows import count_windows, refuse_short_part
from jaxrnn.devices.memory import parameter_count, refuse_what_cannot_fit
from jaxrnn.devices.mesh import Layout, automatic_devices, layout_for
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError
from jaxrnn.tasks.protocol import Task
from jaxrnn.tasks.sequences import Sequences
from jaxrnn.tasks.text import NextSymbol, Text
from jaxrnn.training.early_stopping import fewest_validations
from jaxrnn.training.state import TrainState
from jaxrnn.training.step import StepSettings
from jaxrnn.training.trainer import Member, Trainer, start_state
from jaxrnn.training.values import refuse_other_structures, traced_values

LONGEST_JUDGEMENT = 10_000


class TrainJob(NamedTuple):
    """Everything that does not change while a run trains.

    Attributes:
      config: the settings.
      task: what is learned, with its data.
      parameters: how many the model has.
      updates: updates in all.
      windows: updates an epoch; 0 where there are no epochs.
    """

    config: TrainConfig
    task: Task
    parameters: int
    updates: int
    windows: int

    @property
    def validation_every(self) -> int:
        """Updates between two validations; 0 makes none."""
        return (self.config.validation_every or self.windows) if self.task.validates else 0

    @property
    def judgement_every(self) -> int:
        """Updates between two choices of the best parameters by fresh starts; 0 where something else chooses."""
        return (self.config.validation_every or min(self.windows, LONGEST_JUDGEMENT)) if self.config.judges else 0


def objective_of(config: TrainConfig, vocabulary_size: int = 0, document_end: int | None = None) -> Any:
    """What the settings describe as learned.

    Args:
      config: the settings.
      vocabulary_size: V of a text.
      document_end: the id that ends a document of a text.
    """
    if config.task == "text":
        return NextSymbol(vocabulary_size, config.bptt_length, document_end)
    assert config.sequence_length is not None
    return Sequences(config.task, config.sequence_length, config.input)


def task_of(config: TrainConfig, corpus: Corpus | None = None) -> Task:
    """The task of the settings, with its data; the text is read if it was not.

    Raises:
      DataError: if the text cannot be read or a part of it is too short.
    """
    if config.task != "text":
        return objective_of(config)
    if corpus is None:
        corpus = load_corpus(config.text, config.reading_options())
    parts = split_text(
        corpus.ids, config.validation_fraction, config.test_fraction, config.fold, config.folds, config.retrain
    )
    T, B = config.bptt_length, config.batch_size
    if config.validation_fraction and not config.retrain:
        count_windows(len(parts.train), T, B, len(parts.valid))
        refuse_short_part(len(corpus), len(parts.valid), T, B, "validation")
    if config.test_fraction:
        refuse_short_part(len(corpus), len(parts.test), T, B, "test")
    path = Path(config.text).resolve() if Path(config.text).is_file() else None
    return Text(corpus, parts, config.bptt_length, path)


def make_model(config: TrainConfig, objective: Any, rngs: nnx.Rngs) -> Any:
    """The model that the settings describe."""
    by_name = {"forget_bias": config.forget_bias, "use_bias": config.cell_bias}
    init = initializer(config.init, config.init_scale)
    options: dict[str, Any] = {
        "cell": config.cell,
        "layers": config.layers,
        "skip_connections": config.skip_connections,
        "learned_initial_carry": config.learned_initial_carry,
        "cell_options": {name: value for name, value in by_name.items() if name in cell_options(config.cell)},
        "kernel_init": init,
        "param_dtype": jnp.dtype(config.dtype),
        "rngs": rngs,
    }
    if config.recurrent_init is not None:
        options["recurrent_init"] = initializer(config.recurrent_init, config.init_scale)
    model = objective.make_model(config, options)
    if config.init_biases:
        add_to_biases(model, init, rngs)
    return model


def add_to_biases(model: nnx.Module, init: Initializer, rngs: nnx.Rngs) -> None:
    """Adds a draw to every bias of a model, in place; a forget gate's bias keeps its start as the centre."""
    biases = [leaf for path, leaf in nnx.iter_graph(model) if isinstance(leaf, nnx.Param) and _is_bias(path[-1])]
    sizes = [bias[...].size for bias in biases]
    drawn = init(rngs.params(), (1, sum(sizes)), biases[0][...].dtype)[0]  # one draw to compile
    for bias, part in zip(biases, jnp.split(drawn, np.cumsum(sizes)[:-1]), strict=True):
        bias[...] = bias[...] + part.reshape(bias[...].shape)


def _is_bias(name: Any) -> bool:
    return str(name).split("_")[0] in ("b", "bias")


def model_structure(config: TrainConfig, objective: Any) -> tuple[Any, Any]:
    """(graphdef, shapes of the parameters) of the model, without making an array."""
    with numerics(config.dtype):
        model = nnx.eval_shape(lambda: make_model(config, objective, nnx.Rngs(0)))
        graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def state_template(config: TrainConfig, objective: Any) -> TrainState:
    """Shapes and dtypes of the training state, without making an array."""

    def start() -> TrainState:
        settings = step_settings(config, objective)
        values = traced_values(config)
        return start_state(
            lambda rngs: make_model(config, objective, rngs), settings, config.batch_size, config.seed, values
        )

    with numerics(config.dtype):
        return jax.eval_shape(start)


def make_job(config: TrainConfig, corpus: Corpus | None = None) -> TrainJob:
    """Reads the text if there is one, and refuses what cannot be trained, before anything is compiled.

    Args:
      config: the settings.
      corpus: the text, if it was read already.

    Raises:
      DataError: if the text cannot be read or is too short.
      ConfigurationError: if the settings do not fit the text or the memory.
    """
    task = task_of(config, corpus)
    windows = task.windows_per_epoch(config.batch_size)
    updates = config.updates or (config.epochs * windows if config.epochs else DEFAULT_UPDATES)
    if updates > LARGEST_COUNT:
        raise ConfigurationError(
            f"--epochs {config.epochs} is {updates:,} updates, at most {LARGEST_COUNT:,} can be counted"
        )
    parameters = parameter_count(model_structure(config, task.objective)[1])
    characters = task.identity(config.batch_size).get("characters", 0)
    refuse_what_cannot_fit(config, parameters, task.objective.symbols, characters)
    job = TrainJob(config, task, parameters, updates, windows)
    needed = fewest_validations(config.early_stopping, config.patience) * job.validation_every
    if needed > updates:
        raise ConfigurationError(
            f"--early-stopping {config.early_stopping} can stop at update {needed:,} at the earliest, the run has "
            f"{updates:,}; give more --updates or --epochs, a smaller --validation-every, or leave it out"
        )
    return job


def make_trainer(jobs: Sequence[TrainJob], devices: int | None = None) -> Trainer:
    """The trainer of one job, or of several that fit into one program.

    Args:
      jobs: what is trained.
      devices: how many devices share the work, as a run that goes on did; chosen from the settings if None.

    Raises:
      ConfigurationError: if the devices cannot share the batch.
      ConfigurationError: if the jobs do not fit into one program.
    """
    config, objective = jobs[0].config, jobs[0].task.objective
    refuse_other_structures([job.config for job in jobs])
    layout = layout_of([job.config for job in jobs], devices)
    members = [Member(job.task, traced_values(job.config), job.config.seed) for job in jobs]
    settings = step_settings(config, objective, layout.share)
    return Trainer(
        lambda rngs: make_model(config, objective, rngs),
        settings,
        members,
        config.batch_size,
        dtype=config.dtype,
        layout=layout,
    )


def layout_of(configs: Sequence[TrainConfig], devices: int | None = None) -> Layout:
    """How so many members lie on JAX's devices: as asked, or on a CPU by a fixed rule.

    Raises:
      ConfigurationError: if a batch cannot be split so.
    """
    config, members = configs[0], len(configs)
    on_cpu = jax.default_backend() == "cpu"
    asked = devices or parse_devices(config.devices)
    if members > 1:
        return layout_for(members, asked or jax.device_count(), config.batch_size, batched=not on_cpu)
    if asked is None:
        asked = automatic_devices(config.hidden, config.batch_size, jax.device_count()) if on_cpu else 1
    if config.batch_size % asked:
        raise ConfigurationError(
            f"--devices {asked} cannot share --batch-size {config.batch_size} evenly; give a divisor of it"
        )
    return Layout(1, asked)


def step_settings(config: TrainConfig, objective: Any, devices: int = 1) -> StepSettings:
    """What is fixed when the step is compiled."""
    return StepSettings(
        judges=config.judges,
        objective=objective,
        optimizer=config.optimizer_settings(),
        loss_reduction=config.loss_reduction,
        engine=config.engine,
        learned_initial_carry=config.learned_initial_carry,
        drops_out=config.drops_out,
        dropout_per_window=config.dropout_mask == "sequence",
        clips_backward=config.clip_backward > 0,
        devices=devices,
        accuracy=config.measures_accuracy,
        stop_at_accuracy=float(config.stop_at_accuracy),
    )
