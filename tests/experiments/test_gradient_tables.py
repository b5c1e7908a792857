"""The gradient tables: on the reports' window and on a text, and in JSON."""

import json

import numpy as np
import pytest

from experiments import gradient_check
from experiments.gradient_check import LITERAL, PUBLISHED, TABLES, compute_table
from jaxrnn.data.corpus import corpus_from_text

SMALL = [table for table in TABLES if table.hidden == 5]


@pytest.mark.parametrize("table", SMALL, ids=lambda table: table.name)
def test_published_maxima_are_reached(table):
    corpus = corpus_from_text(LITERAL)
    rows = compute_table(table, "literal", corpus.ids, 78)
    assert [row.group for row in rows] == ["b", "c", "U", "W", "V"]
    for row in rows:
        assert row.reached, row
        assert row.hand_derived < 1e-12
        assert row.published == PUBLISHED[table.name][row.group]


def test_a_wrong_backward_pass_is_seen_in_its_own_row(monkeypatch):
    right = gradient_check.vanilla_loss_and_gradients
    wrong_by = {"b": 0.01, "b_y": 0.02, "W_x": 0.03, "W_h": 0.04, "W_y": 0.05}

    def wrong(*arguments):
        loss, gradients, h = right(*arguments)
        return loss, {name: (1 + wrong_by[name]) * gradient for name, gradient in gradients.items()}, h

    monkeypatch.setattr(gradient_check, "vanilla_loss_and_gradients", wrong)
    table = next(table for table in SMALL if table.measure == "max_relative")
    rows = compute_table(table, "literal", corpus_from_text(LITERAL).ids, 14)
    assert not any(row.reached for row in rows)
    seen = {row.group: row.hand_derived for row in rows}
    names = {"b": "b", "c": "b_y", "U": "W_x", "W": "W_h", "V": "W_y"}
    assert seen == pytest.approx({group: wrong_by[n] / (2 + wrong_by[n]) for group, n in names.items()}, rel=1e-6)


def test_main_writes_every_row(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gradient_check, "TABLES", SMALL[:1])
    monkeypatch.setattr(gradient_check, "LITERAL_VOCABULARY_SIZE", 14)
    text = tmp_path / "text.txt"
    text.write_text("some words that are longer than one window of characters")
    gradient_check.main(text=str(text), json_file=tmp_path / "rows.json")
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["text"] for row in rows] == ["literal"] * 5 + [str(text)] * 5
    assert all(np.isfinite(list(row["differences"].values())).all() for row in rows)
    assert "hand-derived" in capsys.readouterr().out
