"""From settings to a job that can start: the task and its data, the model's structure, the compiled step's settings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxrnn.cells import cell_options
from jaxrnn.cells.initializers import Initializer, initializer
from jaxrnn.cells.table import GATE_BIASES
from jaxrnn.checks import LARGEST_COUNT
from jaxrnn.config import DEFAULT_UPDATES, TrainConfig
from jaxrnn.data.corpus import Corpus
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.devices.memory import parameter_count, refuse_what_cannot_fit
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.first_carry import could_start_from
from jaxrnn.models.structure import params_of
from jaxrnn.optim.optimizer import NamedOptimizer
from jaxrnn.random_streams import STREAM_INIT, run_key, stream_key
from jaxrnn.tasks.contradictions import OWN_TASK
from jaxrnn.tasks.protocol import Task
from jaxrnn.training.idle_rules import refuse_early_stopping_that_cannot_act
from jaxrnn.training.init_from import Begun, begin_with, refuse_other_structure
from jaxrnn.training.judgement import with_candidate
from jaxrnn.training.state import TrainState, initial_train_state
from jaxrnn.training.step import CALL_OPTIONS, StepSettings
from jaxrnn.training.task import task_of, validation_of
from jaxrnn.training.values import TracedValues, traced_values

LONGEST_JUDGEMENT = 10_000


class TrainJob(NamedTuple):
    """Everything that does not change while a run trains.

    Attributes:
      config: the settings.
      task: what is learned, with its data.
      make_model: makes the model; called while tracing.
      optimizer: what makes steps of gradients.
      parameters: how many the model has.
      validation: what is validated on in place of the task's own.
      parts: what a run records of parts that no settings name, see `jaxrnn.training.parts`; None if there are none.
      given: makes the parameters to begin with, of those that are drawn; None takes these.
      begun: what config.json keeps of the model that they are of; None where there is none.
      injected: values for an optimizer made by `optax.inject_hyperparams`.
      options: see `StepSettings`.
    """

    config: TrainConfig
    task: Task
    make_model: Callable[[nnx.Rngs], Any]
    optimizer: optax.GradientTransformation
    parameters: int
    validation: Task | None = None
    parts: dict[str, Any] | None = None
    given: Callable[[Any], Any] | None = None
    begun: Begun | None = None
    injected: Mapping[str, float] = {}
    options: tuple[str, ...] = CALL_OPTIONS

    @property
    def values(self) -> TracedValues:
        """What members of one program may differ in."""
        return traced_values(self.config)

    @property
    def windows(self) -> int:
        """Updates an epoch; 0 where there are no epochs."""
        return self.task.windows_per_epoch

    @property
    def updates(self) -> int:
        """How many updates the settings ask for.

        Raises:
          ConfigurationError: if they are more than can be counted.
        """
        epochs = self.config.epochs
        updates = self.config.updates or (epochs * self.windows if epochs else DEFAULT_UPDATES)
        if updates > LARGEST_COUNT:
            raise ConfigurationError(
                f"--epochs {epochs} is {updates:,} updates, at most {LARGEST_COUNT:,} can be counted"
            )
        return updates

    @property
    def measures_accuracy(self) -> bool:
        """Whether each update's share of right answers is measured."""
        return self.config.accuracy or self.task.objective.measures_accuracy

    @property
    def validates(self) -> bool:
        """Whether there is something to validate on, the task's own data or another's."""
        return self.validation is not None or self.task.validates

    def scored_on(self, part: str) -> Task:
        """Whose data a part is: "test" of the task's own, else of what is validated on."""
        return self.task if part == "test" or self.validation is None else self.validation

    @property
    def validation_every(self) -> int:
        """Updates between two validations; 0 makes none."""
        return (self.config.validation_every or self.windows) if self.validates else 0

    @property
    def judges(self) -> bool:
        """Whether the best parameters are those that do best from fresh starts; else validation or smoothing choose."""
        return self.task.writes and self.config.best_by == "fresh" and not self.validates

    @property
    def judgement_every(self) -> int:
        """Updates between two choices of the best parameters by fresh starts; 0 where something else chooses."""
        return (self.config.validation_every or min(self.windows, LONGEST_JUDGEMENT)) if self.judges else 0


def make_model(config: TrainConfig, objective: Any, rngs: nnx.Rngs) -> Any:
    """The model that the settings describe."""
    by_name = {name: getattr(config, name) for name in GATE_BIASES} | {"use_bias": config.cell_bias}
    init = initializer(config.init, config.init_scale)
    options: dict[str, Any] = {
        "cell": config.cell,
        "layers": config.layers,
        "skip_connections": config.skip_connections,
        "learned_initial_carry": config.learned_initial_carry,
        "cell_options": {name: value for name, value in by_name.items() if name in cell_options(config.cell)},
        "bidirectional": config.bidirectional,
        "kernel_init": init,
        "recurrent_init": config.recurrent_init and initializer(config.recurrent_init, config.init_scale),
        "param_dtype": jnp.dtype(config.dtype),
        "rngs": rngs,
    }
    model = objective.make_model(config, options)
    if config.init_biases:
        add_to_biases(model, init, rngs)
    return model


def add_to_biases(model: nnx.Module, init: Initializer, rngs: nnx.Rngs) -> None:
    """Adds a draw to every bias of a model, in place; a forget gate's bias keeps its start as the centre."""
    params = [(str(path[-1]), leaf) for path, leaf in nnx.iter_graph(model) if isinstance(leaf, nnx.Param)]
    biases = [leaf for name, leaf in params if name.split("_")[0] in ("b", "bias")]
    sizes = [bias[...].size for bias in biases]
    drawn = init(rngs.params(), (1, sum(sizes)), biases[0][...].dtype)[0]  # one draw to compile
    for bias, part in zip(biases, jnp.split(drawn, np.cumsum(sizes)[:-1]), strict=True):
        bias[...] = bias[...] + part.reshape(bias[...].shape)


def model_structure(make_model: Callable[[nnx.Rngs], Any], dtype: str) -> tuple[Any, Any]:
    """(graphdef, shapes of parameters and variables) of a model, without making an array."""
    with numerics(dtype):
        graphdef, state = nnx.split(nnx.eval_shape(lambda: make_model(nnx.Rngs(0))))
    return graphdef, nnx.to_pure_dict(state)


def start_state(job: TrainJob, seed: int | np.integer | jax.Array, values: TracedValues) -> TrainState:
    """The state before the first update: a model drawn from the seed, and nothing learned."""
    key, objective = stream_key(run_key(seed), STREAM_INIT), job.task.objective
    model = job.make_model(nnx.Rngs(params=key, default=jax.random.fold_in(key, 1)))
    state = initial_train_state(
        model,
        job.optimizer,
        values,
        job.config.batch_size,
        seed,
        objective.passes_carry,
        job.measures_accuracy,
        objective.shuffled,
        None if job.given is None else job.given(params_of(model)),
    )
    return with_candidate(state, keeps_carry=could_start_from(model, state.carry)) if job.judges else state


def template_of(job: TrainJob) -> TrainState:
    """Shapes and dtypes of the training state of a job, without making an array."""
    with numerics(job.config.dtype):
        return jax.eval_shape(lambda: start_state(job, np.uint32(job.config.seed), job.values))


def state_template(
    config: TrainConfig,
    objective: Any,
    own_model: Callable[[nnx.Rngs], Any] | None = None,
    own_optimizer: optax.GradientTransformation | None = None,
) -> TrainState:
    """`template_of` a run whose data are not there; its model and optimizer are those of the settings if None."""
    told = {"objective": objective, "writes": config.task == "text", "validates": config.validates}
    task: Any = SimpleNamespace(**told, windows_per_epoch=0)
    model = own_model or functools.partial(make_model, config, objective)
    return template_of(TrainJob(config, task, model, own_optimizer or NamedOptimizer(config.optimizer_settings()), 0))


def make_job(
    config: TrainConfig,
    corpus: Corpus | None = None,
    init_from: Any = None,
    vocabulary: Vocabulary | None = None,
    validation: Corpus | None = None,
) -> TrainJob:
    """Reads the text if there is one, and refuses what cannot be trained, before anything is compiled.

    Args:
      config: the settings.
      corpus: the text, if it was read already.
      init_from: an opened run, or a model in one file, to begin with; of a run that goes on, what it began with.
      vocabulary: of longer symbols than characters, if it was learned already.
      validation: the other text to validate on, if it was read already.

    Raises:
      DataError: if the text cannot be read or is too short.
      ConfigurationError: if the settings do not fit the text, the memory or the model to begin with.
    """
    if config.task == OWN_TASK:
        raise ConfigurationError(f"--task {OWN_TASK} stands for what jaxrnn.fit was given; run that program again")
    has_source = init_from is not None and not isinstance(init_from, Begun)
    if has_source:
        refuse_other_structure(config, init_from)
    task = task_of(config, corpus, vocabulary)
    model = functools.partial(make_model, config, task.objective)
    parameters = parameter_count(model_structure(model, config.dtype)[1])
    characters = 0 if task.block else task.identity().get("characters", 0)
    refuse_what_cannot_fit(config, parameters, task.objective.symbols, characters)
    optimizer, other = NamedOptimizer(config.optimizer_settings()), validation_of(config, task, validation)
    job = TrainJob(config, task, model, optimizer, parameters, validation=other)
    refuse_early_stopping_that_cannot_act(job)
    if not has_source:
        return job._replace(begun=init_from)
    with numerics(config.dtype):
        given, begun = begin_with(init_from, nnx.eval_shape(lambda: model(nnx.Rngs(0))), task.vocabulary)
    return job._replace(given=given, begun=begun)


def settings_of(job: TrainJob, devices: int = 1) -> StepSettings:
    """What is fixed when the step is compiled."""
    config = job.config
    return StepSettings(
        objective=job.task.objective,
        optimizer=job.optimizer,
        loss_reduction=config.loss_reduction,
        engine=config.engine,
        learned_initial_carry=config.learned_initial_carry,
        drops_out=config.drops_out,
        dropout_per_window=config.dropout_mask == "sequence",
        clips_backward=config.clip_backward > 0,
        devices=devices,
        accuracy=job.measures_accuracy,
        stop_at_accuracy=float(config.stop_at_accuracy),
        norms=config.log_norms,
        options=job.options,
        begins_anew=job.parts is not None,
    )
