"""The gradient tables: on the reports' window and on a text, and in JSON."""

import functools
import json

import numpy as np
import pytest

from experiments import gradient_check
from experiments.gradient_check import LITERAL, PUBLISHED, TABLES, compute_table
from experiments.tables.read import read_csv
from jaxrnn.data.corpus import corpus_from_text
from tests.thinned import thinned

SMALL = [table for table in TABLES if table.name in ("B", "C seed 40, first", "C seed 8, random")]
GROUPS = ["b", "c", "U", "W", "V"]


@functools.cache
def rows_of(table):
    return compute_table(table, "literal", corpus_from_text(LITERAL).ids, 78)


def committed(table):
    """The errors on the literal window in experiments/results, by kind of differences, in the order of `GROUPS`."""
    found: dict[str, list[float]] = {}
    for row in read_csv("gradient_tables"):
        if (row["text"], row["table"]) == ("literal", table.name):
            found.setdefault(row["differences"], []).append(row["error"])
    return found


def test_the_committed_table_has_what_the_reports_print():
    """Their numbers, as they print them, typed again here from the reports themselves: three or more digits."""
    printed = {
        "A": "6.5570e-10 7.2704e-10 3.7020e-10 4.2344e-10 4.3775e-10",
        "B": "1.31e-5 2.47e-5 7.12e-5 5.02e-4 5.02e-6",
        "C seed 40, first": "9.071e-11 4.965e-10 4.965e-10 4.831e-11 4.430e-11",
        "C seed 8, first": "6.251e-11 4.992e-10 6.965e-12 4.735e-11 4.565e-11",
        "C seed 40, random": "6.967e-11 5.018e-10 5.754e-12 4.080e-11 4.362e-11",
        "C seed 8, random": "1.108e-10 5.169e-10 7.082e-12 4.795e-11 4.287e-11",
    }
    found: dict[str, list[float]] = {}
    for row in read_csv("gradient_tables"):
        if row["text"] == "literal" and row["differences"] in ("central", "forward"):
            found.setdefault(row["table"], []).append(row["published"])
    assert found == {name: [float(f"{float(n):.1e}") for n in numbers.split()] for name, numbers in printed.items()}


def test_report_cs_tables_stand_under_their_own_captions():
    """Errors of the gradient of b in its Tables 1 to 4, and the seed and the window that each caption names."""
    captions = {9.1e-11: (40, False), 6.3e-11: (8, False), 7.0e-11: (40, True), 1.1e-10: (8, True)}
    of_c = [table for table in TABLES if table.name.startswith("C")]
    assert {PUBLISHED[table.name]["b"]: (table.seed, table.random_window) for table in of_c} == captions
    for table in of_c:
        assert table.name == f"C seed {table.seed}, {'random' if table.random_window else 'first'}"


@pytest.mark.parametrize("table", thinned(SMALL, {SMALL[0], SMALL[-1]}), ids=lambda table: table.name)
def test_errors_are_of_the_size_of_those_published(table):
    rows = rows_of(table)
    assert [row.group for row in rows] == GROUPS
    for row in rows:
        assert min(row.differences.values()) < 10 * row.published, row
        assert row.hand_derived < 1e-12
        assert row.misses == {m: e / row.published for m, e in row.differences.items() if e > row.published}
        assert table.name == "B" or "five-point" not in row.misses  # which meets every maximum of C


def test_the_committed_errors_come_again():
    """B errs by its step, so its numbers come again; C errs by rounding, so its size does."""
    for table in (SMALL[0], SMALL[-1]):
        for method, errors in committed(table).items():
            obtained = [row.differences[method] for row in rows_of(table)]
            if table.name == "B":
                np.testing.assert_allclose(obtained, errors, rtol=0.01)
            else:
                assert (np.abs(np.log10(np.array(obtained) / errors)) < 0.7).all()


def test_the_error_of_reports_bs_output_bias_is_that_of_the_formula():
    """At the start p = 1 / K for every symbol; L' = 25 p for one that is not read, and L'' = 25 p (1 - p).

    The difference errs by step L'' / 2, which is divided by twice L'.
    """
    (row,) = (row for row in rows_of(SMALL[0]) if row.group == "c")
    assert row.differences["forward"] == pytest.approx(1e-4 / 4 * (1 - 1 / 78), rel=1e-3)


def test_a_wrong_backward_pass_is_seen_in_its_own_row(monkeypatch):
    right = gradient_check.vanilla_loss_and_gradients
    wrong_by = {"b": 0.01, "b_y": 0.02, "W_x": 0.03, "W_h": 0.04, "W_y": 0.05}

    def wrong(*arguments):
        loss, gradients, h = right(*arguments)
        return loss, {name: (1 + wrong_by[name]) * gradient for name, gradient in gradients.items()}, h

    monkeypatch.setattr(gradient_check, "vanilla_loss_and_gradients", wrong)
    table = next(table for table in SMALL if table.measure == "max_relative")
    rows = compute_table(table, "literal", corpus_from_text(LITERAL).ids, 14)
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
