"""The command line: `jaxrnn train | resume | sample | evaluate | inspect | plot | export | import | ...`.

Nothing here imports JAX until the arguments are known to be good: `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, Parameter

from jaxrnn.checks import parse_devices
from jaxrnn.config import CHOICES, DEFAULT_TEXT, TrainConfig
from jaxrnn.decode.settings import STARTS
from jaxrnn.devices.doctor_command import PLATFORM_NAMES, doctor
from jaxrnn.devices.joining import ALONE, Hosts
from jaxrnn.errors import EXIT_DONE
from jaxrnn.exchange.commands import FORMATS, export, import_model
from jaxrnn.storage.runs_command import runs
from jaxrnn.tasks.presets import DEFAULT_PRESET, PRESETS, presets, read_settings, settings_of
from jaxrnn.terminal.command import EXIT_OF_STOP, run_app, write_output
from jaxrnn.terminal.options import given_of
from jaxrnn.trained.commands import OwnCell, evaluate, inspect, opened_of, plot, sample, use_own
from jaxrnn.training.options import with_changeable, with_settings
from jaxrnn.writer.command import write

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
    run: Annotated[
        Path | None,
        Parameter(
            help="the run directory; if not given, runs/TEXT-CELL-HIDDEN (a task: TASK-LENGTH for TEXT), then xLAYERS "
            "above 1 and -from-SOURCE"
        ),
    ] = None,
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
    use_own(given.get("cell"))
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
    source = init_from and opened_of(init_from, None)
    return EXIT_OF_STOP[train_run(settings, run, corpus=corpus, init_from=source).stopped]


@app.command
@with_changeable
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
    use_own(cell)
    from jaxrnn.devices.environment import use_compile_cache
    from jaxrnn.training.run_devices import prepare_devices
    from jaxrnn.training.start import resume as resume_run

    use_compile_cache()
    prepare_devices(None, directory, hosts, number)
    return EXIT_OF_STOP[resume_run(directory, options, devices=number).stopped]


@app.command
@with_settings(lambda name: name in ("encoding", "newlines", "byte_order_mark", "bytes"))
def corpus(text: str = DEFAULT_TEXT, /, **options: Any) -> int:
    """Print the facts of a text: characters, lines, words, distinct and non-ASCII characters."""
    from jaxrnn.data.corpus import load_corpus
    from jaxrnn.data.facts import corpus_facts, format_facts

    config = TrainConfig(text=text, **given_of(options))
    write_output(format_facts(corpus_facts(load_corpus(config.text, config.reading_options()))) + "\n")
    return EXIT_DONE


_MORE: tuple[Any, ...] = (sample, write, evaluate, inspect, plot, export, presets, runs, doctor)
for command in _MORE:
    app.command(command)
app.command(import_model, name="import")


@app.command
def sweep(
    file: Path,
    /,
    *,
    run: Path | None = None,
    devices: str = "auto",
    cell: OwnCell = None,
    hosts: Annotated[Hosts, Parameter(name="*")] = ALONE,
) -> int:
    """Train every combination of the values in a TOML file. The same command again goes on where it stopped.

    Args:
      file: settings of all runs in [base], also preset = "minute", and lists of values by name in [grid].
      run: the directory of all runs; runs/NAME-OF-FILE if not given.
      devices: how many devices share the work: auto or a number.
    """
    use_own(cell)
    from jaxrnn.training.sweep_file import corpus_of, read_sweep, sweep_path

    configs, path, number = read_sweep(file), sweep_path(file, run), parse_devices(devices)
    corpus = corpus_of(configs)
    from jaxrnn.devices.environment import use_compile_cache, use_deterministic_ops
    from jaxrnn.devices.hosts import is_writer, progress_here, refuse_processes_that_differ
    from jaxrnn.devices.mesh import cores
    from jaxrnn.training import Sweep

    use_compile_cache()
    if any(config.deterministic for config in configs):
        use_deterministic_ops()
    hosts.join(number or cores() * (hosts.processes or 1))
    refuse_processes_that_differ({"the number of runs": len(configs)})
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
    choices |= {"checkpoint": ("best", "latest"), "start": ("warm", *STARTS), "format": FORMATS}
    write_output(completion_script(app, shell, choices))
    return EXIT_DONE


def main() -> NoReturn:
    """The program `jaxrnn`."""
    # Imports and tracing make a million objects that stay; to look for garbage among them took a tenth of the start.
    gc.set_threshold(200_000, 20, 100)
    run_app(app)
