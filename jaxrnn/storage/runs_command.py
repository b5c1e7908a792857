"""The command `jaxrnn runs`: what lies below a directory, and two runs side by side. It loads no JAX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from jaxrnn.errors import EXIT_DONE
from jaxrnn.terminal.command import write_output

runs = App(name="runs", help="List runs, or compare two.")


@runs.default
def list_runs(
    directory: Path = Path("runs"), /, *, as_json: Annotated[bool, Parameter("--json", negative="")] = False
) -> int:
    """List the runs below a directory, members of sweeps too, the latest change first.

    Args:
      directory: where they are.
      as_json: a JSON list for programs, in place of a table.
    """
    from jaxrnn.storage.run_list import list_runs, table_of_runs

    found = list_runs(directory)
    if as_json:
        write_output(json.dumps([run.to_json() for run in found], indent=2) + "\n")
    else:
        write_output(table_of_runs(found) if found else f"no runs below {directory}\n")
    return EXIT_DONE


@runs.command
def compare(first: Path, second: Path, /, *, output: Path | None = None) -> int:
    """Show in which settings two runs differ, and what came of each.

    Args:
      first: a run directory.
      second: another.
      output: a picture of both learning curves, such as curves.png; none is made if not given.
    """
    from jaxrnn.storage.run_comparison import comparison, draw
    from jaxrnn.storage.run_list import read_run

    both = [read_run(first), read_run(second)]
    drawn = "" if output is None else f"\ncurves: {draw(both, output)}\n"
    write_output(comparison(both) + drawn)
    return EXIT_DONE
