"""The grid on a tiny text: every combination once, tables, and going on after a kill at any instant."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import grid_run
from experiments.grid_members import Recipe, member_rows, settings_of, size_table, with_hidden_size
from experiments.grid_results import (
    PUBLISHED,
    add_results,
    best_by_validation,
    identity,
    published,
    rate_name,
    read_results,
    thesis_table,
)
from experiments.grid_run import Grid, first_characters, group_name, groups_of
from jaxrnn.data.corpus import corpus_from_text, load_corpus
from jaxrnn.errors import ConfigurationError
from jaxrnn.population_run import PopulationRun

TEXT = "Well, prince. So war and peace are now no more than estates. " * 12
RECIPE = Recipe(text="python-reference", characters=900, epochs=3, batch_size=4, bptt_length=5)
RATES = [0.01, 0.03]


def rows_of(recipe=RECIPE, cells=("lstm",), layers=(1,), sizes=(4,), rates=RATES, dropout=(0.0,), sites=("between",)):
    return member_rows(recipe, list(cells), list(layers), list(sizes), list(rates), list(dropout), list(sites), [0, 1])


def grid(directory, recipe=RECIPE, devices=1):
    return Grid(directory, recipe, devices, sample_length=10)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A grid of four members that was never stopped."""
    directory = tmp_path_factory.mktemp("grid")
    assert grid(directory).train(rows_of()) is None
    return directory


def test_every_member_is_in_the_results(finished):
    rows = read_results(finished)
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
    assert (population / "samples.txt").read_text().count("=== member") == 12


class Killed(BaseException):
    """Stands for a kill: nothing below catches it."""


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_killed_and_started_again_gives_the_same_results(finished, tmp_path, monkeypatch, calls):
    """Killed after so many calls of the compiled program, each of which was saved."""
    monkeypatch.setattr("jaxrnn.population_run.CHECKPOINT_SECONDS", 0)
    place, left = PopulationRun._place, [calls]

    def counted(self, *args):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return place(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(PopulationRun, "_place", counted)
        with pytest.raises(Killed):
            grid(tmp_path).train(rows_of())
    assert not read_results(tmp_path)
    started = []
    train = PopulationRun._train

    def watched(self, full):
        started.append(full)
        return train(self, full)

    monkeypatch.setattr(PopulationRun, "_train", watched)
    assert grid(tmp_path).train(rows_of()) is None
    assert started[0].train.update.sum() > 0  # it went on, and did not begin anew
    assert without_seconds(tmp_path) == without_seconds(finished)
    for name in ("metrics.jsonl", "samples.txt"):
        (mine,), (other,) = (list(d.glob(f"populations/*/{name}")) for d in (tmp_path, finished))
        assert mine.read_text() == other.read_text()


def without_seconds(directory):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_results(directory)]


def test_no_finished_member_runs_twice_and_new_ones_are_added(finished, tmp_path, monkeypatch):
    first = rows_of(rates=RATES[:1])
    assert grid(tmp_path).train(first) is None
    begun = []
    begin = Grid._train_group

    def watched(self, group, *rest):
        begun.append(group)
        return begin(self, group, *rest)

    monkeypatch.setattr(Grid, "_train_group", watched)
    assert grid(tmp_path).train(rows_of()) is None
    assert [row["learning_rate"] for group in begun for row in group] == [RATES[1]] * 2
    assert grid(tmp_path).train(rows_of()) is None
    assert len(begun) == 1
    mine = {identity(row): row["test_loss_nats"] for row in read_results(tmp_path)}
    assert mine == {identity(row): row["test_loss_nats"] for row in read_results(finished)}


def test_a_stop_request_leaves_what_the_same_command_goes_on_with(finished, tmp_path, monkeypatch):
    asked = []

    class StopAfterSome(grid_run.StopRequest):
        @property
        def reason(self):
            asked.append(1)
            return "stopped" if 3 < len(asked) < 30 else None

        @reason.setter
        def reason(self, value):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(grid_run, "StopRequest", StopAfterSome)
        assert grid(tmp_path).train(rows_of()) == "stopped"
    assert not read_results(tmp_path)
    assert grid(tmp_path).train(rows_of()) is None
    assert without_seconds(tmp_path) == without_seconds(finished)


def test_a_diverging_member_is_reported_and_the_rest_is_retrained_on_more(tmp_path, capsys):
    rows = [row for row in rows_of(rates=[0.01, 10.0]) if row["seed"] == 0]
    assert grid(tmp_path).train(rows, retrain=True) is None
    found = {(row["learning_rate"], row["retrained"]): row for row in read_results(tmp_path)}
    assert found[10.0, False]["status"] == "diverged" and found[0.01, False]["status"] == "finished"
    again = found[0.01, True]
    assert again["epochs"] == found[0.01, False]["best_epoch"]
    assert again["test_loss_nats"] != found[0.01, False]["test_loss_nats"]
    assert "diverged" in capsys.readouterr().out


def test_halving_stops_the_worse_half(tmp_path):
    recipe = dataclasses.replace(RECIPE, halving=True)
    assert grid(tmp_path, recipe).train(rows_of(recipe)) is None
    rows = sorted(read_results(tmp_path), key=lambda row: row["valid_loss_nats"])
    assert sorted(row["status"] for row in rows) == ["finished"] * 2 + ["stopped"] * 2
    assert {row["epochs"] for row in rows if row["status"] == "stopped"} == {2}


def test_another_recipe_is_refused_in_the_same_directory(finished):
    with pytest.raises(ConfigurationError, match="another recipe.*epochs"):
        grid(finished, dataclasses.replace(RECIPE, epochs=4)).train(rows_of())


def test_members_are_every_combination_once():
    rows = rows_of(layers=(2, 1), sizes=(8, 4), dropout=(0.0, 0.25))
    assert len(rows) == 2 * 2 * (1 + 2) * 2  # no site between the layers of one layer
    assert [row["size"] for row in rows] == sorted(row["size"] for row in rows)
    assert {row["dropout_sites"] for row in rows if row["dropout_rate"]} == {"between"}
    sized = [with_hidden_size(row, 20) for row in rows]
    groups = groups_of(sized, RECIPE)
    assert sorted(len(group) for group in groups) == [4] * 6
    assert len({group_name(group) for group in groups}) == 6
    with pytest.raises(ConfigurationError, match="did you mean lstm"):
        rows_of(cells=("lstn",))


def test_the_recipe_is_that_of_the_report():
    row = with_hidden_size(rows_of(Recipe(), cells=("gru-reset-before",), sizes=(64,), rates=[0.002])[0], 83)
    config = settings_of(row, Recipe())
    assert (config.batch_size, config.bptt_length, config.epochs) == (100, 100, 50)
    assert (config.init, config.init_scale, config.clip_value) == ("uniform", 0.08, 5.0)
    assert (config.optimizer, config.rmsprop_decay, config.epsilon_in_root) == ("rmsprop", 0.95, None)
    assert (config.decay_rate, config.decay_after_epochs, config.early_stopping) == (0.95, 10, "none")
    assert not config.cell_bias and config.loss_reduction == "mean"


def test_the_table_puts_published_numbers_beside_ours(tmp_path):
    row = with_hidden_size(rows_of(Recipe(), sizes=(64,), rates=[2 * 10**-2.5])[0], 83)
    came_out = {
        "status": "finished",
        "epochs": 50,
        "best_epoch": 49,
        "train_loss_nats": 1.3,
        "skipped": 0,
        "seconds": 1,
    }
    worse = row | came_out | {"valid_loss_nats": 1.45, "test_loss_nats": 1.40}
    better = row | came_out | {"seed": 1, "valid_loss_nats": 1.43, "test_loss_nats": 1.436}
    diverged = row | came_out | {"seed": 2, "status": "diverged", "valid_loss_nats": 1.0, "test_loss_nats": np.nan}
    add_results(tmp_path, [worse, better, diverged])
    rows = read_results(tmp_path)
    assert best_by_validation(rows)["warpeace", "lstm", 1, 64]["seed"] == 1  # by validation, not by test data
    assert "| 1.430 | 1.436 | +0.006 | 1.531 | -0.095 | 1.449 | -0.013 |" in thesis_table(rows)
    assert rate_name(2 * 10**-2.2) == "2e-2.2" and rate_name(0.005) is None
    assert published("warpeace", "gru-reset-before", 2, 512) == {
        "KJL": 1.201, "2e-2.2": 1.332, "2e-2.5": 1.219, "2e-3": 1.225,
    }  # fmt: skip
    assert all(len(losses) == 6 for text in PUBLISHED.values() for size in text.values() for losses in size.values())


def test_only_the_first_characters_are_read():
    corpus = corpus_from_text(TEXT)
    short = first_characters(corpus, 20)
    assert short.vocabulary.display_text(short.ids) == TEXT[:20]
    assert len(short.vocabulary) == len(set(TEXT[:20]))
    assert first_characters(corpus, 10**6) is corpus
    assert load_corpus("python-reference").digest != ""


def test_the_table_of_sizes_names_the_budget():
    lines = size_table(83).splitlines()
    assert "43,283" in lines[2] and any(line.startswith("| lstm | 1 | 64: 43,283 (+0.00%)") for line in lines)
