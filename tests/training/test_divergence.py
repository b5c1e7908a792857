"""What is infinite is neither saved nor called intact, and a run that has learned nothing says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxrnn
from jaxrnn.errors import NumericError
from jaxrnn.storage.checkpoint import checkpoint_updates
from jaxrnn.terminal.progress import Progress
from jaxrnn.training.divergence import divergence_in_words, ruined_leaf, sound_checkpoint

pytestmark = pytest.mark.usefixtures("shared_programs")

TOO_LARGE = 2.5e38  # twice that is infinite


class Centre(nnx.Module):
    """A number for all sequences, whatever they are; its error has a gradient of two times the distance at most."""

    def __init__(self) -> None:
        self.W = nnx.Param(jnp.zeros((1,)))

    def initial_carry(self, batch_size: int) -> tuple:
        return ()

    def __call__(self, xs: Any, carry: tuple) -> tuple[Any, tuple]:
        return jnp.broadcast_to(self.W[...], (*xs.shape[:2], 1)), carry


def stream(target: Callable[[int], float]) -> jaxrnn.Stream:
    return jaxrnn.Stream(lambda update: (np.zeros((4, 2, 1)), np.full(4, target(update), np.float32)))


def fitted(target: Callable[[int], float], updates: int = 6, **changed: Any) -> Any:
    optimizer = jaxrnn.named_optimizer("sgd", TOO_LARGE)
    options: dict[str, Any] = {"checkpoint_every": "2", "log_every": 1, "progress": Progress(quiet=True)} | changed
    return jaxrnn.fit(lambda rngs: Centre(), stream(target), optimizer, updates=updates, **options)


def late(update: int) -> float:
    """An error of 1 at the fourth update, else of 0."""
    return float(update == 3)


def test_infinite_parameters_are_not_saved_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    said = r"leaf params\.W is not finite at update 4, so it is not saved; the checkpoint of update 2 is intact: lower"
    with pytest.raises(NumericError, match=said):
        fitted(late, run=tmp_path / "run")
    assert checkpoint_updates(tmp_path / "run" / "checkpoints") == [2]
    with pytest.raises(NumericError, match=r"leaf params\.W is not finite at update 5"):
        fitted(late, 5, checkpoint_every="90")  # in memory nothing is saved, but the end is looked at too


def test_a_member_that_becomes_infinite_has_diverged_and_the_others_go_on(tmp_path: Path) -> None:
    members = [{"learning_rate": TOO_LARGE}, {"learning_rate": 0.25}]
    for _ in range(2):  # once more it is trained from there, and ends in the same way
        result = fitted(late, 4, run=tmp_path, members=members)
        assert (result.ends, result.updates) == (["diverged", "finished"], [4, 4])
        assert [checkpoint_updates(path / "checkpoints") for path in result.directories] == [[2], [2, 4]]
    assert result.trainer.params(1)["W"] == 0.5


def test_a_run_of_which_no_update_was_good_has_diverged() -> None:
    """It ended as finished, with the parameters that it had begun with as the best."""
    with pytest.raises(NumericError, match="not finite for 3 updates up to update 3; no update was good: lower --init"):
        fitted(lambda update: 3e38, updates=3)
    result = fitted(lambda update: 3e38, 3, members=[{"seed": 0}, {"seed": 1}])
    assert result.ends == ["diverged", "diverged"]


def state_of(params: Any, optimizer_state: Any = (), update: int = 20, bad: int = 10) -> Any:
    parts = {"params": params, "best_params": params, "optimizer_state": optimizer_state}
    return SimpleNamespace(**parts, update=update, bad_in_a_row=bad, skipped=bad)


def test_the_leaf_is_named_and_what_an_optimizer_begins_with_is_none() -> None:
    good, bad = {"W": np.zeros(2, np.float32)}, {"W": np.array([0, -np.inf], np.float32)}
    assert ruined_leaf(state_of(good, {"sum": bad})) == "optimizer_state.sum.W"
    begun = optax.contrib.reduce_on_plateau().init(good)
    assert np.isinf(begun.best_value) and ruined_leaf(state_of(good, begun)) is None
    words = divergence_in_words(state_of(bad), np.nan, [])
    assert "for 10 updates up to update 20, and leaf params.W is not finite; lower --learning-rate" in words
    assert "leaf" not in divergence_in_words(state_of(good), np.inf, [])


@pytest.mark.parametrize(("saved", "sound"), [([], None), ([8, 12], 8), ([10, 12], None), ([6, 9], 9)])
def test_only_a_checkpoint_whose_next_update_was_good_is_intact(saved: list[int], sound: int | None) -> None:
    """Updates 11 to 20 were bad, so what update 10 made may be what ruined them."""
    state = state_of({"W": np.zeros(2, np.float32)})
    assert sound_checkpoint(state, saved) == sound
    words = divergence_in_words(state, np.nan, saved)
    assert "intact" not in words if sound is None else f"the checkpoint of update {sound} is intact" in words
