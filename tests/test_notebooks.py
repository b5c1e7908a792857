"""Notebooks: the text form is what is reviewed, the .ipynb beside it is that text with its outputs, and both run.

What a cell says when it is run anew is compared with what is committed: numbers to four significant digits, all else
as it stands; pictures by existence. Cells tagged `volatile` depend on training or on chance: by existence too.
"""

import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.py"))
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.(\d+))?(?:e([-+]?\d+))?")
NOTHING = 1e-9  # errors of rounding, whatever they are


def cells(notebook):
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


def said(cell):
    """The kinds of a cell's outputs, and their text; a picture has none. Warnings, on stderr, are not looked at."""
    kinds: list[object] = []
    texts: list[str] = []
    for output in cell.get("outputs", ()):
        if output.get("name") == "stderr":
            continue
        if output.output_type == "stream":
            if not kinds or kinds[-1] != output.name:  # one stream may come in several parts
                kinds.append(output.name)
            texts.append(output.text)
        else:
            kinds.append(tuple(sorted(output.get("data", ()))))
            texts += [] if "image/png" in output.get("data", ()) else [str(output.get("data", {}).get("text/plain"))]
    return kinds, "".join(texts)


def same_number(one, other):
    (a, decimals, exponent), b = (one.group(), one[1] or "", one[2]), other.group()
    if a == b:
        return True
    if exponent is None and len(decimals) < 2:  # counts, ranks and settings
        return False
    x, y = (float(text.replace(",", "")) for text in (a, b))
    last_digit = 10.0 ** (int(exponent or 0) - len(decimals))
    return abs(x - y) <= max(NOTHING, 1.001 * last_digit, 5e-4 * abs(x))


def same_text(one, other):
    """Whether two texts are equal but for the last digits of their numbers, and blanks that line these up."""
    between = [re.sub(r" +", " ", NUMBER.sub("0", text)) for text in (one, other)]
    found = list(NUMBER.finditer(one)), list(NUMBER.finditer(other))
    return between[0] == between[1] and all(same_number(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("loss 1.2345 nats", "loss 1.2346 nats", True),
        ("loss 1.2345 nats", "loss 1.2365 nats", False),
        ("loss 1.2345 nats", "less 1.2345 nats", False),
        ("unit 16", "unit 17", False),
        ("123,456 characters", "123,457 characters", False),
        ("0.0004 of all", "0.0005 of all", True),
        ("0.0004 of all", "0.0006 of all", False),
        ("norm 4.46e-33", "norm 4.47e-33", True),
        ("norm 4.46e-03", "norm 4.52e-03", False),
        ("differ by 2e-16", "differ by 4e-15", True),
        ("differ by 2e-04", "differ by 4e-04", False),
        ("x -0.50012", "x  0.50012", False),
    ],
)
def test_numbers_are_compared_to_four_digits(one, other, same):
    assert same_text(one, other) == same


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_its_text(path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert cells(notebook) == cells(jupytext.read(path)), f"write it anew: make notebooks ({path.stem})"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_holds_no_metadata_and_no_html(path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert cell.metadata in ({}, {"tags": ["volatile"]})
        for output in cell.get("outputs", ()):
            assert output.output_type != "error"
            assert set(output.get("data", ())) <= {"text/plain", "image/png"}
            assert "/tmp" not in str(output.get("text", "")) and "/home" not in str(output.get("text", ""))


@pytest.mark.slow  # `make check` runs it, `make test` does not: once in CI
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_says_what_is_committed_when_it_runs_from_top_to_bottom(path, tmp_path):
    notebook = jupytext.read(path)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    committed = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert any(cell.get("outputs") for cell in notebook.cells)
    for number, (now, then) in enumerate(zip(notebook.cells, committed.cells, strict=True)):
        (kinds_now, text_now), (kinds_then, text_then) = said(now), said(then)
        where = f"cell {number} of {path.stem}; if this is meant: make notebooks"
        assert kinds_now == kinds_then, where
        if "volatile" not in now.metadata.get("tags", ()) and not same_text(text_then, text_now):
            assert text_now == text_then, where  # shows how they differ
