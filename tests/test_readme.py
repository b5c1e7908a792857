"""What README and documentation say exists: links, commands, names, parameter counts."""

import re
from pathlib import Path

import pytest

import jaxrnn
from jaxrnn.cells.table import CELL_TABLE, parameter_count

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "experiments" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def heading_anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    for link in (link for link in links if "://" not in link):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in heading_anchors(target.read_text("utf-8")), f"{page.name}: {link}"


def test_every_command_that_is_shown_exists() -> None:
    from jaxrnn.cli import app

    shown = "".join(page.read_text("utf-8") for page in PAGES)
    named = set(re.findall(r"^    jaxrnn (\w+)", shown, re.MULTILINE))
    assert {"train", "resume", "sample", "evaluate", "plot"} <= named
    assert all(name in app for name in named)


def test_the_table_of_cells_is_that_of_the_code() -> None:
    """Names and parameter counts, for two sizes that no formula confuses."""
    page = (ROOT / "docs" / "cells.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| `(\w+)` \|.*\| `([\dFH+() ]+)` \|", page, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(CELL_TABLE)
    for name, cell, formula in rows:
        assert CELL_TABLE[name].cell_type == cell and hasattr(jaxrnn, cell)
        written_out = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", formula)
        assert eval(written_out, {"F": 5, "H": 7}) == parameter_count(name, 5, 7), formula
