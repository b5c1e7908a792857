"""Writes each notebook's .ipynb anew: runs its text form from top to bottom and keeps small outputs, no metadata.

A cell tagged `volatile` keeps its tag: what it says depends on training or on chance, and is not compared by the tests.

Command: python notebooks/write.py            all of them
         python notebooks/write.py 05 06      those whose names begin so
"""

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def write(path: Path) -> None:
    """Runs one notebook and writes it beside its text form."""
    notebook = jupytext.read(path)
    NotebookClient(notebook, timeout=600, coalesce_streams=True).execute()
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    for number, cell in enumerate(notebook.cells):
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        cell["id"] = f"cell-{number}"
        for output in cell.get("outputs", ()):
            output.pop("metadata", None)
            if "data" in output:
                output.metadata = {}
    nbformat.validate(notebook)
    nbformat.write(notebook, path.with_suffix(".ipynb"))


if __name__ == "__main__":
    for text_form in sorted(FOLDER.glob("[0-9]*.py")):
        if text_form.stem.startswith(tuple(sys.argv[1:]) or ""):
            print(text_form.stem)
            write(text_form)
