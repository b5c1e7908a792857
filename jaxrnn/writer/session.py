"""What a model would write next to a text that is being typed: quick after each key, with no terminal in it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.data.vocabulary import code_points
from jaxrnn.decode.sampling import FREE, fresh_after, noise_scales, on_device
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.structure import model_with
from jaxrnn.models.symbols import symbols_of
from jaxrnn.random_streams import STREAM_SAMPLES, run_key, stream_key
from jaxrnn.terminal.printable import printable
from jaxrnn.trained.model import TrainedModel

READ = 64  # symbols read in one call, after which a newer request may come first
LONGEST = 32  # symbols of a suggestion
DRAWS = 16  # suggestions drawn side by side, to find other ones
MOST_STATES = 2048


class Suggestion(NamedTuple):
    """What may come next, up to the next whitespace.

    Attributes:
      text: whitespace that comes first, then a word, or what there is of it.
      probability: that the model gives to it, at temperature 1.
    """

    text: str
    probability: float


class _State(NamedTuple):
    """A model after some symbols: its carry, the last of them, and the logits (V,) of the next."""

    carry: Any
    last: Any
    logits: Any


@functools.partial(jax.jit, static_argnums=(0, 1))
def _read_and_write(graphdef, end, params, state, ids, count, kinds, key, draws, place, longest, scales):
    # Each step is by itself, so the numbers do not depend on how a text was cut into calls. The noise of a symbol goes
    # by the number of the draw and the symbol's place: who types what was suggested is suggested the rest of it.
    model, (is_blank, is_word) = model_with(graphdef, params), kinds

    def after(state, symbol):
        carry = fresh_after(end, state.last[None], state.carry, model)
        logits, carry = model(symbol[None, None], carry)
        return _State(carry, symbol, logits[0, 0])

    def read(t, loop):
        state, p = loop
        return after(state, ids[t]), p.at[t].set(jax.nn.softmax(state.logits)[ids[t]])

    def write(draw):
        own = jax.random.fold_in(key, draw)

        def goes_on(loop):
            return ~loop[1] & (loop[0] < longest)

        def step(loop):
            n, _, in_word, p, written, state = loop
            noise = jax.random.gumbel(jax.random.fold_in(own, place + n), state.logits.shape, state.logits.dtype)
            symbol = jnp.argmax(scales[0] * state.logits + scales[1] * noise).astype(jnp.int32)
            ended = in_word & is_blank[symbol]
            if end is not None:
                ended |= symbol == end
            p = jnp.where(ended, p, p * jax.nn.softmax(state.logits)[symbol])
            written = written.at[n].set(symbol)
            return jnp.where(ended, n, n + 1), ended, in_word | is_word[symbol], p, written, after(state, symbol)

        p, written = jnp.ones((), state.logits.dtype), jnp.zeros((LONGEST,), jnp.int32)
        n, _, _, p, written, _ = jax.lax.while_loop(goes_on, step, (0, False, False, p, written, state))
        return n, p, written

    state, p = jax.lax.fori_loop(0, count, read, (state, jnp.zeros((READ,), state.logits.dtype)))
    return state, p, jax.vmap(write)(draws)


class Session:
    """A model beside a text that grows and is erased again: what it would write next.

    The text is given whole each time. Only what differs from the last one is read: the carry is kept after each
    recent symbol and after every 64th before, so a key costs one step, and an erasure at most 64. Characters that the
    model does not know are left out of what it reads.

    The same text, temperature, draw and seed give the same suggestion, whatever was asked in between. At temperature 0
    it is what `TrainedModel.sample` writes after the text. Call it from one thread at a time.

    Args:
      trained: what `jaxrnn.open_run` gives.
      seed: the same seed gives the same suggestions.
      checkpoint: see `TrainedModel.params`.

    Raises:
      ConfigurationError: if it was not trained on a text, or its symbols are neither characters nor bytes.
      NumericError: if a parameter is not finite.
    """

    def __init__(self, trained: TrainedModel, *, seed: int = 0, checkpoint: str | None = None):
        self.vocabulary, self._end, self._dtype = trained.vocabulary, trained.document_end, trained.config.dtype
        symbols = self.vocabulary.symbols
        if any(len(symbol) != 1 for symbol in symbols):
            raise ConfigurationError(
                f"{printable(str(trained.path))} has symbols longer than one character, and a suggestion goes by "
                "characters; give a model of characters or bytes"
            )
        self._graphdef, params = trained.split(checkpoint)
        with numerics(self._dtype):
            self._params = on_device(params)
            model = model_with(self._graphdef, self._params)
            logits = jnp.zeros((symbols_of(model),), jax.tree.leaves(params)[0].dtype)
            # Before the first symbol any may come.
            self._states = {0: _State(model.initial_carry(1), jnp.asarray(FREE, jnp.int32), logits)}
            self._key = stream_key(run_key(seed), STREAM_SAMPLES)
        blank = np.array([symbol.isspace() for symbol in symbols])
        self._kinds = (blank, ~blank)
        self._ids, self._p, self._stride = np.zeros(0, np.int32), np.zeros(0), READ

    def prepare(self) -> None:
        """Compiles what the other methods call, so that the first key does not wait for it."""
        self.suggest("")
        self.alternatives("")

    def suggest(
        self, text: str, temperature: float = 1.0, draw: int = 0, stale: Callable[[], bool] = lambda: False
    ) -> Suggestion | None:
        """What the model would write next.

        Args:
          text: that stands before the cursor.
          temperature: 0 is greedy, 1 the model's own probabilities, higher is more random.
          draw: another number, another suggestion; perhaps of the same words.
          stale: asked now and then during a long reading; True gives it up, and what was read stays read.

        Returns:
          A suggestion, which may be empty; None if it was given up.
        """
        drawn = self._drawn(text, temperature, [draw], stale)
        return drawn[0] if drawn else None

    def alternatives(
        self, text: str, temperature: float = 1.0, draw: int = 0, stale: Callable[[], bool] = lambda: False
    ) -> dict[int, Suggestion] | None:
        """The different suggestions of 16 draws from this one on, in one batch, by the number of their draw."""
        drawn = self._drawn(text, temperature, range(draw, draw + DRAWS), stale)
        if drawn is None:
            return None
        first: dict[str, int] = {}
        for i, suggestion in enumerate(drawn):
            first.setdefault(suggestion.text, i)
        return {draw + i: drawn[i] for text, i in first.items() if text or i == 0}

    def known(self, text: str) -> np.ndarray:
        """Which characters of a text the model knows, (N,)."""
        return self._encoded(text)[2]

    def probabilities(self, text: str) -> np.ndarray:
        """What the model gave to each character, (N,), as far as they were read; NaN for the first and unknown ones."""
        ids, owner, known = self._encoded(text)
        read = _common(self._ids, ids)
        p = np.full(len(text), np.nan)
        p[owner[:read]] = 1.0
        np.multiply.at(p, owner[:read], self._p[:read])
        return p

    def _encoded(self, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # (ids of what is known, the character that each is of, which characters are known)
        if self.vocabulary.bytes_mode:
            codes = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
            owner = np.cumsum((codes & 0xC0) != 0x80) - 1
        else:
            codes, owner = code_points(text), np.arange(len(text))
        ids, known = self.vocabulary.look_up(codes), np.ones(len(text), bool)
        known[owner[ids < 0]] = False
        kept = known[owner]
        return ids[kept], owner[kept], known

    def _drawn(self, text: str, temperature: float, draws: Any, stale: Callable[[], bool]) -> list[Suggestion] | None:
        ids = self._encoded(text)[0]
        if not ids.size:
            ids = self.vocabulary.encode_prompt("", self._end).astype(np.int32)
        common = _common(self._ids, ids)
        self._states = {n: state for n, state in self._states.items() if n <= common}
        self._ids, self._p = ids, np.resize(self._p, len(ids))  # those beyond `at` are not read yet
        at = max(self._states)
        with numerics(self._dtype):
            scales = np.asarray(noise_scales(temperature), self._states[at].logits.dtype)
            draws = np.asarray(draws, np.uint32)
            while True:
                if stale():
                    self._ids, self._p = ids[:at], self._p[:at]
                    return None
                stop = min((at // READ + 1) * READ, len(ids))
                window = np.zeros(READ, np.int32)
                window[: stop - at] = ids[at:stop]
                longest = LONGEST if stop == len(ids) else 0
                state, p, written = _read_and_write(
                    self._graphdef, self._end, self._params, self._states[at], window, stop - at,
                    self._kinds, self._key, draws, len(ids), longest, scales,
                )  # fmt: skip
                self._keep(stop, state)
                self._p[at:stop] = np.asarray(p)[: stop - at]
                self._p[:1] = np.nan  # nothing stood before it
                at = stop
                if longest:
                    return [self._suggestion(*map(np.asarray, of)) for of in zip(*jax.device_get(written), strict=True)]

    def _keep(self, place: int, state: _State) -> None:
        self._states[place] = state
        while len(self._states) > MOST_STATES:
            self._stride *= 2
            self._states = {n: of for n, of in self._states.items() if n % self._stride == 0 or n == place}
        for n in [n for n in self._states if n % self._stride and n < place - 2 * READ]:
            del self._states[n]

    def _suggestion(self, count: np.ndarray, p: np.ndarray, written: np.ndarray) -> Suggestion:
        text = self.vocabulary.decode(written[:count])
        if self.vocabulary.bytes_mode:
            raw = text.encode("latin-1")
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:  # what the model wrote of a character is none, or not all of it
                text = raw[: error.start].decode("utf-8")
        found = re.match(r"\s*\S*", text)
        assert found is not None
        return Suggestion(found[0], float(p))


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """How many symbols two texts begin with alike."""
    shorter = min(len(a), len(b))
    differ = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(differ[0]) if differ.size else shorter
