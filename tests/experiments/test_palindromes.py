"""The palindromes on a tiny scale: rows, curves and pictures, going on after a kill, refusals, and the two claims."""

import csv
import dataclasses
import io
import re

import numpy as np
import pytest

from experiments.palindromes import __main__ as palindromes
from experiments.palindromes.figures import Curve, accuracies, curve_table, length_table, smoothed
from experiments.palindromes.parameters import count_table, gradient_through_each_step
from experiments.palindromes.recipe import Recipe, members
from experiments.palindromes.runs import PalindromeRuns, old_name
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.training.loop import Loop

UPDATES = 30
TINY = Recipe(updates=UPDATES, hidden=8, batch_size=4, stop_at_accuracy=0.0)
OPTIONS = ["--updates", str(UPDATES), "--hidden", "8", "--batch-size", "4", "--seeds", "2", "--devices", "2"]
LENGTHS = ["lengths", "--lengths", "3", "--cells", "vanilla", "lstm", "--stop-at-accuracy", "0", *OPTIONS]


pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    monkeypatch.setattr(palindromes, "use_compile_cache", lambda: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared_programs):
    """A directory of four members of two cells that was never stopped."""
    directory = tmp_path_factory.mktemp("lengths")
    runs = PalindromeRuns(directory, 2, io.StringIO())
    configs = members(TINY, ["vanilla", "lstm"], [3], 2)
    assert runs.train(configs) is None
    return runs, configs


def test_every_member_has_a_row_and_a_curve(finished):
    runs, configs = finished
    rows = runs.rows_of(configs)
    assert [(row["cell"], row["seed"]) for row in rows] == [("vanilla", 0), ("vanilla", 1), ("lstm", 0), ("lstm", 1)]
    with (runs.directory / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["valid_accuracy"]) for row in table] == [row["valid_accuracy"] for row in rows]
    for row in rows:
        curve = runs.curve(row)
        assert curve.loss.shape == curve.accuracy.shape == (UPDATES,) and (curve.loss > 0).all()
        assert row["recent_accuracy"] == pytest.approx(curve.accuracy.mean(), rel=1e-5)
        assert (row["status"], row["updates_done"]) == ("finished", UPDATES)
    assert len({tuple(runs.curve(row).loss) for row in rows}) == 4
    said = runs.stream.getvalue()
    assert "vanilla T 3 rmsprop: update 30/30, 0 of 2 run" in said and "in all" in said and "2 finished" in said


class Killed(BaseException):
    """Stands for a kill: nothing below catches it."""


def test_killed_and_started_again_gives_the_same_results(finished, tmp_path, monkeypatch):
    """Killed in the second population, after the first was recorded and some updates were saved."""
    whole, configs = finished
    save = Loop._save

    def counted(self, final=False):
        save(self, final)
        if self.jobs[0].config.cell == "lstm" and self.updates.max() > 11:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_save", counted)
        patch.setattr("jaxrnn.training.loop.parse_interval", lambda text: (12, None))
        with pytest.raises(Killed):
            PalindromeRuns(tmp_path, 2, io.StringIO()).train(configs)
    runs = PalindromeRuns(tmp_path, 2, io.StringIO())
    assert [row["cell"] for row in runs.rows()] == ["vanilla"] * 2
    begun = []
    begin = Loop.begin

    def watched(self):
        answer = begin(self)
        begun.append((self.jobs[0].config.cell, self.updates.tolist()))
        return answer

    monkeypatch.setattr(Loop, "begin", watched)
    assert runs.train(configs) is None
    assert begun == [("lstm", [12, 12])]  # the finished one did not run again, the other went on
    for mine, other in zip(runs.rows_of(configs), whole.rows_of(configs), strict=True):
        assert mine | {"seconds": 0} == other | {"seconds": 0}
        for a, b in zip(runs.curve(mine), whole.curve(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_command_adds_to_a_directory_and_draws(finished, capsys, monkeypatch):
    runs, _ = finished
    before = runs.rows()
    assert exit_code_of(palindromes.app, [*LENGTHS, "--run", str(runs.directory)]) == 0
    assert runs.rows() == before  # nothing was trained again
    assert (runs.directory / "lengths.png").stat().st_size > 5000
    said = capsys.readouterr().out
    assert said.count("| 3 | 0.001 | 2 |") == 2 and "| 0.00 | 0.00 |" in said
    monkeypatch.setattr(PalindromeRuns, "train", lambda self, configs: "interrupted")
    assert exit_code_of(palindromes.app, [*LENGTHS, "--run", str(runs.directory)]) == 130


@pytest.mark.slow
def test_the_other_commands_draw_curves(tmp_path, capsys):
    steps = ["steps", "--length", "3", "--cells", "vanilla", "--optimizers", "sgd", *OPTIONS]
    assert exit_code_of(palindromes.app, [*steps, "--run", str(tmp_path / "steps")]) == 0
    assert "| vanilla, sgd | " in capsys.readouterr().out and (tmp_path / "steps" / "steps.png").is_file()
    one_hot = ["one-hot", "--length", "3", "--cell", "vanilla", *OPTIONS]
    assert exit_code_of(palindromes.app, [*one_hot, "--run", str(tmp_path / "one-hot")]) == 0
    assert "| vanilla, T = 3 | " in capsys.readouterr().out and (tmp_path / "one-hot" / "one_hot.png").is_file()
    for row in PalindromeRuns(tmp_path / "one-hot", 2, io.StringIO()).rows():
        assert (
            row["input"] == "one-hot"
            and row["stop_at_accuracy"] == 0.995
            and row["parameters"] == 8 * (10 + 8 + 1) + 10 * 8 + 10
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lengths", "--cells", "lstn"], "--cells expects one of vanilla, .*did you mean lstm"),
        (["lengths", "--lengths", "3", "0"], "--lengths expects a whole number from 1"),
        (["lengths", "--lengths", "3", "1.5"], "^jaxrnn: error: --lengths expects a whole number; got '1.5'$"),
        (["lengths", "--learning-rate", "-1"], "--learning-rate expects a finite number of at least 0"),
        (["lengths", "--empty-cells"], "--cells and --lengths expect at least one"),
        (["lengths", "--init", "zeros"], "--init expects one of ours, deviation, variance"),
        (["steps", "--optimizers", "adagrad"], "--optimizers expects one of sgd, rmsprop, adam"),
        (["one-hot", "--pooling", "max"], "--pooling expects one of last, mean"),
        (["parameters", "--length", "0"], "--length expects a whole number from 1"),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, said, capsys, tmp_path):
    run = [] if arguments[0] == "parameters" else ["--run", str(tmp_path / "run")]
    assert exit_code_of(palindromes.app, [*arguments, *run]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(said, error)
    assert not (tmp_path / "run").exists()


def test_the_recipe_is_that_of_its_options():
    ours = Recipe(hidden=16, raise_rate=True).settings("lstm", 25, 3)
    assert (ours.init, ours.init_scale, ours.init_biases, ours.forget_bias) == ("uniform", 0.25, False, 1.0)
    assert ours.learning_rate == pytest.approx(1.5e-3) and ours.seed == 3 and ours.clip_value == 0
    assert (ours.clip_global_norm, ours.optimizer, ours.stop_at_accuracy) == (10.0, "rmsprop", 0.995)
    deviation, variance = (Recipe(init=name).settings("lstm", 5, 0) for name in ("deviation", "variance"))
    assert (deviation.init, deviation.init_scale, deviation.init_biases, deviation.forget_bias) == (
        "normal", 0.1, True, 0.0,
    )  # fmt: skip
    assert variance == dataclasses.replace(deviation, init_scale=0.1**0.5)
    assert Recipe(init="variance", init_scale=0.2, forget_bias=3.0).settings("lstm", 5, 0).forget_bias == 3.0
    Recipe(optimizer="adam", forget_bias=3.0).settings("gru", 5, 0)  # what a cell or a rule lacks is left out
    assert [(c.cell, c.sequence_length, c.seed) for c in members(TINY, ["gru", "lstm"], [9, 4], 1)] == [
        ("gru", 4, 0), ("lstm", 4, 0), ("gru", 9, 0), ("lstm", 9, 0),
    ]  # fmt: skip


def test_means_and_spreads_are_those_of_numpy():
    values = np.random.default_rng(0).random((3, 50))
    mean_of_7 = np.stack([np.convolve(row, np.ones(7) / 7)[:50] for row in values])
    np.testing.assert_allclose(smoothed(values, 7)[:, 6:], mean_of_7[:, 6:])
    np.testing.assert_allclose(smoothed(values, 99)[:, -1], values.mean(axis=1))
    short = Curve(np.ones(20), np.full(20, 0.75))
    padded = accuracies([Curve(values[0], values[0]), short])
    np.testing.assert_array_equal(padded, [values[0], np.full(50, 0.75)])
    good = [Curve(np.ones(50), np.linspace(0, 1, 50)), Curve(np.ones(50), np.ones(50))]
    assert "| good | 0.500 +- 0.707 | 1.000 +- 0.000 | 50 |" in curve_table({"good": good}, [1, 50], 1)
    row = {"cell": "gru", "sequence_length": 5, "learning_rate": 0.1, "status": "solved", "recent_accuracy": 1.0}
    rows = [row | {"valid_accuracy": 0.8}, row | {"valid_accuracy": 1.0, "status": "diverged"}]
    assert "| gru | 5 | 0.1 | 2 | 0.900 +- 0.141 | 1.000 +- 0.000 | 0.50 | 0.50 |" in length_table(rows)


@pytest.mark.parametrize("cell", ["lstm", pytest.param("vanilla", marks=pytest.mark.slow)])
def test_every_step_gives_to_the_recurrent_gradient_and_the_last_alone_to_the_projections(cell):
    parts = gradient_through_each_step(dataclasses.replace(TINY, hidden=6, batch_size=5), cell, 5)
    assert parts["error"] < 1e-4  # the parts add up to the whole gradient, in float32
    assert parts["W_h"][0] == 0 and (parts["W_h"][1:] > 0).all()  # h_0 is 0
    assert (parts["W_y"][:-1] == 0).all() and parts["W_y"][-1] > 0


def test_an_lstm_has_four_n_times_d_plus_n_plus_one_parameters():
    table = count_table(dataclasses.replace(TINY, input="one-hot"), 5)
    assert f"| lstm | 10 | 8 | {4 * 8 * 19} | 4 n (d + n + 1) | {4 * 8 * 19} |" in table
    assert "| vanilla | 10 | 8 | 152 | n (d + n + 1) | 152 |" in table


def test_other_members_had_another_directory():
    configs = members(TINY, ["lstm"], [3], 2)
    assert old_name(configs) != old_name(configs[:1])
    assert old_name(configs).startswith("lstm-T-3-rmsprop-")


def test_the_gradients_are_a_command():
    assert palindromes.app["gradients"] is palindromes.gradients
