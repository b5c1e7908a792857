"""Imports point one way (design, section 4), and importing jaxrnn costs nothing that is not needed."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "jaxrnn"

# From the bottom to the top; a name stands for a module or for a package with all in it. A module may import from its
# own level (without a circle) and from those below. A new module needs its place here.
LEVELS = [
    ["errors", "printable", "files_inside"],
    [
        "cells",
        "data",
        "loss",
        "numerics",
        "optimizer",
        "random_streams",
        "schedule",
        "clipping",
        "accumulation",
        "early_stopping",
        "config_checks",
        "task_settings",
        "contradictions",
        "gradient_check",
        "compile_cache",
        "environment",
        "stop_request",
        "small_files",
        "dropout",
        "sharding",
        "hosts",
    ],
    ["engines"],
    ["stack"],
    ["language_model", "model_size", "sequence_classifier"],
    ["config", "train_state", "tasks", "train_step", "metrics", "sample", "inspect"],
    [
        "memory",
        "train_job",
        "population",
        "population_data",
        "population_devices",
        "population_structure",
        "sequence_population",
        "run_devices",
        "checkpoint",
        "checkpoint_leaves",
        "orbax_quiet",
        "run_directory",
        "run_lock",
        "run_logs",
        "run_record",
        "record_checks",
        "metric_rows",
        "progress",
    ],
    ["plots"],  # numbers in, figures out: it knows of no run, so that a run can offer `plot()`
    ["validation", "population_host"],
    ["train_loop", "run", "population_run", "sequence_population_run"],
    ["cli", "command", "__init__", "__main__"],
]
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
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


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "jaxrnn.__init__"])
def test_no_import_points_back(name):
    own = LEVEL_OF[place(name)]
    back = {found for found in LIBRARY_IMPORTS[name] if LEVEL_OF[place(found)] > own}
    assert not back, f"{name} must not import {', '.join(sorted(back))}: they stand above it"


def test_no_imports_go_in_a_circle():
    inside = {name: {f for f in found if f in SOURCES and f != name} for name, found in LIBRARY_IMPORTS.items()}
    list(graphlib.TopologicalSorter(inside).static_order())  # raises CycleError with the circle


def test_the_arrows_are_really_read():
    """Guards the reader itself: imports of modules, of names, and inside functions."""
    assert "jaxrnn.cells.base" in LIBRARY_IMPORTS["jaxrnn.cells.vanilla"]
    assert {"jaxrnn.storage.checkpoint", "jaxrnn.plots"} <= LIBRARY_IMPORTS["jaxrnn.run"]
    assert "jaxrnn.training.loop" in LIBRARY_IMPORTS["jaxrnn.cli"]


@pytest.mark.parametrize("name", SOURCES)
def test_the_library_imports_no_experiment_and_no_test(name):
    assert not {found.split(".")[0] for found in imports(name)} & {"experiments", "tests", "notebooks", "pytest"}


def test_no_file_is_a_drawer_for_odds_and_ends():
    names = {path.stem for path in [*LIBRARY.rglob("*"), *(ROOT / "experiments").rglob("*")]}
    assert not names & FORBIDDEN_NAMES


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
    assert loaded_after("import jaxrnn.run, jaxrnn.training.loop, jaxrnn.cli", EXTRAS | {"jax"}) == {"jax"}


def test_no_public_name_is_a_module_too():
    """A name loaded when it is first used would be shadowed by a module of that name, depending on who came first."""
    import jaxrnn

    modules = {place(name) for name in SOURCES}
    assert not set(jaxrnn.__all__) & modules


def test_every_public_name_can_be_had():
    code = "import jaxrnn; print(*(type(getattr(jaxrnn, name)).__name__ for name in jaxrnn.__all__))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
