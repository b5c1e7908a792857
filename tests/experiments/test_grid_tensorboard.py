"""What TensorBoard reads is what metrics.jsonl holds, for every member, and after a kill too."""

import struct
import sys

import numpy as np
import pytest

from experiments.language_model_grid.__main__ import app
from experiments.language_model_grid.members import Recipe, member_rows
from experiments.language_model_grid.progress import GridProgress
from experiments.language_model_grid.run import Grid
from jaxrnn.storage.logs import read_metrics
from jaxrnn.terminal.command import exit_code_of

pytestmark = pytest.mark.usefixtures("shared_programs")
RECIPE = Recipe(text="python-reference", characters=900, epochs=3, batch_size=4, bptt_length=5)


def scalars_of(directory):
    """(tag, step, value) of each scalar in the event files: length, checksum, record, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(directory.glob("events.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            at += length + 16
    return sorted(found)


class Killed(BaseException):
    """Stands for a kill: nothing below catches it."""


@pytest.mark.parametrize("killed_at_epoch", [None, 3])
def test_event_files_hold_each_epoch_once(tmp_path, monkeypatch, killed_at_epoch):
    """Without a checkpoint a kill in the third epoch means that all three are trained again."""
    rows = member_rows(RECIPE, ["lstm"], [1], [4], [0.01, 0.03], [0.0], ["between"], [0])
    if killed_at_epoch:
        left = [killed_at_epoch]

        def tell(self, name, group, report):  # the epoch is in metrics.jsonl, and not in the event files
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(GridProgress, "epoch", tell)
            with pytest.raises(Killed):
                Grid(tmp_path, RECIPE, 1, 0, tensorboard=True).train(rows)
        (events,) = tmp_path.glob("tensorboard/*/member 0*")
        assert [step for _, step, _ in scalars_of(events)] == [1, 2] * 2
    assert Grid(tmp_path, RECIPE, 1, 0, tensorboard=True).train(rows) is None
    (population,) = (tmp_path / "populations").iterdir()
    history = read_metrics(population / "metrics.jsonl")
    directories = sorted((tmp_path / "tensorboard" / population.name).iterdir())
    assert [d.name for d in directories] == [
        f"member {n}, rate {rate} dropout 0 seed 0" for n, rate in enumerate((0.01, 0.03))
    ]
    for number, directory in enumerate(directories):
        expected = [
            (column, row["epoch"], float(np.float32(row[column])))
            for row in history
            if row["member"] == number
            for column in ("train/loss_nats", "valid/loss_nats")
        ]
        assert len(expected) == 6
        assert scalars_of(directory) == sorted(expected)


def test_without_the_package_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    options = ["--characters", str(RECIPE.characters), "--text", RECIPE.text, "--devices", "2", "--tensorboard"]
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "true")  # this process keeps its own settings
    assert exit_code_of(app, ["--run", str(tmp_path / "run"), *options]) == 2
    assert capsys.readouterr().err == (
        "jaxrnn: error: --tensorboard needs tensorboardX, which is not installed; pip install 'jaxrnn[tensorboard]'\n"
    )
    assert not (tmp_path / "run").exists()
