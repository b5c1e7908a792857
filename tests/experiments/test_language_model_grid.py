"""The grid on a tiny text: every combination once, tables, and going on after a kill at any instant."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments.language_model_grid.__main__ import app
from experiments.language_model_grid.members import Recipe, member_rows
from experiments.language_model_grid.progress import GridProgress
from experiments.language_model_grid.results import identity
from experiments.language_model_grid.run import Grid
from jaxrnn import open_run
from jaxrnn.errors import ConfigurationError, DataError
from jaxrnn.storage.logs import read_samples
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.training import read_rows, sweeps
from jaxrnn.training.loop import Loop
from tests.thinned import thinned

TEXT = "Well, prince. So war and peace are now no more than estates. " * 12
RECIPE = Recipe(text="python-reference", characters=900, epochs=3, batch_size=4, bptt_length=5)
RATES = [0.01, 0.03]


def rows_of(recipe=RECIPE, cells=("lstm",), layers=(1,), sizes=(4,), rates=RATES, dropout=(0.0,), sites=("between",)):
    return member_rows(recipe, list(cells), list(layers), list(sizes), list(rates), list(dropout), list(sites), [0, 1])


def grid(directory, recipe=RECIPE, devices=1):
    return Grid(directory, recipe, devices, sample_length=10)


pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared_programs):
    """A grid of four members that was never stopped."""
    directory = tmp_path_factory.mktemp("grid")
    assert grid(directory).train(rows_of()) is None
    return directory


def test_every_member_is_in_the_results(finished):
    rows = read_rows(finished)
    assert sorted((row["learning_rate"], row["seed"]) for row in rows) == [(r, s) for r in RATES for s in (0, 1)]
    assert all(row["status"] == "finished" and row["epochs"] == 3 for row in rows)
    assert len({row["test_loss_nats"] for row in rows}) == 4
    assert len((finished / "results.csv").read_text().splitlines()) == 5
    assert "python-reference | 4 | lstm" in (finished / "table.md").read_text()
    (population,) = (finished / "populations").iterdir()
    history = [json.loads(line) for line in (population / "metrics.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["member"]) for row in history] == [(e, m) for e in (1, 2, 3) for m in range(4)]
    for row in rows:
        number = json.loads((population / "members.json").read_text())
        number = next(i for i, member in enumerate(number) if identity(member) == identity(row))
        best = min(history, key=lambda h: h["valid/loss_nats"] if h["member"] == number else np.inf)
        assert (row["best_epoch"], row["valid_loss_nats"]) == (best["epoch"], best["valid/loss_nats"])
    for row in rows:
        run = open_run(finished / "members" / row["member"])
        assert (run.config.learning_rate, run.config.seed) == (row["learning_rate"], row["seed"])
        assert [update for update, _, _ in read_samples(run.directory.samples_path)][-1] == int(run.state.update)
        assert len(run.sample(length=5)) == 5


class Killed(BaseException):
    """Stands for a kill: nothing below catches it."""


@pytest.mark.parametrize("rounds", thinned([1, 3], {1}))
def test_killed_and_started_again_gives_the_same_results(finished, tmp_path, monkeypatch, rounds):
    """Killed after so many rounds of saves."""
    save, left = Loop._save, [rounds]

    def counted(self, final=False):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        save(self, final)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_save", counted)
        patch.setattr("jaxrnn.training.loop.parse_interval", lambda text: (7, None))
        with pytest.raises(Killed):
            grid(tmp_path).train(rows_of())
    assert not read_rows(tmp_path)
    members = list((tmp_path / "members").iterdir())
    assert {int(open_run(member).state.update) for member in members} == {7 * rounds}
    assert grid(tmp_path).train(rows_of()) is None
    assert without_seconds(tmp_path) == without_seconds(finished)
    (mine,), (other,) = (list(d.glob("populations/*/metrics.jsonl")) for d in (tmp_path, finished))
    assert mine.read_text() == other.read_text()
    for member in members:
        assert (member / "samples.txt").read_text() == (finished / "members" / member.name / "samples.txt").read_text()


def without_seconds(directory):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(directory)]


def test_no_finished_member_runs_twice_and_new_ones_are_added(finished, tmp_path, monkeypatch):
    first = rows_of(rates=RATES[:1])
    assert grid(tmp_path).train(first) is None
    begun = []
    begin = GridProgress.begin

    def watched(self, name, group):
        begun.append(group)
        return begin(self, name, group)

    monkeypatch.setattr(GridProgress, "begin", watched)
    assert grid(tmp_path).train(rows_of()) is None
    assert [row["learning_rate"] for group in begun for row in group] == [RATES[1]] * 2
    assert grid(tmp_path).train(rows_of()) is None
    assert len(begun) == 1
    mine = {identity(row): row["test_loss_nats"] for row in read_rows(tmp_path)}
    assert mine == {identity(row): row["test_loss_nats"] for row in read_rows(finished)}


def test_a_stop_request_leaves_what_the_same_command_goes_on_with(finished, tmp_path, monkeypatch):
    asked = []

    class StopAfterSome(sweeps.StopRequest):
        @property
        def reason(self):
            asked.append(1)
            return "stopped" if 3 < len(asked) < 30 else None

        @reason.setter
        def reason(self, value):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(sweeps, "StopRequest", StopAfterSome)
        assert grid(tmp_path).train(rows_of()) == "stopped"
    assert not read_rows(tmp_path)
    assert grid(tmp_path).train(rows_of()) is None
    assert without_seconds(tmp_path) == without_seconds(finished)


def test_a_diverging_member_is_reported_and_leaves_the_others_to_the_bit_which_are_retrained_on_more(
    finished, tmp_path, capsys
):
    """The same program with a rate of 10 in the place of two members."""
    wild = rows_of(rates=[RATES[0], 10.0])
    assert grid(tmp_path).train(wild, retrain=True) is None
    rows = without_seconds(tmp_path)
    found = {(row["learning_rate"], row["seed"]): row for row in rows if not row["retrained"]}
    assert [found[10.0, seed]["status"] for seed in (0, 1)] == ["diverged"] * 2
    calm = {(row["learning_rate"], row["seed"]): row for row in without_seconds(finished)}
    for seed in (0, 1):
        assert found[RATES[0], seed] == calm[RATES[0], seed]
    again = {row["seed"]: row for row in rows if row["retrained"]}
    assert again and all(row["learning_rate"] == RATES[0] for row in again.values())
    for seed, row in again.items():
        assert row["epochs"] == found[RATES[0], seed]["best_epoch"]
        assert row["test_loss_nats"] != found[RATES[0], seed]["test_loss_nats"]
    assert "diverged" in capsys.readouterr().out
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert sum(",diverged," in line for line in lines) == 2 and "diverged" not in (tmp_path / "table.md").read_text()


def command(directory, *more):
    """The command line of the grid of `finished`."""
    options = ["--run", directory, "--text", RECIPE.text, "--characters", RECIPE.characters, "--epochs", RECIPE.epochs]
    options += ["--batch-size", RECIPE.batch_size, "--bptt-length", RECIPE.bptt_length, "--cells", "lstm"]
    options += ["--sizes", 4, "--seeds", 0, 1, "--sample-length", 10, "--devices", 1, *more]
    return [str(option) for option in options]


@pytest.mark.slow
def test_killed_at_random_instants_no_member_is_lost_or_trained_twice(tmp_path):
    """SIGKILL of the process itself: two populations, of two depths, saved after each call of the program."""
    generator = random.Random(7)
    code = "import jaxrnn.training.loop as p; p.parse_interval = lambda text: (5, None)\n"
    code += "from experiments.language_model_grid.__main__ import app; "
    code += "from jaxrnn.terminal.command import run_app; run_app(app)"
    words = ["--learning-rates", "0.01", "0.03", "--layers", "1", "2"]
    settings = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment = os.environ | settings | {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1", "XLA_FLAGS": ""}

    def start(directory):
        arguments = [sys.executable, "-c", code, *command(directory, *words)]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)

    process = start(tmp_path / "whole")
    out = process.communicate()[0]
    assert process.returncode == 0, out
    killed = 0
    for after in (0, 1, 2, 5):  # lines of output, then a random instant
        process = start(tmp_path / "killed")
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        time.sleep(generator.uniform(0, 0.3))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    done_before = len(read_rows(tmp_path / "killed"))
    process = start(tmp_path / "killed")
    out = process.communicate()[0]
    assert process.returncode == 0 and killed >= 3
    assert f"{done_before} done" in out
    assert without_seconds(tmp_path / "killed") == without_seconds(tmp_path / "whole")
    for path in [*(tmp_path / "whole").glob("populations/*/*.*"), *(tmp_path / "whole").glob("members/*/samples.txt")]:
        if path.name in ("metrics.jsonl", "samples.txt", "members.json"):
            other = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
            assert other.read_text() == path.read_text(), path
    assert not list((tmp_path / "killed").glob(".*.*")) and not list((tmp_path / "killed").glob("populations/*/.*"))


def test_the_linux_source_is_read_from_the_folder_of_texts_or_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "linux_input.txt").write_text("int main(void) { return 0; }\n" * 40)
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path))
    by_name = Grid(tmp_path / "run", dataclasses.replace(RECIPE, text="linux", characters=None, epochs=1), 1, 0)
    assert len(by_name.corpus) == 29 * 40
    by_path = Grid(tmp_path / "other", dataclasses.replace(RECIPE, text=str(tmp_path / "linux_input.txt")), 1)
    assert by_path.corpus.vocabulary.symbols == by_name.corpus.vocabulary.symbols
    monkeypatch.delenv("JAXRNN_DATA")
    monkeypatch.setattr("jaxrnn.data.known_texts.cache_folder", lambda of: tmp_path / "empty")
    with pytest.raises(DataError, match="linux is not downloaded, as no checksum of it is known; place linux_input"):
        Grid(tmp_path / "run", dataclasses.replace(RECIPE, text="linux"), 1)


@pytest.mark.slow
def test_the_linux_source_has_its_own_row(tmp_path, monkeypatch):
    (tmp_path / "linux_input.txt").write_text("int main(void) { return 0; }\n" * 40)
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path))
    rows = member_rows(Recipe(text="linux"), ["lstm"], [1], [4], [0.01], [0.0], ["between"], [0])
    by_name = Grid(tmp_path / "run", dataclasses.replace(RECIPE, text="linux", characters=None, epochs=1), 1, 0)
    assert by_name.train(rows) is None
    assert "| linux | 4 | lstm |" in (tmp_path / "run" / "table.md").read_text()


def test_figures_is_a_command(finished, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert exit_code_of(app, ["figures", str(finished), "--output", str(tmp_path / "figures")]) == 0
    said = capsys.readouterr().out
    assert (
        "seeds-python-reference-900.png" in said
        and "left out epochs-to-the-best-python-reference-900: needs an" in said
    )
    assert exit_code_of(app, ["figures", str(tmp_path), "--output", str(tmp_path / "figures")]) == 2
    assert "holds no grid; give the --run of one" in capsys.readouterr().err


def test_halving_stops_the_worse_half(tmp_path):
    recipe = dataclasses.replace(RECIPE, halving=True)
    assert grid(tmp_path, recipe).train(rows_of(recipe)) is None
    rows = sorted(read_rows(tmp_path), key=lambda row: row["valid_loss_nats"])
    assert sorted(row["status"] for row in rows) == ["finished"] * 2 + ["stopped"] * 2
    assert {row["epochs"] for row in rows if row["status"] == "stopped"} == {2}


def test_another_recipe_is_refused_in_the_same_directory(finished):
    with pytest.raises(ConfigurationError, match="another recipe.*epochs"):
        grid(finished, dataclasses.replace(RECIPE, epochs=4)).train(rows_of())
