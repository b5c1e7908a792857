"""The command `jaxrnn write`. Neither textual nor JAX is loaded before its arguments are known to be good."""

from __future__ import annotations

import codecs
import functools
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jaxrnn.decode.settings import noise_scales
from jaxrnn.errors import EXIT_INTERRUPTED, EXIT_STOPPED, ConfigurationError, DataError, StorageError
from jaxrnn.terminal.command import EXIT_UNEXPECTED, Count, Real, Switch
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.progress import Progress
from jaxrnn.trained.commands import Checkpoint, OwnCell, TrainedPath, opened_of

if TYPE_CHECKING:
    from jaxrnn.writer.app import Writer

FIRST_NAME = Path("written.txt")


def write(
    model: TrainedPath,
    /,
    *,
    text: Path | None = None,
    output: Path | None = None,
    temperature: Real = 1.0,
    seed: Count = 0,
    erase_all: Switch = False,
    checkpoint: Checkpoint = None,
    cell: OwnCell = None,
) -> int:
    """Write a text in the terminal, a model suggesting what comes next. Needs `pip install "jaxrnn[tui]"`.

    Tab accepts the suggestion, Right asks for another, Up and Down change the temperature, Ctrl-N lists several, Ctrl-P
    colours the text by the model's confidence, Ctrl-S saves, Ctrl-E leaves. Ctrl-C saves and leaves.

    Args:
      text: a file in UTF-8 to begin with.
      output: where the text is saved; written.txt, or written-2.txt and so on, if not given. A file that is there is
        asked about first.
      temperature: to begin with; 0 is greedy, 1 the model's own probabilities, higher is more random.
      seed: the same keys give the same suggestions.
      erase_all: Backspace erases past the last accepted suggestion too.
    """
    if importlib.util.find_spec("textual") is None:
        raise ConfigurationError('jaxrnn write needs textual, which is not installed; pip install "jaxrnn[tui]"')
    if not _at_a_terminal():
        raise ConfigurationError("jaxrnn write needs a terminal, got a file, a pipe or TERM=dumb; see jaxrnn sample")
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        shown = printable(str(output), keep="")
        raise StorageError(f"--output expects a file in a directory that is there, got {shown}; give another path")
    if output is not None:
        from jaxrnn.storage.run_directory import check_output

        check_output(output)
    noise_scales(temperature)  # refuses what is none
    begun = "" if text is None else _read(text)
    from jaxrnn.writer.app import Writer
    from jaxrnn.writer.session import Session
    from jaxrnn.writer.text_file import TextFile, free_name

    trained = opened_of(model, cell)
    session = Session(trained, seed=seed, checkpoint=checkpoint)
    file = TextFile(output or free_name(FIRST_NAME))
    app = Writer(session, repr(trained), file, text=begun, temperature=temperature, erase_all=erase_all)
    return run_writer(app)


def run_writer(app: Writer) -> int:
    """Runs the app until it is left, in whatever way, with its text saved."""
    import asyncio

    from textual.drivers import linux_driver

    # What is no UTF-8, as a terminal of another encoding sends it, is shown so, and ends nothing.
    decoder = functools.partial(codecs.getincrementaldecoder("utf-8"), "replace")
    linux_driver.getincrementaldecoder = lambda encoding: decoder

    codes = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_STOPPED, signal.SIGHUP: EXIT_STOPPED}

    async def run() -> int | None:
        for number, code in codes.items():
            asyncio.get_running_loop().add_signal_handler(number, app.interrupt, code, number == signal.SIGHUP)
        return await app.run_async(mouse=False)  # the terminal's own selection goes on working

    code = None
    try:
        code = asyncio.run(run())
    finally:
        if code is None:  # it broke
            app.writing.rescue()
    if app.writing.file.is_written:
        Progress().message(f"saved in {app.writing.file}")
    if app.fault is not None:
        raise app.fault
    return EXIT_UNEXPECTED if code is None else code


def _at_a_terminal() -> bool:
    # The screen is written to stderr.
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(of is not None and of.isatty() for of in streams) and os.environ.get("TERM", "dumb") != "dumb"


def _read(path: Path) -> str:
    from jaxrnn.data.reading import open_regular

    with open_regular(path) as file:
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            where = f"{printable(str(path), keep='')}, byte offset {error.start}"
            raise DataError(f"--text expects a text in UTF-8, got other bytes in {where}; convert it first") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
