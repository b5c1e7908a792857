"""The tables of the documentation are those of the committed numbers, byte for byte; its figures are drawn of them."""

import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from experiments.tables import __main__ as tables  # noqa: E402
from experiments.tables.figures import FIGURES  # noqa: E402
from experiments.tables.read import BLOCK, HERE, read_csv, with_tables  # noqa: E402

README = Path(__file__).parents[2] / "README.md"
WITHOUT_NUMBERS = {"grid_dropout_warpeace_128"}  # said in the header of experiments/tables


def test_the_tables_of_the_page_are_those_of_the_numbers(capsys):
    page = tables.PAGE.read_text("utf-8")
    assert sorted(name for _, name, _ in BLOCK.findall(page)) == sorted(tables.TABLES)
    assert with_tables(page, tables.TABLES) == page, "python -m experiments.tables"
    assert tables.main(check=True) == 0


def test_a_table_that_is_not_that_of_the_numbers_is_seen(tmp_path, monkeypatch, capsys):
    page = tmp_path / "README.md"
    page.write_text(
        tables.PAGE.read_text("utf-8").replace("| 100 | 0.150 +- 0.041 |", "| 100 | 0.151 +- 0.041 |"), "utf-8"
    )
    monkeypatch.setattr(tables, "PAGE", page)
    assert tables.main(check=True) == 1 and "differs from its numbers" in capsys.readouterr().err


def test_the_speeds_drawn_are_those_of_the_table():
    rows = re.findall(r"^\| (vanilla|LSTM|GRU) (\d+) x (\d) ((?:\| [\d.]+ )+)\|$", README.read_text(), re.MULTILINE)
    told = [[f"{c.lower()}-{h}-{n}", *map(float, numbers.split("|")[1:])] for c, h, n, numbers in rows]
    assert told == [list(row.values()) for row in read_csv("benchmark_cells")] and len(told) == 10


def test_the_speeds_of_the_book_recipe_are_those_of_the_table():
    rows = [
        [row["program"], f"{row['updates_per_second']:,}", f"{row['jaxrnn_is_faster_by'] or ''}"]
        for row in read_csv("benchmark_book")
    ]
    table = "".join("| " + " | ".join(row).rstrip() + " |\n" for row in rows)
    assert f"| | updates/s | jaxrnn is faster by |\n|---|---|---|\n{table}" in README.read_text("utf-8")


def test_every_figure_of_the_documentation_has_its_numbers_or_is_named():
    committed = {path.stem for path in (HERE / "figures").glob("*.png")}
    assert {*FIGURES} | WITHOUT_NUMBERS <= committed
    others = committed - {*FIGURES} - WITHOUT_NUMBERS
    assert all(name.startswith("inside_") for name in others)
    shown = set(re.findall(r"figures/(\w+)\.png", tables.PAGE.read_text("utf-8")))
    assert shown == committed - {"benchmark_cells"}
    assert all(name in (tables.__doc__ or "") for name in WITHOUT_NUMBERS)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("book_rnn_raw_loss", "grid_depth_warpeace_64") else pytest.mark.slow)
        for name in FIGURES
    ],
)
def test_each_figure_is_drawn_from_the_committed_numbers(tmp_path, name):
    FIGURES[name](tmp_path / f"{name}.png")
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
