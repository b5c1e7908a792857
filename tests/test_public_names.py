"""The reference lists the public names; `dir` shows them and nothing else, and programs use nothing else."""

import ast
import importlib
import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest

import jaxrnn

ROOT = Path(__file__).parent.parent
PROGRAMS = sorted(
    path for folder in ("experiments", "notebooks", "docs/examples") for path in (ROOT / folder).rglob("*.py")
)
# Below the public names: what is measured or compiled by itself, or reads what older versions wrote. Nothing else is.
INNER = {
    "experiments/collect.py": {"jaxrnn.inspect.novelty.WORD"},  # words as they are written, capitals too
    "experiments/old_populations.py": {
        "jaxrnn.config.TrainConfig",
        "jaxrnn.devices.numerics.numerics",
        "jaxrnn.random_streams.run_key_from_data",
        "jaxrnn.storage.checkpoint.Reader",
        "jaxrnn.storage.checkpoint.load_latest",
        "jaxrnn.storage.run_directory.RunDirectory",
        "jaxrnn.training.formats.MAY_BE_NAN",
        "jaxrnn.training.formats.as_format_1",
        "jaxrnn.training.formats.from_format_1",
        "jaxrnn.training.job.TrainJob",
        "jaxrnn.training.job.state_template",
        "jaxrnn.training.report.metric_row",
        "jaxrnn.training.run_files.RunFiles",
        "jaxrnn.training.state.RECENT_UPDATES",
        "jaxrnn.training.state.TrainState",
        "jaxrnn.training.step.MAX_BAD_IN_A_ROW",
        "jaxrnn.training.step.SMOOTHING",
        "jaxrnn.training.values.traced_values",
    },
    "experiments/benchmark/cell_worker.py": {
        "jaxrnn.devices.mesh.automatic_devices",
    },
    "experiments/benchmark/compiled_program.py": {
        "jaxrnn.engines.platforms.PLATFORMS",
        "jaxrnn.engines.platforms.steps_a_turn",
        "jaxrnn.engines.platforms.tracing_for",
        "jaxrnn.training.job.model_structure",
        "jaxrnn.training.job.settings_of",
        "jaxrnn.training.job.template_of",
        "jaxrnn.training.chunk.train_chunk_of",
        "jaxrnn.training.members.lift",
    },
    "experiments/benchmark/large.py": {"jaxrnn.tasks.text"},  # the size of its blocks
    "experiments/benchmark/resident.py": {"jaxrnn.engines.resident.HOPPER"},
    "experiments/benchmark/resident_worker.py": {
        "jaxrnn.engines.resident_gpu.unroll_resident",
        "jaxrnn.engines.resident_gpu.backward.backward",
        "jaxrnn.engines.resident_gpu.forward.forward",
        "jaxrnn.engines.resident_gpu.program.Marks",
        "jaxrnn.engines.resident_gpu.settings.Setting",
        "jaxrnn.engines.resident_gpu.settings.Sizes",
        "jaxrnn.engines.resident_gpu.settings.best_setting",
        "jaxrnn.engines.resident_gpu.settings.floats",
    },
}
AT_THE_TOP = {name for name in dir(jaxrnn) if not inspect.ismodule(getattr(jaxrnn, name))}


def documented() -> dict[str, set[str]]:
    """The public names by module, as docs/reference.md lists them."""
    found = defaultdict(set)
    for name in re.findall(r"^\.\. (?:auto|py:)\w+:: ([\w.]+)", (ROOT / "docs/reference.md").read_text("utf-8"), re.M):
        module, _, last = name.rpartition(".")
        found[module].add(last)
    return dict(found)


REFERENCE = documented()
PUBLIC = {f"{module}.{name}" for module, names in REFERENCE.items() for name in names} | set(REFERENCE)


def imported(source: str) -> set[str]:
    """What a program imports from jaxrnn, anywhere in it, and what it uses as `jaxrnn.NAME`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("jaxrnn.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxrnn":
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"jaxrnn\.\w+", of := ast.unparse(node)):
            found.add(of)
    return found


def test_the_top_has_what_the_reference_lists() -> None:
    modules = {module.split(".")[1] for module in REFERENCE if module != "jaxrnn"}
    assert set(dir(jaxrnn)) == REFERENCE["jaxrnn"] | modules


@pytest.mark.parametrize("name", sorted(set(REFERENCE) - {"jaxrnn"}))
def test_a_module_has_what_the_reference_lists(name: str) -> None:
    module = importlib.import_module(name)
    missing = [of for of in REFERENCE[name] if not hasattr(module, of)]
    assert not missing
    if hasattr(module, "__path__"):  # a folder, whose stub says what is public
        assert set(dir(module)) - AT_THE_TOP == REFERENCE[name] - AT_THE_TOP


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_program_uses_public_names_only(path: Path) -> None:
    inner = imported(path.read_text("utf-8")) - PUBLIC
    assert inner == INNER.get(path.relative_to(ROOT).as_posix(), set())


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=lambda page: page.name)
def test_a_page_shows_public_names_only(page: Path) -> None:
    text = page.read_text("utf-8")
    shown = {name for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) for name in imported(block)}
    shown |= set(re.findall(r"`(jaxrnn\.(?:\w+\.)*\w+)(?:\(.*?\))?`", text))
    of_classes = {f"jaxrnn.{name}.{part}" for name in AT_THE_TOP for part in dir(getattr(jaxrnn, name))}
    no_names = {"jaxrnn.NAME", "jaxrnn.torch"}  # a key of a file's metadata
    assert not shown - PUBLIC - of_classes - no_names


def test_the_imports_are_really_read() -> None:
    source = "import jaxrnn.fit\ndef f():\n    from jaxrnn.cells import openness\n    jaxrnn.decode.x, jaxrnn.sweep(1)"
    assert imported(source) == {"jaxrnn.fit", "jaxrnn.cells.openness", "jaxrnn.decode", "jaxrnn.sweep"}
