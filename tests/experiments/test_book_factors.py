"""The variants of the book's recipe differ in what they say they do."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.book_factors import trainer_of
from jaxrnn.data.corpus import Corpus, corpus_from_text
from jaxrnn.models import loss_nats

T, WINDOWS = 25, 3


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    return corpus_from_text("".join(rng.choice(list("abcd "), T * WINDOWS + 1)))


@pytest.mark.parametrize(
    ("variant", "update", "begins_anew"),
    [("reports", 1, False), ("reports", WINDOWS, True), ("kept", WINDOWS, False), ("anew", 1, True)],
)
def test_when_a_window_begins_with_a_carry_of_0(corpus: Corpus, variant: str, update: int, begins_anew: bool) -> None:
    trainer = trainer_of(variant, corpus, [3], epochs=2)
    trainer.advance(update)
    model = nnx.merge(trainer.graphdef, nnx.State(trainer.params()))
    # The next window: after the first epoch that of the text's beginning, or, where it goes on, the one symbol left.
    ids, first = (np.tile(corpus.ids, 2), update) if variant == "kept" else (corpus.ids, update % WINDOWS)
    window = jnp.asarray(ids[first * T :][: T + 1])
    outputs, _ = model(window[:-1, None], model.initial_carry(1))
    from_zero = float(loss_nats(outputs, window[1:, None]).mean())
    loss = float(trainer.advance(1)[0].loss[0])
    assert (abs(loss - from_zero) < 1e-5) == begins_anew


def test_only_the_unclipped_has_no_limit(corpus: Corpus) -> None:
    clipped = {
        variant: trainer_of(variant, corpus, [0]).settings.optimizer.settings.clips_value
        for variant in ("kept", "unclipped")
    }
    assert clipped == {"kept": True, "unclipped": False}
