"""Every experiment is one command, whose faults are one line as those of `jaxrnn` are."""

import re
from pathlib import Path

import pytest

from experiments.skip_connections import main
from jaxrnn.errors import ConfigurationError

FOLDER = Path(__file__).parent.parent.parent / "experiments"
COMMANDS = [*FOLDER.glob("*.py"), *FOLDER.glob("*/__main__.py")]


def test_a_fault_of_any_of_them_is_one_line() -> None:
    ends = {path: path.read_text("utf-8").partition('if __name__ == "__main__":')[2] for path in COMMANDS}
    started = {path: end for path, end in ends.items() if end}
    assert len(started) > 15
    assert not [path.name for path, end in started.items() if not re.search(r"^    run_app\(\w+\)$", end, re.M)]


@pytest.mark.parametrize(("given", "said"), [({"updates": [0]}, "above 0"), ({"seeds": 0}, "--seeds expects a whole")])
def test_skip_connections_of_no_update_or_seed_are_refused(given: dict, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        main(**given)
