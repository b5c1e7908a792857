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


def test_a_wrong_backward_pass_is_not_reached(monkeypatch):
    right = gradient_check.vanilla_loss_and_gradients

    def wrong(*arguments):
        loss, gradients, h = right(*arguments)
        return loss, gradients | {"W_h": 1.001 * gradients["W_h"]}, h

    monkeypatch.setattr(gradient_check, "vanilla_loss_and_gradients", wrong)
    rows = compute_table(SMALL[0], "literal", corpus_from_text(LITERAL).ids, 78)
    assert [row.group for row in rows if row.hand_derived > 1e-4] == ["W"]


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
