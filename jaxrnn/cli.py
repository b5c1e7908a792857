"""The command line: `jaxrnn train | resume | sample | evaluate | inspect | plot | export | corpus | ...`.

Nothing here imports JAX until the arguments are known to be good: `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, Parameter

from jaxrnn.checks import parse_devices
from jaxrnn.config import CHANGEABLE, CHOICES, DEFAULT_TEXT, TrainConfig
from jaxrnn.devices.doctor_command import PLATFORM_NAMES, doctor
from jaxrnn.devices.joining import ALONE, Hosts
from jaxrnn.errors import EXIT_DONE
from jaxrnn.inspect.look import LOOK, Look
from jaxrnn.storage.runs_command import runs
from jaxrnn.tasks.presets import DEFAULT_PRESET, PRESETS, presets, read_settings, settings_of
from jaxrnn.terminal.command import EXIT_OF_STOP, run_app, whole_number, write_output
from jaxrnn.terminal.options import given_of
from jaxrnn.terminal.progress import Progress
from jaxrnn.training.options import with_settings

app = App(
    name="jaxrnn",
    help="Train recurrent networks on text, stop, resume to the last bit, and let them write.",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)


@app.command
@with_settings(lambda name: name != "text")
def train(
    *text: Annotated[str, Parameter(help=f"a file, several, a directory, - (stdin) or a known text; {DEFAULT_TEXT}")],
    run: Annotated[Path | None, Parameter(help="the run directory; if not given runs/TEXT-CELL-HIDDEN")] = None,
    preset: Annotated[
        str | None,
        Parameter(help=f"a recipe to begin with, see `jaxrnn presets`; {DEFAULT_PRESET} for a text, book for --task"),
    ] = None,
    config: Annotated[
        Path | None,
        Parameter(help="a TOML file of settings, or a run's config.json, over the preset and below options"),
    ] = None,
    init_from: Annotated[Path | None, Parameter(help="a run, or an exported model, to begin with")] = None,
    hosts: Annotated[Hosts, Parameter(name="*")] = ALONE,
    **options: Any,
) -> int:
    """Train on a text, or with --task on generated sequences. The same command again goes on where it stopped.

    The defaults shown are those of a text; the preset `book` and --task have others where one is named. A batch or
    window that nobody asked for, and that is too large for the text, is made smaller.
    """
    given = given_of(options) | ({"text": text} if text else {})
    _use_own(given.get("cell"))
    from_file = read_settings(config, TrainConfig.__dataclass_fields__) if config else {}
    if init_from is not None:
        from jaxrnn.training.init_from import structure_in

        given = structure_in(init_from, from_file) | given
    settings = TrainConfig(**settings_of(preset, from_file, given))
    corpus, note = None, None
    if settings.task == "text":
        from jaxrnn.data.corpus import load_corpus
        from jaxrnn.tasks.small_text import fit_to_text

        corpus = load_corpus(settings.text, settings.reading_options(), stream_from=settings.stream_from)
        fitted, note = fit_to_text(settings.to_json(), len(corpus), {*from_file, *given})
        settings = TrainConfig(**fitted)
    from jaxrnn.devices.environment import use_compile_cache
    from jaxrnn.devices.hosts import progress_here
    from jaxrnn.storage.run_directory import default_run_path
    from jaxrnn.training.run_devices import prepare_devices
    from jaxrnn.training.start import train as train_run

    use_compile_cache()
    prepare_devices(settings, run or default_run_path(settings, init_from), hosts)
    if note:
        progress_here().message(note)
    source = init_from and _opened(init_from, None)
    return EXIT_OF_STOP[train_run(settings, run, corpus=corpus, init_from=source).stopped]


TrainedPath = Annotated[Path, Parameter(help="the run directory, or a file of `jaxrnn export`.")]
Checkpoint = Annotated[str | None, Parameter(help="best (by its loss; if not given) or latest; a file holds one")]
# Of a run that was trained with a cell of its own: nothing that its files name is imported.
OwnCell = Annotated[str | None, Parameter(help="MODULE:CLASS, if it was trained with a cell of your own")]


def _use_own(cell: str | None) -> None:
    if cell is not None:
        from jaxrnn.tasks.users_cells import use_cell

        use_cell(cell)


def _opened(directory: Path, cell: str | None) -> Any:
    from jaxrnn.devices.environment import use_compile_cache
    from jaxrnn.run import open_run

    use_compile_cache()
    _use_own(cell)
    return open_run(directory)


@app.command
@with_settings(lambda name: name in CHANGEABLE)
def resume(
    directory: Path,
    /,
    *,
    devices: str = "auto",
    cell: OwnCell = None,
    hosts: Annotated[Hosts, Parameter(name="*")] = ALONE,
    **options: Any,
) -> int:
    """Go on with a run. --updates or --epochs set a new total; only totals and intervals may change.

    Args:
      devices: auto for as many as it was begun with, or another number, with which its bits are others.
    """
    number = parse_devices(devices)
    _use_own(cell)
    from jaxrnn.devices.environment import use_compile_cache
    from jaxrnn.training.run_devices import prepare_devices
    from jaxrnn.training.start import resume as resume_run

    use_compile_cache()
    prepare_devices(None, directory, hosts, number)
    return EXIT_OF_STOP[resume_run(directory, options, devices=number).stopped]


@app.command
def sample(
    directory: TrainedPath,
    /,
    *,
    length: Annotated[int, Parameter(converter=whole_number)] = 1000,
    temperature: float = 1.0,
    prime: str = "",
    seed: Annotated[int, Parameter(converter=whole_number)] = 0,
    checkpoint: Checkpoint = None,
    cell: OwnCell = None,
) -> int:
    """Let a trained model write.

    Args:
      length: how many characters to generate.
      temperature: 0 is greedy, 1 the model's own probabilities, higher is more random.
      prime: text that the model reads first; it is not printed again. Without it, it begins as after a line end.
      seed: the same seed gives the same text.
    """
    write_output("")  # a closed stdout is refused before the model is made
    for part in _opened(directory, cell).stream(
        length=length, temperature=temperature, prime=prime, seed=seed, checkpoint=checkpoint
    ):
        write_output(part, escape=False)
    if sys.stdout.isatty():
        write_output("\n")
    return EXIT_DONE


@app.command
def evaluate(directory: TrainedPath, text: str, /, *, checkpoint: Checkpoint = None, cell: OwnCell = None) -> int:
    """Score a trained model on a text: every character but the first once. Prints one JSON object.

    Args:
      text: a file, a directory, - (standard input) or a known text.
    """
    write_output("")  # a closed stdout is refused before anything is scored
    write_output(json.dumps(_opened(directory, cell).evaluate(text, checkpoint=checkpoint)) + "\n")
    return EXIT_DONE


@app.command
def inspect(
    directory: TrainedPath, /, *, look: Annotated[Look, Parameter(name="*")] = LOOK, cell: OwnCell = None
) -> int:
    """See inside a trained model: a text coloured by its probabilities, gates, and units that track the text."""
    if look.html is None:
        write_output("")  # a closed stdout is refused before anything is read
    opened = _opened(directory, cell)
    from jaxrnn.devices.numerics import numerics
    from jaxrnn.inspect.report_of_run import look_inside_run, show
    from jaxrnn.inspect.report_page import page
    from jaxrnn.storage.small_files import write_atomically

    with numerics(opened.config.dtype):
        inside = look_inside_run(opened, look, for_page=look.html is not None)
    if look.html is None:
        show(inside, beneath=look.beneath)
    else:
        write_atomically(look.html, page(inside, title=repr(opened), beneath=look.beneath))
        Progress().message(str(look.html))
    return EXIT_DONE


@app.command
def plot(directory: Path, /, *, output: Path | None = None, cell: OwnCell = None) -> int:
    """Draw the learning curve of a run.

    Args:
      directory: the run directory.
      output: the picture; DIR/plots/learning_curve.png if not given.
    """
    Progress().message(str(_opened(directory, cell).save_plot(output)))
    return EXIT_DONE


@app.command
def export(directory: Path, model: Path, /, *, checkpoint: str = "best", cell: OwnCell = None) -> int:
    """Write the model of a run as one file, which sample, evaluate and jaxrnn.open_run take in place of the run.

    It holds the parameters, the settings and the vocabulary, no text and no path of this machine. A file of that name
    is replaced if it is an earlier export of the same run; anything else of that name is refused.

    Args:
      directory: the run directory.
      model: the file, whose name ends in .safetensors.
      checkpoint: best (lowest smoothed loss) or latest.
    """
    Progress().message(str(_opened(directory, cell).export(model, checkpoint)))
    return EXIT_DONE


@app.command
@with_settings(lambda name: name in ("encoding", "newlines", "byte_order_mark", "bytes"))
def corpus(text: str = DEFAULT_TEXT, /, **options: Any) -> int:
    """Print the facts of a text: characters, lines, words, distinct and non-ASCII characters."""
    from jaxrnn.data.corpus import load_corpus
    from jaxrnn.data.facts import corpus_facts, format_facts

    config = TrainConfig(text=text, **given_of(options))
    write_output(format_facts(corpus_facts(load_corpus(config.text, config.reading_options()))) + "\n")
    return EXIT_DONE


app.command(presets)
app.command(runs)
app.command(doctor)


@app.command
def sweep(
    file: Path,
    /,
    *,
    run: Path | None = None,
    devices: str = "auto",
    hosts: Annotated[Hosts, Parameter(name="*")] = ALONE,
) -> int:
    """Train every combination of the values in a TOML file. The same command again goes on where it stopped.

    Args:
      file: settings of all runs in [base], also preset = "minute", and lists of values by name in [grid].
      run: the directory of all runs; runs/NAME-OF-FILE if not given.
      devices: how many devices share the work: auto or a number.
    """
    from jaxrnn.training.sweep_file import corpus_of, read_sweep, sweep_path

    configs, path, number = read_sweep(file), sweep_path(file, run), parse_devices(devices)
    corpus = corpus_of(configs)
    from jaxrnn.devices.environment import use_compile_cache
    from jaxrnn.devices.hosts import is_writer, progress_here
    from jaxrnn.devices.mesh import cores
    from jaxrnn.sweeps import Sweep

    use_compile_cache()
    hosts.join(number or cores() * (hosts.processes or 1))
    trained, progress = Sweep(path, record={"devices": number}), progress_here()
    progress.message(f"{len(configs):,} run{'' if len(configs) == 1 else 's'} in {path}")
    stopped = trained.train(configs, devices=number, corpus=corpus, progress=progress)
    if is_writer() and trained.rows_of(configs):
        write_output(trained.table(configs))
    progress.message(f"{stopped}: saved; the same command goes on" if stopped else f"more: jaxrnn runs {path}")
    return EXIT_OF_STOP[stopped]


@app.command
def completion(shell: str, /) -> int:
    """Print a script that completes commands, options and values in bash, zsh or fish: see the documentation."""
    from jaxrnn.terminal.completion import SHELLS, completion_script

    choices = CHOICES | {"preset": tuple(PRESETS), "platform": PLATFORM_NAMES, "shell": SHELLS}
    choices |= {"checkpoint": ("best", "latest"), "start": ("cold", "warm")}
    write_output(completion_script(app, shell, choices))
    return EXIT_DONE


def main() -> NoReturn:
    """The program `jaxrnn`."""
    # Imports and tracing make a million objects that stay; to look for garbage among them took a tenth of the start.
    gc.set_threshold(200_000, 20, 100)
    run_app(app)
