"""One call for all engines, and the one place that chooses among them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.cudnn import unroll_cudnn, why_not_cudnn
from jaxrnn.engines.hoisted import unroll_hoisted
from jaxrnn.engines.output import WITH_OUTPUT
from jaxrnn.engines.platforms import members_at_once, platform
from jaxrnn.engines.recompute import unroll_recompute
from jaxrnn.engines.reference import unroll_reference
from jaxrnn.engines.resident import resident_pays, unroll_resident, why_not_resident
from jaxrnn.engines.scan import unroll_scan
from jaxrnn.engines.window import Window, make_window
from jaxrnn.errors import ConfigurationError

Engine = Callable[..., tuple[Carry, jax.Array]]
ENGINES: dict[str, Engine] = {
    "scan": unroll_scan,
    "hoisted": unroll_hoisted,
    "recompute": unroll_recompute,
    "resident": unroll_resident,
    WITH_OUTPUT: unroll_resident,
    "cudnn": unroll_cudnn,
    "reference": unroll_reference,
}


def is_reverse_only(engine: Any) -> bool:
    """Whether an engine by name has no forward mode. `auto` promises none; that of an engine of your own is its own."""
    return isinstance(engine, str) and engine not in ("scan", "reference")


class EngineChoice(NamedTuple):
    """The chosen engine and, for every other one, why it was not."""

    engine: str
    rejected: dict[str, str]


def unable(cell, window: Window | None = None, clip_backward: jax.Array | None = None) -> dict[str, str]:
    """The engines that cannot run a cell on the platform of now, and why; of a window too, where one is given."""
    if not isinstance(cell, Cell):
        why = f"{type(cell).__name__} is not a jaxrnn Cell: it has no `update` apart from its products"
        return {name: why for name in ENGINES if name != "reference"}
    not_resident = why_not_resident(cell, window)
    found: dict[str, str | None] = {
        "resident": not_resident,
        WITH_OUTPUT: not_resident or (platform().name != "gpu" and "it needs an NVIDIA GPU") or None,
        "cudnn": why_not_cudnn(cell, window, clip_backward),
    }
    if cell.inner_products:
        name = type(cell).__name__
        found["hoisted"] = f"the update of {name} makes products of its own, whose weights each pullback would hold"
    return {name: why for name, why in found.items() if why is not None}


def engines_of(cell) -> tuple[str, ...]:
    """The engines that can run a cell on the platform of now."""
    without = unable(cell)
    return tuple(name for name in ENGINES if name not in without)


def choose_engine(
    cell, batch_size: int, window: Window | None = None, clip_backward: jax.Array | None = None
) -> EngineChoice:
    """Chooses the engine for a cell by a fixed rule for each platform, never by a timing: a run repeats bit for bit.

    Args:
      cell: a `Cell`, or any other cell called as `cell(carry, x)`.
      batch_size: B.
      window, clip_backward: what `unroll` is given; without, what only some windows have is not looked at.

    Example:
      >>> import jax
      >>> from flax import nnx
      >>> from jaxrnn.cells import VanillaCell
      >>> choose_engine(VanillaCell(3, 4, rngs=nnx.Rngs(0)), batch_size=1).engine
      'hoisted'
    """
    without = unable(cell, window, clip_backward)
    preferred = _preferred(cell, batch_size)
    if "resident" in preferred and "resident" not in without and not resident_pays(cell, batch_size):
        without["resident"] = f"slower here: the programs of {batch_size} rows would fill the card more than twice"
    more = None if window is None else (window.resets, window.valid, window.recurrent_mask, clip_backward)
    if more is not None and any(array is not None for array in more):
        without.setdefault("resident", "not measured with resets, lengths, a recurrent mask or clip_backward")
    if members_at_once():
        without.setdefault("resident", "not measured with several members at once")
    engine = next(name for name in preferred if name not in without)
    return EngineChoice(engine, {name: without.get(name, _SLOWER[name]) for name in ENGINES if name != engine})


_SLOWER = {
    "scan": "slower or equal here, but has forward mode too",
    "hoisted": "slower here; it pays on a CPU, for cells that only add their products or from 512 hidden features on",
    "recompute": "slower here: it makes what it did not keep again, which pays where writing costs more than computing",
    "resident": "not measured to be faster here",
    WITH_OUTPUT: "off until it was run on a GPU; as `resident`, with a kernel for the output layer and its loss",
    "cudnn": "slower here: 2.61 ms an update of an LSTM of 128 units on an H100, 1.3 with `recompute`",
    "reference": "slower: it makes one-hot products and keeps every intermediate result",
}


def _preferred(cell, batch_size: int) -> tuple[str, ...]:
    if platform().engines:
        return (*platform().engines, "reference")
    # Two CPU cores, jax 0.10.2. Vanilla 100, batch 1, T 25: 94 us an update against 124 with `scan`. Batch and window
    # of 100: LSTM 1.04 times as fast at 128 and 256 hidden features, 1.08 at 512, three layers 1.04; GRU 0.97 at 128
    # and 1.03 at 512, since dp and dr are two arrays there.
    pays = isinstance(cell, Cell) and (batch_size == 1 or cell.sums_products or cell.hidden_features >= 512)
    return ("hoisted", "scan", "reference") if pays else ("scan", "reference")


def unroll(
    cell,
    xs: jax.Array | tuple[jax.Array, jax.Array],
    carry: Carry,
    *,
    engine: str | Engine = "auto",
    resets: jax.Array | None = None,
    fresh: Carry | None = None,
    lengths: jax.Array | None = None,
    times: jax.Array | None = None,
    input_scale: jax.Array | None = None,
    recurrent_mask: jax.Array | None = None,
    clip_backward: jax.Array | None = None,
) -> tuple[Carry, jax.Array]:
    """Applies a cell to a window of inputs, time-major.

    Args:
      cell: a `Cell`; or any other cell called as `cell(carry, x)`, such as Flax's, for features only.
      xs: ids of shape (T, B), any integer dtype, each below `cell.in_features`; or features of shape (T, B, F); or
        both as the pair (features, ids), which stands for features and one-hot ids side by side.
      carry: the carry before the first step.
      engine: a name of `ENGINES`, or "auto" for the one `choose_engine` names. All give the same values and gradients,
        to the order in which sums are taken. Or an engine of your own, a function called as those of `ENGINES` are,
        such as `jaxrnn.inspect.observing` makes. Forward mode has "scan", "reference" and what one of your own has.
      resets: true where a stream starts afresh: the carry before that step is `fresh`. Shape (T, B), bool.
      fresh: the carry of a fresh start, (B, ...) like `carry`; zeros if None.
      lengths: length of each sequence, (B,). From there on the carry stays as it is, resets or not, and outputs are 0.
      times: the time of each step, (T, B), for cells whose `update` uses it; its index in the window if None.
      input_scale: factor of the one-hot input at each step, (T, B): dropout of ids.
      recurrent_mask: factor of h_{t-1} in the recurrent products, (T, B, H), or (1, B, H) for one mask a window.
      clip_backward: limit of each entry of the gradients of p_t, r_t and a cell's inner products, applied at each step
        of the backward pass.

    Returns:
      The carry after the last step and the outputs, (T, B, H).

    Raises:
      ValueError: if the engine is unknown, or shapes do not fit.
      ConfigurationError: if the engine cannot run the cell. It is a ValueError too.
    """
    if not callable(engine) and engine not in ("auto", *ENGINES):
        raise ValueError(f"unroll expects an engine out of auto, {', '.join(ENGINES)}; got {engine!r}")
    window = make_window(cell, xs, carry, times, resets, lengths, input_scale, recurrent_mask)
    if callable(engine):
        return engine(cell, window, carry, fresh, clip_backward)
    if engine == "auto":
        engine = choose_engine(cell, jax.tree.leaves(carry)[0].shape[0], window, clip_backward).engine
    elif why := unable(cell, window, clip_backward).get(engine):
        raise ConfigurationError(f"unroll cannot use the engine {engine!r}: {why}; leave the engine out")
    if not isinstance(cell, Cell) and (recurrent_mask is not None or clip_backward is not None):
        raise ValueError(f"unroll cannot mask or clip inside {type(cell).__name__}: it is not a jaxrnn Cell")
    given = (window, carry, fresh, clip_backward)
    compiled = _compiled_for(engine, cell, given)
    return ENGINES[engine](cell, *given) if compiled is None else compiled(*given)


def _compiled_for(engine: str, cell, given: Any) -> Callable[..., Any] | None:
    # JAX compiles a loop anew at each call that is not itself inside `jit`: 0.3 s a layer, for a step by hand as well.
    # Compiled once by the cell's structure instead, where nothing but its parameters can play a part.
    if not isinstance(cell, nnx.Module) or _is_staged(given):
        return None
    split: Any = nnx.split(cell, nnx.Param, ...)
    graphdef, params, rest = split
    if jax.tree.leaves(rest) or _is_staged(params):
        return None
    try:
        hash(graphdef)
    except TypeError:  # an array among the cell's attributes
        return None
    return functools.partial(_unroll_compiled, engine, platform().name, graphdef, params)


def _is_staged(tree: Any) -> bool:
    # Whether an array has no value yet, inside of `jit` or `vmap`. A tracer of `jax.grad` alone holds one: its gradient
    # through the compiled loop is compiled once too.
    tracers = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.core.Tracer)]
    return any(getattr(leaf, "to_concrete_value", lambda: None)() is None for leaf in tracers)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _unroll_compiled(engine: str, platform_name: str, graphdef: Any, params: Any, *given: Any) -> Any:
    return ENGINES[engine](nnx.merge(graphdef, params), *given)
