"""The commands that use a trained model: `jaxrnn sample | evaluate | inspect | plot`.

Nothing here imports JAX until the arguments are known to be good.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from jaxrnn.decode.request import ONE, Request
from jaxrnn.decode.settings import PLAIN, Decoding
from jaxrnn.errors import EXIT_DONE, ConfigurationError
from jaxrnn.inspect.look import LOOK, Look
from jaxrnn.scoring.adaptation import AS_IT_IS, Scoring
from jaxrnn.terminal.command import write_output
from jaxrnn.terminal.progress import Progress

TrainedPath = Annotated[Path, Parameter(help="the run directory, or a file of `jaxrnn export`.")]
Checkpoint = Annotated[
    str | None, Parameter(help="best (by its loss; if not given) or latest; a file holds one of them")
]
# Of a run that was trained with a cell of its own: nothing that its files name is imported.
OwnCell = Annotated[str | None, Parameter(help="MODULE:CLASS, if it was trained with a cell of your own")]


def use_own(cell: str | None) -> None:
    """Makes a cell of the user's own known by name, if there is one."""
    if cell is not None:
        from jaxrnn.tasks.users_cells import use_cell

        use_cell(cell)


def opened_of(directory: Path, cell: str | None) -> Any:
    """What lies there, opened: a run or a model in one file."""
    from jaxrnn.devices.environment import use_compile_cache
    from jaxrnn.trained.run import open_run

    use_compile_cache()
    use_own(cell)
    return open_run(directory)


def sample(
    directory: TrainedPath,
    /,
    *,
    request: Annotated[Request, Parameter(name="*")] = ONE,
    how: Annotated[Decoding, Parameter(name="*")] = PLAIN,
    checkpoint: Checkpoint = None,
    cell: OwnCell = None,
) -> int:
    """Let a trained model write."""
    if request.output is None:
        write_output("")  # a closed stdout is refused before the model is made
    from jaxrnn.storage.run_directory import check_output
    from jaxrnn.storage.small_files import write_atomically

    if (first := request.output_of(1)) is not None:
        check_output(first)  # before the model is made, too
    if request.samples > 1:
        from jaxrnn.devices.mesh import cores, use_cpu_devices

        with contextlib.suppress(ConfigurationError):  # JAX has started: with what it has, then
            use_cpu_devices(cores())
    request.answer(opened_of(directory, cell), how, checkpoint, write_atomically)
    return EXIT_DONE


def evaluate(
    directory: TrainedPath,
    text: str,
    /,
    *,
    scoring: Annotated[Scoring, Parameter(name="*")] = AS_IT_IS,
    checkpoint: Checkpoint = None,
    cell: OwnCell = None,
) -> int:
    """Score a trained model on a text: every character but the first once. Prints one JSON object.

    Args:
      text: a file, a directory, - (standard input) or a known text.
    """
    adaptation = scoring.adaptation()
    write_output("")  # a closed stdout is refused before anything is scored
    beside = [opened_of(other, cell) for other in scoring.ensemble]
    options = {"unknown": scoring.unknown, "adaptation": adaptation, "trained_on": scoring.adapt_text}
    numbers = opened_of(directory, cell).evaluate(text, checkpoint, beside=beside, **options)
    from jaxrnn.storage.logs import json_number

    as_json = {name: json_number(value) if isinstance(value, float) else value for name, value in numbers.items()}
    write_output(json.dumps(as_json, allow_nan=False) + "\n")
    return EXIT_DONE


def inspect(
    directory: TrainedPath, /, *, look: Annotated[Look, Parameter(name="*")] = LOOK, cell: OwnCell = None
) -> int:
    """See inside a trained model: a text coloured by its probabilities, gates, and units that track the text."""
    if look.html is None:
        write_output("")  # a closed stdout is refused before anything is read
    opened = opened_of(directory, cell)
    from jaxrnn.devices.numerics import numerics
    from jaxrnn.inspect.report_of_run import look_inside_run, show
    from jaxrnn.inspect.report_page import page
    from jaxrnn.storage.run_directory import check_output
    from jaxrnn.storage.small_files import write_atomically

    if look.html is not None:
        check_output(look.html)
    with numerics(opened.config.dtype):
        inside = look_inside_run(opened, look, for_page=look.html is not None)
    if look.html is None:
        show(inside, beneath=look.beneath)
    else:
        write_atomically(look.html, page(inside, title=repr(opened), beneath=look.beneath))
        Progress().message(str(look.html))
    return EXIT_DONE


def plot(directory: Path, /, *, output: Path | None = None, cell: OwnCell = None) -> int:
    """Draw the learning curve of a run.

    Args:
      directory: the run directory.
      output: the picture; DIR/plots/learning_curve.png if not given.
    """
    Progress().message(str(opened_of(directory, cell).save_plot(output)))
    return EXIT_DONE
