"""A cell that the command line names: trained, gone on with, sampled; imported only where it is named."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jaxrnn.cells import CELLS
from jaxrnn.cells.table import CELL_TABLE, cell_options
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.tasks.users_cells import use_cell
from jaxrnn.training.start import _say_how_it_ended

from .support import assert_refused, command, leaves_of, tiny_options, tiny_text

NAME = "cell_of_a_test:LeakyCell"
MODULE = """
import jax.numpy as jnp
import jaxrnn

class LeakyCell(jaxrnn.Cell):
    def __init__(self, in_features, hidden_features, **options):
        super().__init__(in_features, hidden_features, blocks=1, **options)

    def update(self, p, r, carry, pointwise, t):
        h = 0.5 * carry.h + 0.5 * jnp.FUNCTION(p + r)
        return jaxrnn.VanillaCarry(h), h

    def initial_carry(self, batch_size):
        return jaxrnn.VanillaCarry(jnp.zeros((batch_size, self.hidden_features)))
"""


@pytest.fixture
def forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this process know nothing of the cell, as another process would."""
    monkeypatch.chdir(tmp_path)

    def forget(function: str) -> None:
        Path("cell_of_a_test.py").write_text(MODULE.replace("FUNCTION", function))
        for table in (CELL_TABLE, CELLS, sys.modules):
            table.pop(NAME, None)
        sys.modules.pop("cell_of_a_test", None)

    yield forget
    forget("tanh")
    sys.path.remove(str(tmp_path))


def test_a_run_with_a_users_cell_goes_on_only_where_the_cell_is_named_again(forget: Any, capsys: Any) -> None:
    Path("text.txt").write_text(tiny_text())
    forget("tanh")
    options = {"sample_every": 0, "checkpoint_every": 5, "hidden": 4}
    train = ["train", "text.txt", "--cell", NAME]
    told = command(capsys, *train, *tiny_options(Path("whole"), updates=8, **options))
    assert told.code == 0
    assert f"jaxrnn sample whole --cell {NAME}    learning curve: jaxrnn plot whole --cell {NAME}\n" in told.out
    assert command(capsys, *train, *tiny_options(Path("run"), updates=5, **options)).code == 0
    forget("tanh")
    for arguments in (["resume", "run", "--updates", 8], ["sample", "run"], ["plot", "run"]):
        assert_refused(command(capsys, *arguments), 2, f"give --cell {NAME}")
    assert command(capsys, "resume", "run", "--updates", 8, "--cell", NAME).code == 0
    whole, resumed = leaves_of(Path("whole")), leaves_of(Path("run"))
    assert whole[0] == resumed[0] == 8
    for name, leaf in whole[1].items():
        np.testing.assert_array_equal(leaf, resumed[1][name])
    assert len(command(capsys, "sample", "run", "--length", 9, "--cell", NAME).out) == 9
    forget("sin")  # a cell that computes something else
    assert_refused(command(capsys, "resume", "run", "--updates", 9, "--cell", NAME), 4, "cell.computes")
    assert_refused(command(capsys, "sample", "run", "--cell", NAME), 4, "cell.computes")


@pytest.mark.parametrize(("cell", "named"), [(NAME, f" --cell {NAME}"), ("gru", "")])
def test_a_stopped_run_says_the_command_that_goes_on(tmp_path: Path, cell: str, named: str) -> None:
    said: list[str] = []
    job: Any = SimpleNamespace(config=SimpleNamespace(cell=cell), parts=None, task=SimpleNamespace(objective=None))
    loop: Any = SimpleNamespace(
        progress=SimpleNamespace(message=said.append, close=lambda: None),
        trainer=SimpleNamespace(glance=lambda: None),
        stop=SimpleNamespace(reason="interrupted"),
        updates=[7],
        ends=[None],
    )
    _say_how_it_ended(loop, job, RunDirectory(tmp_path))
    assert said == [f"interrupted: saved at update 7; go on with: jaxrnn resume {tmp_path}{named}"]


def test_what_is_no_cell_is_refused(forget: Any, capsys: Any) -> None:
    forget("tanh")
    for name, said in (("no_such_module:X", "imported"), ("cell_of_a_test:Other", "no class"), ("os.path:", "MODULE")):
        assert_refused(command(capsys, "train", "text.txt", "--cell", name), 2, said)
    Path("cell_of_a_test.py").write_text(MODULE.replace(", **options):", ", keys):"))
    sys.modules.pop("cell_of_a_test", None)
    takes = "is called as f(in_features, hidden_features, kernel_init=..., param_dtype=..., rngs=...); LeakyCell"
    assert_refused(command(capsys, "train", "text.txt", "--cell", NAME), 2, takes)
    forget("tanh")
    Path("settings.toml").write_text(f'cell = "{NAME}"\n')
    assert_refused(command(capsys, "train", "text.txt", "--config", "settings.toml"), 2, f"give --cell {NAME}")


def test_the_biases_that_a_users_cell_takes_are_its_options(forget: Any) -> None:
    """Flax's metaclass shows `(*args, **kwargs)` of every module: none of its biases was ever given."""
    forget("tanh")
    text = MODULE.replace("hidden_features, **options):", "hidden_features, *, forget_bias=0.0, **options):")
    Path("cell_of_a_test.py").write_text(text)
    use_cell(NAME)
    assert cell_options(NAME) == {"forget_bias", "use_bias"}
