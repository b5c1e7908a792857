"""Let a model write several texts at once by the rules of a `Decoding`, until each has ended: one compiled loop."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from jaxrnn.decode.priming import first_symbols, read_windows
from jaxrnn.decode.rules import choose
from jaxrnn.decode.sampling import CHUNK, FREE, _sample_chunk, check_length, fresh_after, on_device
from jaxrnn.decode.settings import Decoding
from jaxrnn.decode.stops import BEGIN, END
from jaxrnn.models.structure import model_with
from jaxrnn.models.symbols import symbols_of

LONG_AGO = 2**31 - 1


class Texts(NamedTuple):
    """N texts in writing.

    Attributes:
      carry: of a batch of N.
      before, last: the symbol that was read last, and the one to be read next; (N,).
      place: of the automaton that looks for what ends a text, (N,).
      age: steps since each symbol was last seen, (N, V); None if nothing is penalised.
    """

    carry: Any
    before: jax.Array
    last: jax.Array
    place: jax.Array
    age: jax.Array | None


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _write_chunk(graphdef, document_end, devices, *given):
    write = functools.partial(_write_on_one, graphdef, document_end)
    if devices == 1:
        return write(*given)
    # A CPU device runs small steps on one core. Each has texts of its own here, and its own end of the loop.
    whole, split = PartitionSpec(), PartitionSpec("texts")
    mesh = Mesh(np.array(jax.local_devices()[:devices]), ("texts",))
    in_specs, out_specs = (
        (whole, split, split, whole, whole, whole, whole, whole),
        (split, PartitionSpec(None, "texts")),
    )
    return jax.shard_map(write, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)(*given)


def _write_on_one(graphdef, document_end, params, texts, keys, begin, end, number, values, table):
    model = model_with(graphdef, params)
    shape = (CHUNK, symbols_of(model))

    def of_one(key):  # as `_sample_chunk` draws it
        return jax.random.gumbel(jax.random.fold_in(key, number), shape, values["scales"].dtype)

    noise = jax.lax.map(of_one, keys)  # a text after the other: a quarter less time than all in one on a CPU

    def step(loop):
        t, texts, ids = loop
        carry = fresh_after(document_end, texts.before, texts.carry, model)
        logits, carry = model(texts.last[None], carry)
        drawn = choose(logits[0], noise[:, t], values, texts.age)
        place, age, shown = texts.place, texts.age, drawn
        if table is not None:
            shown = jnp.where(place == END, FREE, drawn)
            place = table[place, drawn]
        if age is not None:
            new = drawn[:, None] == jnp.arange(shape[1])[None, :]
            age = jnp.where(new, 0, jnp.minimum(age, LONG_AGO - 1) + 1)
        ids = jax.lax.dynamic_update_index_in_dim(ids, shown, t, 0)
        return t + 1, Texts(carry, texts.last, drawn, place, age), ids

    def goes_on(loop):
        return (loop[0] < end) & ((loop[1].place != END).any() if table is not None else True)

    ids = jnp.full((CHUNK, keys.shape[0]), FREE, jnp.int32)
    _, texts, ids = jax.lax.while_loop(goes_on, step, (begin, texts, ids))
    return texts, ids


def begun(
    graphdef: Any,
    params: Any,
    keys: jax.Array,
    prime: np.ndarray | None,
    document_end: int | None,
    start: str,
) -> tuple[Texts, jax.Array, int]:
    """N texts that have read all but the last symbol of a prime, once for all; keys to draw with; how many are read."""
    carry, before, read = read_windows(graphdef, params, prime, document_end, start)
    last, keys = first_symbols(symbols_of(model_with(graphdef, params)), keys)
    count = len(keys)
    if prime is not None and len(prime):
        rest = np.asarray(prime[read:], np.int32)
        if len(rest) > 1:
            forced = np.full((CHUNK,), FREE, np.int32)
            forced[: len(rest) - 1] = rest[1:]
            scales = jnp.zeros((2,), jax.tree.leaves(params)[0].dtype)
            of = (carry, before, jnp.asarray(rest[0]), forced, len(rest) - 1, keys[0], 0, scales)
            carry, before, *_ = _sample_chunk(graphdef, document_end, params, *of)
        last, read = jnp.full((count,), rest[-1], jnp.int32), len(prime) - 1
    carry = jax.tree.map(lambda c: jnp.broadcast_to(c, (count, *c.shape[1:])), carry)
    return Texts(carry, jnp.full((count,), before), last, jnp.full((count,), BEGIN, jnp.int32), None), keys, read


def write_ids(
    graphdef: nnx.GraphDef,
    params: dict,
    *,
    length: int,
    keys: jax.Array,
    decoding: Decoding,
    prime: np.ndarray | None = None,
    document_end: int | None = None,
    table: np.ndarray | None = None,
) -> Iterator[list[np.ndarray]]:
    """Generates the ids of N texts side by side, at most `CHUNK` at a time, until each has ended.

    Text k is the one that `sample_ids` writes with key k where no rule changes it, to the rounding of a product of
    several rows. The prime is read once. The texts are shared out over the devices where these divide their number.
    Other values of a rule compile nothing new; other rules do.

    Args:
      graphdef: structure of a `LanguageModel`, or another with ids in and logits out.
      params: its parameters.
      length: how many ids to generate at most.
      keys: (N,).
      decoding: the rules, without beams.
      prime: ids to read before generating.
      document_end: id after which the carry is that of a fresh start.
      table: what ends a text, see `stop_table`.

    Yields:
      N arrays of int32 ids; that which ends a text is its last.

    Raises:
      ConfigurationError: if the length is negative.
      NumericError: if a parameter is not finite.
    """
    length = check_length(length)
    dtype, count = jax.tree.leaves(params)[0].dtype, len(keys)
    params = on_device(params)
    texts, keys, done = begun(graphdef, params, keys, prime, document_end, decoding.start)
    if decoding.repetition_penalty is not None:
        age = np.full((symbols_of(model_with(graphdef, params)),), LONG_AGO, np.int32)
        if prime is not None:
            age[prime] = np.arange(len(prime))[::-1]  # of a symbol that is there again its last place stays
        texts = texts._replace(age=jnp.asarray(np.tile(age, (count, 1))))
    values = {name: jnp.asarray(value, dtype) for name, value in decoding.values().items()}
    total = done + length
    devices = max(n for n in range(1, jax.local_device_count() + 1) if count % n == 0)
    while done < total:
        number, begin = divmod(done, CHUNK)
        end = min(CHUNK, total - number * CHUNK)
        given = (params, texts, keys, begin, end, number, values, table)
        texts, ids = _write_chunk(graphdef, document_end, devices, *given)
        written = np.asarray(ids)[begin:end]
        yield [column[column >= 0] for column in written.T]
        if table is not None and bool(np.all(np.asarray(texts.place) == END)):
            return
        done = number * CHUNK + end
