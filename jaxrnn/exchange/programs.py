"""Scorer and sampler of a model as compiled programs for other programs: StableHLO, serialized by `jax.export`.

The weights are arguments, under the names that they have in the model's file: one program serves every model of that
structure, and what was learned stays in a file that nobody has to trust.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.decode.sampling import FREE, fresh_after
from jaxrnn.devices.numerics import numerics
from jaxrnn.engines.platforms import tracing_for
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.structure import model_with
from jaxrnn.models.symbols import symbols_of
from jaxrnn.random_streams import STREAM_SAMPLES, run_key, stream_key
from jaxrnn.scoring.evaluation import read_window
from jaxrnn.storage.checkpoint_leaves import from_leaves, leaf_shapes
from jaxrnn.storage.files_inside import writing
from jaxrnn.storage.small_files import write_atomically
from jaxrnn.terminal.printable import printable
from jaxrnn.trained.model import TrainedModel
from jaxrnn.trained.run import Run

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
MODEL, SCORE, SAMPLE = "model.safetensors", "score.stablehlo", "sample.stablehlo"
State = dict[str, Any]  # of arrays


def export_programs(
    trained: TrainedModel,
    directory: str | Path,
    checkpoint: str | None = None,
    *,
    batch: int | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> Path:
    """Writes `model.safetensors`, `score.stablehlo` and `sample.stablehlo` into a directory; see `programs`.

    `jax.export.deserialize` reads the programs where there is JAX, without jaxrnn.

    Args:
      trained: of `jaxrnn.open_run`; a model of a text.
      directory: it is made. One that holds other files is refused.
      checkpoint: "best" or "latest"; what there is, best first, if None.
      batch: B; None for programs that take any.
      platforms: what both run on, out of cpu, cuda, rocm and tpu.

    Raises:
      ConfigurationError: if it was not trained on a text, a platform is unknown, flatbuffers is not installed, or the
        directory holds something else.
      StorageError: if it cannot be written.
    """
    directory = Path(directory)
    if unknown := [name for name in platforms if name not in PLATFORMS]:
        got = printable(repr(unknown[0]), keep="")
        raise ConfigurationError(f"--platforms expects names out of {', '.join(PLATFORMS)}; got {got}")
    if importlib.util.find_spec("flatbuffers") is None:
        raise ConfigurationError('--format stablehlo needs flatbuffers, not installed; pip install "jaxrnn[stablehlo]"')
    if os.path.lexists(directory) and not directory.is_dir():
        raise ConfigurationError(f"{printable(str(directory))} is no directory; give another name")
    if directory.is_dir() and (others := sorted(set(os.listdir(directory)) - {MODEL, SCORE, SAMPLE})):
        raise ConfigurationError(f"{printable(str(directory))} holds {printable(others[0])}; give a new directory")
    made = {name: program.serialize() for name, program in programs(trained, batch, platforms, checkpoint).items()}
    with writing(directory, "give another path", "made"):
        directory.mkdir(exist_ok=True)
    if isinstance(trained, Run):
        trained.export(directory / MODEL, checkpoint)
    else:
        write_atomically(directory / MODEL, trained.path.read_bytes())
    for name, data in made.items():
        write_atomically(directory / name, bytes(data))
    return directory


def programs(
    trained: TrainedModel, batch: int | None, platforms: Sequence[str], checkpoint: str | None = None
) -> dict[str, jax.export.Exported]:
    """Both programs by the names of their files.

    score(tensors, state, ids):
      tensors: all of the model's file, by name; state: `initial_carry.NAME` as NAME, a row for each of the B streams;
      ids, int32 (N, B): a text. Gives the state after ids[:-1], and the log-probabilities of ids[1:], (N - 1, B).

    sample(tensors, state, given, temperature, seeds, part):
      given, int32 (N, B): symbols that are read, and -1 where the model is to write; row 0 is always given.
      temperature: float32; seeds, uint32 (B,); part, int32: 0, then 1 and so on where a text is written in parts of
      1,024 symbols. Gives the state after all but the last row, and the rows, filled in. A stream has the text of
      `jaxrnn sample` with its seed.
    """
    vocabulary, end = trained.vocabulary, trained.document_end
    del vocabulary  # a model of no text is refused
    graphdef, shapes, file = trained.structure(checkpoint)
    with numerics(trained.config.dtype), tracing_for("cpu"), jax.default_matmul_precision("highest"):

        def model_of(tensors: State) -> Any:
            return model_with(graphdef, from_leaves(tensors, shapes, jnp.asarray))

        def carry_of(model: Any, state: State) -> Any:
            return from_leaves(state, jax.eval_shape(lambda: model.initial_carry(1)), jnp.asarray)

        def state_of(model: Any, carry: Any, last: jax.Array) -> State:
            # A stream whose document has ended begins the next one.
            return dict(zip(states, jax.tree.leaves(fresh_after(end, last, carry, model)), strict=True))

        def score(tensors: State, state: State, ids: jax.Array) -> tuple[State, jax.Array]:
            model = model_of(tensors)
            before = jnp.full_like(ids[0], FREE)  # that has ended no document which `state_of` has not seen
            logits, carry = read_window(model, end, carry_of(model, state), before, ids, engine="scan")
            log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), ids[1:, :, None], axis=-1)[:, :, 0]
            return state_of(model, carry, ids[-2]), log_p

        def sample(
            tensors: State, state: State, given: jax.Array, temperature: jax.Array, seeds: jax.Array, part: jax.Array
        ) -> tuple[State, jax.Array]:
            model = model_of(tensors)
            dtype = jax.tree.leaves(shapes)[0].dtype
            of_logits = jnp.where(temperature > 1, 1 / temperature, 1).astype(dtype)
            of_noise = jnp.minimum(temperature, 1).astype(dtype)

            def noise_of(seed: jax.Array) -> jax.Array:
                key = jax.random.split(stream_key(run_key(seed), STREAM_SAMPLES))[1]
                return jax.random.gumbel(jax.random.fold_in(key, part), (given.shape[0] - 1, symbols_of(model)), dtype)

            def step(loop: tuple[State, jax.Array], row: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
                (state, last), (forced, noise) = loop, row
                logits, carry = model(last[None], carry_of(model, state), engine="scan")
                drawn = jnp.argmax(of_logits * logits[0] + of_noise * noise, axis=-1).astype(jnp.int32)
                following = jnp.where(forced == FREE, drawn, forced)
                return (state_of(model, carry, last), following), following

            noise = jax.vmap(noise_of, out_axes=1)(seeds)
            (state, _), written = jax.lax.scan(step, (state, given[0]), (given[1:], noise))
            return state, jnp.concatenate([given[:1], written])

        own = leaf_shapes(shapes)
        states = {name.removeprefix("initial_carry."): of for name, of in file.items() if name not in own}
        N, B = jax.export.symbolic_shape(f"N, {batch or 'B'}", constraints=["N >= 2"])

        spec = jax.ShapeDtypeStruct
        tensors = {name: spec(shape, dtype) for name, (shape, dtype) in file.items()}
        state = {name: spec((B, *shape[1:]), dtype) for name, (shape, dtype) in states.items()}
        ids = spec((N, B), jnp.int32)
        sampled = (ids, spec((), jnp.float32), spec((B,), jnp.uint32), spec((), jnp.int32))

        def exported(program: Callable, *arguments: Any) -> jax.export.Exported:
            return jax.export.export(jax.jit(program), platforms=list(platforms))(tensors, state, *arguments)

        return {SCORE: exported(score, ids), SAMPLE: exported(sample, *sampled)}
