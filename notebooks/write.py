"""Writes each notebook's .ipynb anew: runs its text form from top to bottom and keeps small outputs, no metadata.

Command: python notebooks/write.py
"""

from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def write(path: Path) -> None:
    """Runs one notebook and writes it beside its text form."""
    notebook = jupytext.read(path)
    NotebookClient(notebook, timeout=600).execute()
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    for number, cell in enumerate(notebook.cells):
        cell.metadata = {}
        cell["id"] = f"cell-{number}"
        for output in cell.get("outputs", ()):
            output.pop("metadata", None)
            if "data" in output:
                output.metadata = {}
    nbformat.validate(notebook)
    nbformat.write(notebook, path.with_suffix(".ipynb"))


if __name__ == "__main__":
    for text_form in sorted(FOLDER.glob("[0-9]*.py")):
        print(text_form.stem)
        write(text_form)
