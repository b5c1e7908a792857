"""The committed numbers are those of the tables, and the figures that are committed are drawn from them."""

import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from experiments import committed_figures  # noqa: E402

README = Path(__file__).parents[2] / "README.md"


def test_the_speeds_drawn_are_those_of_the_table():
    rows = re.findall(r"^\| (vanilla|LSTM|GRU) (\d+) x (\d) ((?:\| [\d.]+ )+)\|$", README.read_text(), re.MULTILINE)
    told = [[f"{c.lower()}-{h}-{n}", *map(float, numbers.split("|")[1:])] for c, h, n, numbers in rows]
    assert told == [list(row.values()) for row in committed_figures.read_csv("benchmark_cells")] and len(told) == 10


def test_every_figure_of_committed_numbers_is_one_that_is_committed(tmp_path):
    assert committed_figures.main(output=tmp_path) == 0
    drawn = sorted(tmp_path.iterdir())
    assert len(drawn) == 4 and all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert {path.name for path in drawn} <= {path.name for path in (committed_figures.HERE / "figures").iterdir()}
