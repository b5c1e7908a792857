"""The members of a grid: every combination once, the recipe of the report, and the sizes of one budget."""

import pytest

from experiments.language_model_grid.members import Recipe, settings_of, size_table, with_hidden_size
from experiments.language_model_grid.run import Grid, first_characters, group_name, groups_of
from jaxrnn.data.corpus import corpus_from_text, load_corpus
from jaxrnn.errors import ConfigurationError
from jaxrnn.training import Sweep
from tests.experiments.test_language_model_grid import RECIPE, rows_of

TEXT = "Well, prince. So war and peace are now no more than estates. " * 12


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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cells": ()}, "--cells expects at least one value"),
        ({"layers": (0,)}, "--layers expects a whole number from 1"),
        ({"sizes": (4, -1)}, "--sizes expects a whole number from 1"),
        ({"dropout": (1.5,)}, "--dropout-rates expects a number below 1"),
    ],
)
def test_values_that_make_no_member_are_refused(given, said):
    with pytest.raises(ConfigurationError, match=said):
        rows_of(**given)


def test_devices_that_cannot_share_a_batch_are_those_of_many_members_only(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Sweep, "train", lambda *_, devices, **__: asked.append(devices))
    for devices in (2, 3):
        grid = Grid(tmp_path, RECIPE, devices)
        assert grid.train(rows_of()) is None and grid.sweep.record["devices"] == devices
    assert RECIPE.batch_size % 3 and asked == [2, None]


def test_the_recipe_is_that_of_the_report():
    row = with_hidden_size(rows_of(Recipe(), cells=("gru-reset-before",), sizes=(64,), rates=[0.002])[0], 83)
    config = settings_of(row, Recipe())
    assert (config.batch_size, config.bptt_length, config.epochs) == (100, 100, 50)
    assert (config.init, config.init_scale, config.clip_value) == ("uniform", 0.08, 5.0)
    assert (config.optimizer, config.rmsprop_decay, config.epsilon_in_root) == ("rmsprop", 0.95, None)
    assert (config.decay_rate, config.decay_after_epochs, config.early_stopping) == (0.95, 10, "none")
    assert not config.cell_bias and config.loss_reduction == "mean"


def test_only_the_first_characters_are_read():
    corpus = corpus_from_text(TEXT)
    short = first_characters(corpus, 20)
    assert short.vocabulary.display_text(short.ids) == TEXT[:20]
    assert len(short.vocabulary) == len(set(TEXT[:20]))
    assert first_characters(corpus, 10**6) is corpus
    assert load_corpus("python-reference").digest != ""


def test_the_table_of_sizes_names_the_budget():
    with pytest.raises(ConfigurationError, match="--vocabulary-size expects a whole number from 1"):
        size_table(0)
    lines = size_table(83).splitlines()
    assert "43,283" in lines[2] and any(line.startswith("| lstm | 1 | 64: 43,283 (+0.00%)") for line in lines)
