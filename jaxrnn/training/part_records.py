"""How a run knows a user's parts again: by names, shapes, and digests of what they compute."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxrnn.cells import CELLS
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.models.foreign_cells import fresh_carry
from jaxrnn.models.structure import call_takes, joined, variables_of
from jaxrnn.optim.optimizer import NamedOptimizer
from jaxrnn.tasks.answering import refuse_other_answers, refuse_other_losses
from jaxrnn.tasks.sequences import Sequences
from jaxrnn.tasks.text import Text
from jaxrnn.tasks.users_cells import is_own
from jaxrnn.training.ids_read import refuse_rows_that_are_not_there
from jaxrnn.training.job import TrainJob, start_state

# Runs before 2026-11-27 did not record what is injected, what is validated on, nor what the model reads.
RECORDED_LATER = ("hyperparams", "sha256", "inputs", "engine")
# Whose loop is looked at: that of the engine that is chosen gets faster from one version to the next.
ENGINE = "reference"


def record_of_parts(job: TrainJob, model: Any, made: Any) -> dict[str, Any]:
    """Names, shapes, and digests of what is computed. Nothing is ever imported by these names."""
    with numerics(job.config.dtype, None):
        state = jax.eval_shape(functools.partial(start_state, job), np.uint32(0), job.values)
        batch = jax.eval_shape(
            lambda state, streams: job.task.objective.batch(jax.random.key(0), state, streams, state.smooth_loss.dtype),
            state,
            job.task.streams(),
        )

        call = _call_of(made, job.task.batch_size)
        called, made_of = jax.make_jaxpr(call, return_shape=True)(state.params, state.variables, batch.inputs)
        (outputs, _), carries = made_of
        before, after = (jax.tree.map(_shape, carry) for carry in carries)
        if job.task.objective.passes_carry and before != after:
            raise ConfigurationError(
                f"{type(made).__name__} is expected to give a carry like that of its `initial_carry`, {before!s:.200}; "
                f"got {after!s:.200}"
            )
        wanted = job.task.objective.out_features
        if wanted is not None and outputs.shape[-1] != wanted:
            raise ConfigurationError(
                f"the task asks for {wanted} numbers an answer, its classes or symbols; {type(made).__name__} gives "
                f"{outputs.shape[-1]}"
            )
        ids = getattr(job.task.objective, "ids", 0)  # an objective of the user's own need not know
        refuse_rows_that_are_not_there(type(made).__name__, called, batch.inputs, ids)
        refuse_other_answers(job.task.objective, type(made).__name__, outputs)
        if isinstance(job.task, Text | Sequences) and outputs.shape[:-1] != batch.targets.shape:
            raise ConfigurationError(  # one answer would be taken for all steps, or all for one
                f"the task asks for {batch.targets.shape[0]} answers a sequence, outputs (K, B, C); "
                f"{type(made).__name__} gives {list(outputs.shape)}"
            )
        if getattr(job.task.objective, "loss", None) is not None:
            losses = jax.eval_shape(job.task.objective.losses, outputs, batch.targets)
            refuse_other_losses("the loss", losses, batch.targets.values)
        record: dict[str, Any] = {
            "model": _named(made if isinstance(model, nnx.Module) else model)
            | {"type": type(made).__qualname__, "parameters": _digest(str(jax.tree.map(_shape, state.params)))}
            | {"computes": _program_of(made, job.task.batch_size, state, batch.inputs), "engine": ENGINE}
            | {"inputs": jax.tree.leaves(jax.tree.map(_shape, batch.inputs))},
            "task": {"type": type(job.task).__qualname__}
            | {"computes": _computes(job.task.objective.losses, outputs, batch.targets)},
            "validation": {"sha256": job.validation and job.validation.identity()["sha256"]},
        }
        if not isinstance(job.optimizer, NamedOptimizer):
            update = optax.with_extra_args_support(job.optimizer).update
            try:
                computes = _computes(
                    lambda g, s, p: update(g, s, p, value=jnp.float32(0)),
                    *(state.params, state.optimizer_state, state.params),
                )
            except (AttributeError, KeyError, TypeError) as error:
                raise ConfigurationError(
                    "fit expects update(gradients, state, params, value=loss) of an optimizer, and one of "
                    f"jaxrnn.named_optimizer has to stand alone; this one ended with {type(error).__name__}: {error}"
                ) from error
            record["optimizer"] = {"computes": computes, "hyperparams": _first_hyperparams(job.optimizer, state)}
    return record


def _call_of(made: Any, batch_size: int, **options: Any) -> Callable[[Any, Any, Any], Any]:
    graphdef = nnx.split(made)[0]

    def call(params: Any, variables: Any, inputs: Any) -> Any:
        model = nnx.merge(graphdef, nnx.State(joined(params, variables)))
        before = model.initial_carry(batch_size)
        outputs, after = model(inputs, before, **options)
        return (outputs, variables_of(model)), (before, after)

    return call


def _program_of(made: Any, batch_size: int, state: Any, inputs: Any) -> str:
    options = {"engine": ENGINE} if call_takes(made, "engine") else {}
    call = _call_of(made, batch_size, **options)
    return _computes(lambda *of: call(*of)[0], state.params, state.variables, inputs)


def refuse_other_model(stored: dict[str, Any], made: Any, template: Any, config: Any) -> list[str]:
    """Compares the model that a run was made with and the one that is given to open it.

    Args:
      stored: the content of config.json.
      made: the model; only shapes are looked at.
      template: of a training state of it.
      config: the settings.

    Returns:
      A warning where its program is another. That may be of a name in it, or of JAX, and is no reason to refuse it.

    Raises:
      ConfigurationError: if its parameters are others, or it does not read what that one read.
    """
    name, same = type(made).__name__, True
    try:
        told = stored["parts"]["model"]
        known = told["parameters"] == _digest(str(jax.tree.map(_shape, template.params)))
        if known and len(told.get("inputs", [])) == 1:
            dtype, _, shape = told["inputs"][0].partition("[")
            inputs = jax.ShapeDtypeStruct(json.loads(f"[{shape}"), dtype)
            with numerics(config.dtype, None):
                same = told.get("engine") != ENGINE or told["computes"] == _program_of(
                    made, config.batch_size, template, inputs
                )
    except (AttributeError, LookupError, TypeError, ValueError):
        known = False
    if not known:
        raise ConfigurationError(f"the run was made with another model than the {name} that is given; give that one")
    return [] if same else [f"the {name} that is given has another program than the model of the run; check its code"]


def is_injected(node: Any) -> bool:
    """Whether a part of an optimizer's state is one of `optax.inject_hyperparams`."""
    return isinstance(getattr(node, "hyperparams", None), dict)


def injected_nodes(optimizer_state: Any) -> list[Any]:
    """The parts of an optimizer's state that are."""
    return [node for node in jax.tree.leaves(optimizer_state, is_leaf=is_injected) if is_injected(node)]


def own_hyperparams(node: Any) -> dict[str, Any]:
    """Those of a part that stay as they are given; what a schedule gives is computed anew at each update."""
    scheduled = getattr(node, "hyperparams_states", {})
    return {name: value for name, value in node.hyperparams.items() if name not in scheduled}


def _first_hyperparams(optimizer: Any, state: Any) -> dict[str, Any]:
    if not injected_nodes(state.optimizer_state):
        return {}

    def begun() -> list[dict[str, Any]]:
        params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state.params)
        return [own_hyperparams(node) for node in injected_nodes(optimizer.init(params))]

    values = dict[str, list[Any]]()
    for found in jax.jit(begun)():
        for name, value in found.items():
            values.setdefault(name, []).append(np.asarray(value).tolist())
    return {name: of if any(value != of[0] for value in of) else of[0] for name, of in values.items()}


def record_of_cell(name: str) -> dict[str, Any] | None:
    """The digest of a step of a user's own cell; None for a built-in one."""
    if not is_own(name):
        return None
    sizes = {"kernel_init": jax.nn.initializers.zeros, "param_dtype": jnp.float32}
    cell = CELLS[name](2, 2, **sizes, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(cell)
    step = _computes(lambda s, c, x: nnx.merge(graphdef, s)(c, x), state, fresh_carry(cell, 1), jnp.zeros((1, 2)))
    return {"cell": {"name": name, "computes": step}}


def refuse_other_cell(stored: dict[str, Any]) -> list[str]:
    """Compares the cell that a run was begun with and the one of that name now: see `refuse_other_parts`.

    Args:
      stored: the content of config.json.
    """
    now = record_of_cell(stored["config"].get("cell", ""))
    return refuse_other_parts(stored, "own_cell", now) if now else []


def _named(part: Any) -> dict[str, str]:
    # Without the module, which is __main__ where the same file is run as a program.
    return {"name": (part if hasattr(part, "__qualname__") else type(part)).__qualname__}


def _shape(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _computes(function: Callable, *args: Any) -> str:
    """A digest of the jaxpr of a function and its constants; without addresses, which each process has others of."""
    closed = jax.make_jaxpr(function)(*args)
    constants = [np.asarray(constant).tobytes() for constant in closed.consts]
    return _digest(re.sub(r" at 0x[0-9a-f]+", "", str(closed)), *constants)


def _digest(text: str, *more: bytes) -> str:
    return hashlib.sha256(b"\0".join([text.encode(), *more])).hexdigest()


def refuse_other_parts(stored: dict[str, Any], under: str, now: dict[str, Any] | None) -> list[str]:
    """Compares the parts that a run was begun with and those it is to go on with.

    Args:
      stored: the content of config.json.
      under: the name of its parts, if it has any.
      now: what the job has.

    Returns:
      Warnings.

    Raises:
      CheckpointError: with the parts that differ.
    """
    then = stored.get(under)
    if (then is None) != (now is None) or not isinstance(then, dict | None):
        how = "jaxrnn.fit" if then is not None else "jaxrnn train"
        raise CheckpointError(f"the run was begun by {how} with other parts; go on with it in the same way")
    differ = []
    for part, of in (now or {}).items():
        before = (then or {}).get(part)
        known = before if isinstance(before, dict) else {}
        differ += [
            f"{part}.{name}: then {str(known.get(name))[:40]}, now {str(value)[:40]}"
            for name, value in of.items()
            if known.get(name) != value and not (name in RECORDED_LATER and name not in known)
        ]
    # Another JAX may write any function otherwise. Runs before 2026-11-27 have the digest of the chosen engine's loop.
    model, other_jax = (then or {}).get("model"), stored["environment"]["versions"].get("jax") != jax.__version__
    chosen_engine = isinstance(model, dict) and "engine" not in model
    doubtful = ".computes" if other_jax else "model.computes"
    if differ and (other_jax or chosen_engine) and all(doubtful in line for line in differ):
        return ["another version writes the model's or the optimizer's steps otherwise: the bits may change"]
    if differ:
        raise CheckpointError(
            "the run was begun with other parts than those given now; give the same model, task, optimizer and "
            "validation, or another run",
            differ,
        )
    return []
