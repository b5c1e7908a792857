"""From a user's parts, a model, a task and an optimizer, to jobs that can start."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxrnn.cells import Cell
from jaxrnn.checks import check_call, check_number, plain
from jaxrnn.config import CHOICES, DROPOUT_SITES, TrainConfig
from jaxrnn.devices.memory import parameter_count
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.first_carry import could_start_from
from jaxrnn.models.structure import call_takes, params_of
from jaxrnn.optim.optimizer import NamedOptimizer
from jaxrnn.random_streams import is_key
from jaxrnn.tasks.answering import are_alike
from jaxrnn.tasks.arrays import Arrays, refuse_other_arrays
from jaxrnn.tasks.contradictions import OWN_TASK
from jaxrnn.tasks.protocol import Task
from jaxrnn.tasks.sequences import Sequences
from jaxrnn.training.idle_rules import refuse_decay_that_cannot_act, refuse_early_stopping_that_cannot_act
from jaxrnn.training.init_from import begin_with
from jaxrnn.training.job import TrainJob, state_template, template_of
from jaxrnn.training.part_records import injected_nodes, is_injected, own_hyperparams, record_of_parts
from jaxrnn.training.state import TrainState
from jaxrnn.training.step import CALL_OPTIONS
from jaxrnn.training.values import TRACED

# The settings of `TrainConfig` that `fit` takes by name; the others are what model, task and optimizer are for.
SETTINGS = (
    "accuracy",
    "best_by",
    "checkpoint_every",
    "clip_backward",
    "deterministic",
    "devices",
    "dropout_mask",
    "dtype",
    "early_stopping",
    "engine",
    "log_every",
    "loss_reduction",
    "patience",
    "precision",
    "sample_every",
    "sample_length",
    "stop_at_accuracy",
    "validation_every",
    *DROPOUT_SITES,
)
OF_THE_MODEL = ("clip_backward", *DROPOUT_SITES)  # traced values that are no optimizer's


def named_optimizer(name: str, learning_rate: float, **settings: Any) -> NamedOptimizer:
    """An optimizer of the command line by name, for `fit`: members may differ in its rates and limits.

    Args:
      name: see `jaxrnn train --help`.
      learning_rate: eta.
      settings: of `TrainConfig`: its constants, clipping, decay. Nothing is clipped if not asked for.

    Raises:
      ConfigurationError: for a name or a value that cannot be used.

    Example:
      >>> named_optimizer("rmsprop", 2e-3, clip_value=5.0).settings.rmsprop_decay
      0.95
    """
    if name is None or learning_rate is None:
        raise ConfigurationError(f"named_optimizer expects a name and a rate; got {name!r} and {learning_rate!r}")
    given = {"clip_value": 0.0, **settings, "optimizer": name, "learning_rate": learning_rate}
    # What is too large for float32 may be for a run in float64; `fit` asks once more, with the run's own.
    return NamedOptimizer(_config({"dtype": "float64"} | given).optimizer_settings(), given)


def jobs_of_parts(
    model: Any,
    task: Task,
    optimizer: optax.GradientTransformation,
    length: Mapping[str, int | None],
    seed: int,
    members: Sequence[Mapping[str, Any]] | None,
    validation: Task | None,
    init_from: Any,
    settings: Mapping[str, Any],
) -> list[TrainJob]:
    """A job, or one a member, of what `fit` was given.

    Raises:
      ConfigurationError: if the parts do not fit together.
    """
    _refuse_what_is_no_part(model, task, optimizer, settings)
    if isinstance(optimizer, optax.MultiSteps):  # as a transformation it is told the loss
        optimizer = optax.GradientTransformationExtraArgs(optimizer.init, optimizer.update)
    named = isinstance(optimizer, NamedOptimizer)
    is_module = isinstance(model, nnx.Module)
    are_members = isinstance(members, Sequence) and all(isinstance(values, Mapping) for values in members)
    if members is not None and not (are_members and members):
        raise ConfigurationError(f"members are a list of dicts, one a member; got {members!r:.80}")
    if is_module and members is not None:
        raise ConfigurationError("members expect a function `rngs -> model`, so that each draws its own; got one model")
    given = dict(optimizer.given) if named else {"clip_value": 0.0}
    given |= {"batch_size": task.batch_size, "loss_reduction": "mean", "seed": seed, **length, **settings}
    start = params_of(model) if is_module else None
    dtype = next((leaf.dtype.name for leaf in jax.tree.leaves(start) if leaf.dtype.name in CHOICES["dtype"]), None)
    base = _config({"dtype": dtype} | given)
    if not base.updates and not base.epochs:
        raise ConfigurationError("fit expects `updates` or `epochs`, the length of training; got neither")
    if base.epochs and not task.windows_per_epoch:
        raise ConfigurationError(f"a {type(task).__name__} has no epochs; give `updates`")
    if validation is not None:
        _refuse_other_validation(validation, task)
    make_model = _factory_of(model)
    made = _made(make_model, base.dtype)
    options = tuple(name for name in CALL_OPTIONS if call_takes(made, name))
    _refuse_what_the_model_cannot(made, base, task, options)
    begin, begun = None if start is None else lambda drawn: start, None
    if init_from is not None:
        with numerics(base.dtype):
            begin, begun = begin_with(init_from, made, task.vocabulary)
    job = TrainJob(
        base,
        task,
        make_model,
        optimizer,
        parameter_count(params_of(made)),
        validation=validation,
        parts={},
        given=begin,
        begun=begun,
        options=options,
    )
    if job.validates and not job.validation_every:
        raise ConfigurationError("a validation of a task without epochs expects `validation_every`, in updates")
    if base.early_stopping != "none" and not job.validates:
        raise ConfigurationError("early_stopping expects a `validation` to look at; got none")
    refuse_early_stopping_that_cannot_act(job)
    job = job._replace(parts=record_of_parts(job, model, made))
    nodes = [] if members is None else injected_nodes(template_of(job).optimizer_state)
    injected = [name for node in nodes for name in own_hyperparams(node)]
    jobs = [job] if members is None else [_member(job, values, named, injected) for values in members]
    refuse_decay_that_cannot_act(jobs)
    return jobs


def model_of_own(model: Any, dtype: str) -> Any:
    """A model as `fit` takes it, with shapes in place of arrays."""
    return _made(_factory_of(model), dtype)


def template_of_own(model: Any, objective: Any, config: TrainConfig) -> TrainState:
    """Shapes and dtypes of what a reader wants of what a run of `fit` saves; without a model its numbers."""
    factory = _factory_of(NoModel() if model is None else model)
    template = state_template(config, objective, factory, optax.identity())
    if model is None:
        return template._replace(params=(), best_params=())
    keeps = template.carry and could_start_from(_made(factory, config.dtype), template.carry)
    return template._replace(best_carry=template.carry, best_score=template.smooth_loss) if keeps else template


class NoModel(nnx.Module):
    """In the place of a model that is not known."""

    def __init__(self) -> None:
        self.nothing = nnx.Param(jnp.zeros((1,)))

    def initial_carry(self, batch_size: int) -> tuple:
        return ()


def _config(values: Mapping[str, Any]) -> TrainConfig:
    known = {name: value for name, value in values.items() if value is not None}
    try:
        return TrainConfig(task=OWN_TASK, **known)
    except TypeError:
        wrong = sorted(set(known) - set(TrainConfig.__annotations__))
        raise ConfigurationError(f"there is no setting {', '.join(wrong)}; see jaxrnn.TrainConfig") from None


def _refuse_what_is_no_part(model: Any, task: Any, optimizer: Any, settings: Mapping[str, Any]) -> None:
    if wrong := sorted(set(settings) - set(SETTINGS)):
        raise ConfigurationError(
            f"fit takes no {', '.join(wrong)}: model, task and optimizer are given as objects; it takes the settings "
            f"{', '.join(SETTINGS)}"
        )
    if isinstance(model, Cell) or hasattr(model, "initialize_carry"):
        raise ConfigurationError(
            f"fit expects a model called as (inputs, carry); {type(model).__name__} is a cell: put it into a stack "
            "below an output layer, such as LanguageModel(V, Stack([cell]), rngs=rngs)"
        )
    if not callable(model):
        raise ConfigurationError(f"fit expects a model, or a function `rngs -> model`; got {type(model).__name__}")
    if not hasattr(task, "objective"):
        raise ConfigurationError(f"fit expects a task: Text, Sequences, Arrays or Stream; got {type(task).__name__}")
    if not hasattr(optimizer, "init") or not hasattr(optimizer, "update"):
        raise ConfigurationError(
            f"fit expects an Optax optimizer, or jaxrnn.named_optimizer; got {type(optimizer).__name__}"
        )


def _factory_of(model: Any) -> Callable[[nnx.Rngs], Any]:
    return (lambda rngs: model) if isinstance(model, nnx.Module) else model


def _made(make_model: Callable[[nnx.Rngs], Any], dtype: str) -> Any:
    check_call("the function that makes the model", make_model, "rngs")
    with numerics(dtype):
        made = nnx.eval_shape(lambda: make_model(nnx.Rngs(0)))
    if not isinstance(made, nnx.Module) or not hasattr(made, "initial_carry"):
        raise ConfigurationError(
            f"fit expects a Flax module (nnx) with `initial_carry(batch_size)`; the model is a {type(made).__name__}"
        )
    check_call("a model", made.__call__ if callable(made) else made, "inputs", "carry")
    check_call("the initial_carry of a model", made.initial_carry, "batch_size")
    if any(map(is_key, jax.tree.leaves(nnx.state(made)))):
        raise ConfigurationError(
            f"{type(made).__name__} holds random state, which a restart could not repeat; keep no nnx.Rngs in it, and "
            "let its call take `dropout`, as that of jaxrnn.Stack does"
        )
    leaves = jax.tree.leaves(params_of(made))
    if not leaves:
        raise ConfigurationError(f"fit expects a model with parameters (nnx.Param); {type(made).__name__} has none")
    wrong = [leaf.dtype.name for leaf in leaves if leaf.dtype != jnp.dtype(dtype)]
    if wrong:
        raise ConfigurationError(f"fit expects parameters of dtype {dtype}, the setting `dtype`; got {wrong[0]}")
    return made


def _refuse_what_the_model_cannot(made: Any, config: TrainConfig, task: Task, options: tuple[str, ...]) -> None:
    name = type(made).__name__
    needs = {
        "dropout": ("a dropout rate", config.drops_out),
        "clip_backward": ("clip_backward", config.clip_backward > 0),
        "resets": ("a text of many documents", getattr(task.objective, "document_end", None) is not None),
    }
    for option, (what, asked) in needs.items():
        if asked and option not in options:
            raise ConfigurationError(f"{what} expects a model whose call takes `{option}`; that of {name} does not")


def _refuse_other_validation(validation: Any, task: Task) -> None:
    if not hasattr(validation, "objective") or validation.fed:
        raise ConfigurationError(
            f"validation expects a task with an end: Text, Sequences or Arrays; got {type(validation).__name__}"
        )
    if isinstance(validation, Arrays):
        refuse_other_arrays("validation", task.objective, validation)
    elif validation.vocabulary != task.vocabulary:
        raise ConfigurationError(
            "validation expects a text in the symbols of the one that is trained on; give Text symbols=text.vocabulary"
        )
    trained, other = task.objective, validation.objective
    are_sequences = isinstance(trained, Sequences) and isinstance(other, Sequences)
    if (are_sequences and trained.name != other.name) or not are_alike(trained, other):
        raise ConfigurationError(
            f"validation expects what is trained on, {task.describe()}; got {validation.describe()}; give the same task"
        )


def _member(job: TrainJob, values: Mapping[str, Any], named: bool, injected: Sequence[str]) -> TrainJob:
    settings = {name: value for name, value in values.items() if name not in injected}
    allowed = ("seed", *OF_THE_MODEL, *(TRACED if named else ()))
    if wrong := sorted(set(settings) - set(allowed)):
        raise ConfigurationError(
            f"a member may differ in {', '.join(dict.fromkeys((*allowed, *injected)))}; got {', '.join(wrong)}. Of an "
            "Optax optimizer only what optax.inject_hyperparams names can differ"
        )
    own = {name: plain(values[name]) for name in injected if name in values}
    for name, value in own.items():
        check_number(name, value, -math.inf, dtype=job.config.dtype)
    config, parts = TrainConfig.from_json(job.config.to_json() | settings), job.parts
    if own:
        assert parts is not None
        optimizer = parts["optimizer"]
        parts = parts | {"optimizer": optimizer | {"hyperparams": optimizer["hyperparams"] | own}}
    if named:
        job = job._replace(optimizer=NamedOptimizer(config.optimizer_settings(), job.optimizer.given))
    return job._replace(config=config, injected={name: float(value) for name, value in own.items()}, parts=parts)


def with_injected(state: TrainState, values: Mapping[str, float]) -> TrainState:
    """The state with these values in place of those that `optax.inject_hyperparams` began with."""

    def put(node: Any) -> Any:
        if not is_injected(node):
            return node
        new = {n: jnp.asarray(values[n], jnp.asarray(v).dtype) for n, v in node.hyperparams.items() if n in values}
        return node._replace(hyperparams=node.hyperparams | new)

    if not values:
        return state
    return state._replace(optimizer_state=jax.tree.map(put, state.optimizer_state, is_leaf=is_injected))
