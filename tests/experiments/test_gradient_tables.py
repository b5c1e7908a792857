"""The gradient tables: on the reports' window and on a text, and in JSON."""

import functools
import json
import re

import numpy as np
import pytest

from experiments import gradient_check
from experiments.gradient_check import LITERAL, PUBLISHED, TABLES, compute_table
from jaxrnn.data.corpus import corpus_from_text

SMALL = [table for table in TABLES if table.name in ("B", "C seed 40, first", "C seed 8, random")]
GROUPS = ["b", "c", "U", "W", "V"]


@functools.cache
def rows_of(table):
    return compute_table(table, "literal", corpus_from_text(LITERAL).ids, 78)


def printed():
    """The numbers in the program's docstring, by (report, what they are): one line of five each, of the literal text.

    Lines without a name belong to python-reference and are left out.
    """
    lines, report = {}, ""
    for line in gradient_check.__doc__.splitlines():
        found = re.match(r"  ([ABC ])  ([a-z-]+) +((?:[0-9.]+e-[0-9]+ +){4}[0-9.]+e-[0-9]+)", line)
        if found:
            report = found[1].strip() or report
            lines[report, found[2]] = [float(number) for number in found[3].split()]
    return lines


def test_the_published_numbers_are_those_of_the_printed_table():
    lines = printed()
    assert len(lines) == 6
    for report in ("A", "B", "C"):
        tables = [groups for name, groups in PUBLISHED.items() if name.split()[0] == report]
        assert len(tables) == {"A": 1, "B": 1, "C": 4}[report]
        assert [max(groups[group] for groups in tables) for group in GROUPS] == lines[report, "published"]


def test_report_cs_tables_stand_under_their_own_captions():
    """Errors of the gradient of b in its Tables 1 to 4, and the seed and the window that each caption names."""
    captions = {9.1e-11: (40, False), 6.3e-11: (8, False), 7.0e-11: (40, True), 1.1e-10: (8, True)}
    of_c = [table for table in TABLES if table.name.startswith("C")]
    assert {PUBLISHED[table.name]["b"]: (table.seed, table.random_window) for table in of_c} == captions
    for table in of_c:
        assert table.name == f"C seed {table.seed}, {'random' if table.random_window else 'first'}"


@pytest.mark.parametrize("table", SMALL, ids=lambda table: table.name)
def test_published_maxima_are_reached(table):
    rows = rows_of(table)
    assert [row.group for row in rows] == GROUPS
    for row in rows:
        # In the order of what was published, by the best differences; and the two ways of deriving are one.
        assert min(row.differences.values()) < 10 * row.published, row
        assert row.hand_derived < 1e-12
        assert row.reached


def test_obtained_numbers_are_those_of_the_printed_table():
    """B errs by its step, so its numbers come again, printed with two digits; C errs by rounding, so its size does."""
    lines, of_name = printed(), {table.name: rows_of(table) for table in SMALL}
    obtained = [row.differences["forward"] for row in of_name["B"]]
    np.testing.assert_allclose(obtained, lines["B", "forward"], rtol=0.05)
    windows = [rows for name, rows in of_name.items() if name.startswith("C")]
    largest = np.max([[row.differences["five-point"] for row in rows] for rows in windows], axis=0)
    assert (np.abs(np.log10(largest / lines["C", "five-point"])) < 0.5).all()


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
