"""What `train` calls when so many updates are done: at the right state, leaving no trace, again after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.terminal.progress import Progress
from jaxrnn.trained.run import open_run
from jaxrnn.training.callbacks import Callback
from jaxrnn.training.start import train
from jaxrnn.training.trainer import Trainer
from tests.trees import assert_trees_equal

pytestmark = pytest.mark.usefixtures("shared_programs")

CORPUS = corpus_from_text("abcd ba dc " * 40)
CONFIG = TrainConfig(hidden=4, bptt_length=5, updates=30, log_every=1, sample_every=13, checkpoint_every="10")


def trained(run: Path, *callbacks: Callback) -> None:
    train(CONFIG, run, Progress(quiet=True), CORPUS, callbacks=callbacks)


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "without"
    trained(run)
    return run


def test_points_are_called_at_their_updates_and_change_nothing(without: Path, tmp_path: Path) -> None:
    """A call that raises stands for a kill: the run goes on from update 10, and calls for 17 again but not for 7."""
    seen: list[tuple[int, int]] = []
    parameters: dict[int, Any] = {}

    def look(update: int, trainer: Trainer) -> None:
        seen.append((update, int(trainer.glance().update)))
        parameters[update] = jax.tree.map(np.asarray, trainer.params())

    def raises(update: int, trainer: Trainer) -> None:
        look(update, trainer)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", ([7, 30], look), ({17}, raises))
    assert int(open_run(tmp_path / "run").state.update) == 10
    trained(tmp_path / "run", ([7, 17, 40], look), (15, look))
    assert seen == [(update, update) for update in (7, 17, 15, 17, 30)]
    assert_trees_equal(open_run(tmp_path / "run").state, open_run(without).state)
    assert_trees_equal(parameters[30], open_run(without).params("latest"))
    assert not np.array_equal(parameters[7]["W_y"], parameters[17]["W_y"])
    rows = [open_run(run).metrics for run in (tmp_path / "run", without)]
    np.testing.assert_array_equal(rows[0]["train/smooth_loss_nats"], rows[1]["train/smooth_loss_nats"])
    samples = [(run / "samples.txt").read_bytes() for run in (tmp_path / "run", without)]
    assert samples[0] == samples[1]
