"""How the pages are built: `make docs`. Warnings are errors.

Docstrings are plain text in Google's form. `as_rst` makes markup of it: indented formulas and code are literal blocks,
what stands in backticks is code, or a link where it is a public name, and no other character means anything.
"""

import dataclasses
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

from flax import nnx

import jaxrnn
from jaxrnn.cells.base import DEFAULT_KERNEL_INIT

project, author, release = "jaxrnn", "The jaxrnn developers", jaxrnn.__version__
project_copyright = author
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"jaxrnn {release}"
exclude_patterns = ["_build", "examples", "notebooks/*.py"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
autodoc_preserve_defaults = True
maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# The notebooks, with their outputs, are pages too; they lie outside this folder.
NOTEBOOKS = Path(__file__).parent / "notebooks"
shutil.copytree(NOTEBOOKS.parents[1] / "notebooks", NOTEBOOKS, dirs_exist_ok=True)

PUBLIC = {name: found for name in dir(jaxrnn) if not inspect.ismodule(found := getattr(jaxrnn, name))}

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example|Call|Source|References): *(.*)")


def as_rst(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Turns a docstring into what napoleon and reStructuredText understand, in place."""
    if of is jaxrnn.TrainConfig:
        lines += ["", "Attributes:"]
        lines += [f"  {f.name}: {f.metadata['help']}. Default {f.default!r}." for f in dataclasses.fields(of)]
    made: list[str] = []
    section = ""
    for block in re.split(r"\n{2,}", "\n".join(lines).strip("\n")):
        head = SECTION.match(block)
        if head:
            section, rest = head.groups()
            if rest:  # "Call: ..." is a paragraph; "Args: those of `Cell`, and" is one before its entries
                first, *others = block.split("\n  ", 1)
                made += [f"**{section}:** " + marked(first.removeprefix(section + ":").strip()), ""]
                block = "\n".join([section + ":", *("  " + other for other in others)])
                if not others:
                    continue
        elif not block.startswith(" "):
            section = ""
        if section == "Example" or not (section or not block.startswith(" ")):
            made += literal(block) if section != "Example" else example(block)
        else:
            made += [marked(block), ""]
    lines[:] = "\n".join(made).split("\n")


def literal(block: str) -> list[str]:
    return ["::", "", block, ""]


def example(block: str) -> list[str]:
    """Doctests as they are; other code, which is not run, as a literal block."""
    if ">>>" in block:
        return [block, ""]
    head, _, code = block.partition("Example:\n")
    return [*(["Example:"] if code else []), "  ::", "", *("  " + line for line in (code or head).split("\n")), ""]


def marked(text: str) -> str:
    """Prose: `x` as code or a link, everything else as plain characters."""
    public = {name: f":obj:`~jaxrnn.{name}`" for name in PUBLIC}
    parts = re.split(r"`([^`]+)`", text)
    # "B." alone would begin a list.
    parts[::2] = [re.sub(r"[*|\\]|_(?!\w)|(?<=\b\w)\.", r"\\\g<0>", part) for part in parts[::2]]
    parts[1::2] = ["\0" + public.get(code.removeprefix("jaxrnn."), f"``{code}``") + "\0" for code in parts[1::2]]
    return re.sub(r"(?<=\w)\0|\0(?=\w)", r"\\ ", "".join(parts)).replace("\0", "")


class Shown(str):
    """A default value as a signature shows it."""

    __repr__ = str.__str__


def signature_of(module: type) -> inspect.Signature:
    """That of `__init__`, which the metaclass of Flax's modules hides."""

    def shown(parameter: inspect.Parameter) -> inspect.Parameter:
        if parameter.default is DEFAULT_KERNEL_INIT:
            return parameter.replace(default=Shown("normal(0.01)"))
        return parameter.replace(default=Shown("float32")) if parameter.name == "param_dtype" else parameter

    made = inspect.signature(module.__init__)  # type: ignore[misc]
    return made.replace(parameters=[shown(parameter) for parameter in list(made.parameters.values())[1:]])


for found in PUBLIC.values():
    if isinstance(found, type) and issubclass(found, nnx.Module):
        found.__signature__ = signature_of(found)  # type: ignore[attr-defined]


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon
