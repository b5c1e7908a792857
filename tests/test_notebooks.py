"""Notebooks: the text form is what is reviewed, the .ipynb beside it is that text with its outputs, and both run."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.py"))


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_its_text(path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert cells(notebook) == cells(jupytext.read(path)), f"write it anew: make notebooks ({path.stem})"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_holds_no_metadata_and_no_html(path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert not cell.metadata
        for output in cell.get("outputs", ()):
            assert output.output_type != "error"
            assert set(output.get("data", ())) <= {"text/plain", "image/png"}
            assert "/tmp" not in str(output.get("text", "")) and "/home" not in str(output.get("text", ""))


@pytest.mark.slow  # `make check` runs it
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs_from_top_to_bottom(path, tmp_path):
    notebook = jupytext.read(path)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any(cell.get("outputs") for cell in notebook.cells)
