"""Imports point one way, room by room, and importing jaxrnn costs nothing that is not needed."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY, EXPERIMENTS = ROOT / "jaxrnn", ROOT / "experiments"

# From the bottom to the top; a name stands for a room, which is a folder with all in it, or for a module beside them.
# A room imports from the rooms below and within itself, there without a circle; not from those of its own level. A new
# room needs its place here.
LEVELS = [
    ["errors", "cells", "optim"],
    ["terminal", "engines"],
    ["checks"],
    ["data", "models"],
    ["random_streams", "decode", "scoring"],
    ["tasks"],
    ["config", "inspect"],
    ["devices"],
    ["storage"],
    ["training"],
    ["trained"],
    ["exchange", "writer"],
    ["cli", "__init__"],
    ["__main__"],
]
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
MOST_AT_THE_TOP, LONGEST_FILE = 25, 300
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


SOURCES = {module_name(path): path for path in sorted(LIBRARY.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in SOURCES.items()}


def imports(name: str) -> set[str]:
    """Full names of what a module imports, at its top or inside a function; submodules where they are meant."""
    package = name if SOURCES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                found.add(inside if inside in SOURCES else base)
    return found


def place(name: str) -> str:
    """The entry of `LEVELS` that a module of the library belongs to."""
    return name.split(".")[1] if "." in name else "__init__"


LIBRARY_IMPORTS = {name: {found for found in imports(name) if found.split(".")[0] == "jaxrnn"} for name in SOURCES}


def test_every_module_has_a_place():
    assert {place(name) for name in SOURCES} - set(LEVEL_OF) == set()


@pytest.mark.parametrize("name", SOURCES)
def test_a_room_imports_only_from_rooms_below(name):
    own = place(name)
    beyond = {f for f in LIBRARY_IMPORTS[name] if place(f) != own and LEVEL_OF[place(f)] >= LEVEL_OF[own]}
    assert not beyond, f"{name} must not import {', '.join(sorted(beyond))}: its room, {own}, stands no higher"


def test_storage_knows_nothing_of_training():
    known = {name for name in SOURCES if place(name) == "storage"}
    while new := {f for name in known for f in LIBRARY_IMPORTS[name] if f in SOURCES} - known:
        known |= new
    assert len(known) > 10 and not [name for name in known if place(name) in ("training", "trained")]


def test_no_imports_go_in_a_circle():
    inside = {name: {f for f in found if f in SOURCES and f != name} for name, found in LIBRARY_IMPORTS.items()}
    list(graphlib.TopologicalSorter(inside).static_order())  # raises CycleError with the circle


def test_the_arrows_are_really_read():
    """Guards the reader itself: imports of modules, of names, and inside functions."""
    assert "jaxrnn.cells.base" in LIBRARY_IMPORTS["jaxrnn.cells.vanilla"]
    assert {"jaxrnn.storage.checkpoint", "jaxrnn.inspect.plots"} <= LIBRARY_IMPORTS["jaxrnn.trained.run"]
    assert "jaxrnn.training.start" in LIBRARY_IMPORTS["jaxrnn.cli"]


@pytest.mark.parametrize("name", SOURCES)
def test_the_library_imports_no_experiment_and_no_test(name):
    assert not {found.split(".")[0] for found in imports(name)} & {"experiments", "tests", "notebooks", "pytest"}


def test_no_file_is_a_drawer_for_odds_and_ends():
    names = {path.stem for path in [*LIBRARY.rglob("*"), *EXPERIMENTS.rglob("*")]}
    assert not names & FORBIDDEN_NAMES


def test_the_top_of_the_library_is_seen_at_a_glance():
    names = [path.name for path in LIBRARY.iterdir() if path.name != "__pycache__"]
    assert len(names) <= MOST_AT_THE_TOP, sorted(names)


def test_no_file_is_long():
    """A file is one idea."""
    lines = {
        path: path.read_text("utf-8").count("\n") for root in (LIBRARY, EXPERIMENTS) for path in root.rglob("*.py")
    }
    long = [path.relative_to(ROOT).as_posix() for path, count in lines.items() if count > LONGEST_FILE]
    assert len(lines) > 100 and not long, long


def exported(package: Path) -> set[str]:
    """The public names of a package: what its `__init__` defines or imports, and what its stub has loaded on use."""
    found = set()
    sources = [package / name for name in ("__init__.py", "__init__.pyi") if (package / name).exists()]
    for node in (node for source in sources for node in ast.walk(ast.parse(source.read_text("utf-8")))):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names if node.module}  # else they are modules
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
    return {name for name in found if not name.startswith("_")}


def test_no_public_name_of_a_package_is_a_module_too():
    """A name loaded when it is first used would be shadowed by a module of that name, depending on who came first."""
    packages = [path.parent for path in LIBRARY.rglob("__init__.py")]
    modules = {part for name in SOURCES for part in name.split(".")[1:]}
    assert {"vanilla", "checkpoint", "storage", "run"} <= modules
    assert {"train", "CELLS", "GRUCell"} <= exported(LIBRARY) and "openness" in exported(LIBRARY / "cells")
    shared = {name: package.name for package in packages for name in exported(package) & modules}
    assert not shared


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_unpickled_or_executed(name):
    assert not {found.split(".")[0] for found in imports(name)} & {"pickle", "cPickle", "marshal", "dill", "shelve"}
    called = {ast.unparse(node.func) for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)}
    assert not called & {"eval", "exec", "compile", "__import__"}
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("load", "save"):
            assert not any(k.arg == "allow_pickle" for k in node.keywords)


def loaded_after(statement: str, names: set[str]) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*(name for name in {sorted(names)!r} if name in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return set(result.stdout.split())


EXTRAS = {"matplotlib", "torch", "textual", "tensorboardX", "jupytext", "nbclient"}


def test_import_jaxrnn_loads_neither_jax_nor_an_extra():
    heavy = {"jax", "jaxlib", "flax", "optax", "orbax", "numpy"} | EXTRAS
    assert loaded_after("import jaxrnn", heavy) == set()


def test_opening_a_run_loads_no_extra():
    assert loaded_after("import jaxrnn.trained.run, jaxrnn.training.start, jaxrnn.cli", EXTRAS | {"jax"}) == {"jax"}


def test_every_public_name_can_be_had():
    code = "import jaxrnn; print(*(type(getattr(jaxrnn, name)).__name__ for name in jaxrnn.__all__))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
