"""The README's examples of code run as they stand."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_cell_of_your_own_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = next(block for block in blocks if "class MyCell" in block)
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["ys"].shape == (25, 1, 100)


def test_every_command_of_the_readme_exists():
    from jaxrnn.cli import app

    named = set(re.findall(r"jaxrnn (\w+) ", README)) & set(re.findall(r"\.venv/bin/jaxrnn (\w+)", README))
    assert named and all(name in app for name in named)
