"""Run a command line: every fault becomes one line on stderr, at most 19 more, and its exit code."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn, TextIO

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from jaxrnn.errors import (
    EXIT_CONFIGURATION,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_STOPPED,
    EXIT_STORAGE,
    MAX_DETAIL_LINES,
    JaxrnnError,
    StorageError,
)
from jaxrnn.terminal.printable import first_line, printable

EXIT_UNEXPECTED = 1
SECONDS_UNTIL_LOST = 20  # a process of a job that was killed is missed by the others, who end too
INTERRUPTED = "interrupted; nothing was lost that had been saved"
STDIN = "/dev/stdin"
LEAST_COLUMNS = 40  # of a help that can be read
# What an option is called here, and what other programs call it. It is offered by the commands that have it.
OTHER_NAMES = {
    "--learning-rate": "--lr --step-size",
    "--dropout-between, --dropout-output, --dropout-input or --dropout-recurrent": "--dropout",
    "--hidden": "--rnn-size --hidden-size --units --size",
    "--layers": "--num-layers --n-layers",
    "--cell": "--rnn --rnn-type --model",
    "--bptt-length": "--seq-length --seq-len",
    "--epochs": "--max-epochs --num-epochs",
    "--updates": "--steps --iterations --max-iters",
    "--clip-value or --clip-global-norm": "--grad-clip --clip",
    "--run": "--name --dir --output --output-dir --out-dir --checkpoint-dir",
    "--prime": "--prompt --primetext --start-text",
    "--samples": "--num-samples --count",
}
# How `FitResult.stopped` ends the process, for supervisors.
EXIT_OF_STOP = {None: EXIT_DONE, "interrupted": EXIT_INTERRUPTED, "stopped": EXIT_STOPPED}


def run_app(command: App | Callable[..., int], arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs an app, or a function as an app of one command, and leaves the process with its exit code."""
    _take_up_closed_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if callable(signal.getsignal(signal.SIGINT)):  # else it is ignored, as of a job behind a script
        signal.signal(signal.SIGINT, _interrupt)
    _mend_width()
    app = command if isinstance(command, App) else _app_of(command)
    code = exit_code_of(app, sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, AttributeError):
            _flush_or_give_up(stream)
    threads = (t for t in threading.enumerate() if t is not threading.main_thread())
    # After a fault this process would wait for the others of its job, and they for it.
    lost = _is_one_of_several() and code not in EXIT_OF_STOP.values()
    if code == EXIT_STORAGE or lost or any(not thread.daemon for thread in threads):
        # A save that failed may leave a writer thread behind that would keep the process alive for minutes.
        os._exit(code)
    sys.exit(code)


def _mend_width() -> None:
    # The parser's help would have a letter a line, of width 0 never end, and of 10^11 take all memory.
    given = os.environ.pop("COLUMNS", "")
    if re.fullmatch("[1-9][0-9]{0,3}", given):
        os.environ["COLUMNS"] = str(max(int(given), LEAST_COLUMNS))


def _interrupt(_number: int, frame: FrameType | None) -> None:
    # Raised into an import of JAX's own libraries it would end as a crash of the process.
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame is not None:
        os._exit(_complain(INTERRUPTED, (), EXIT_INTERRUPTED, KeyboardInterrupt()))
    raise KeyboardInterrupt


def _is_one_of_several() -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def await_loss() -> None:
    """Waits after a fault that may have come of another process of the job: if that is lost, this one ends meanwhile.

    See `jaxrnn.devices.lost`. A process alone does not wait.
    """
    if _is_one_of_several():
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(SECONDS_UNTIL_LOST + 5)


def _flush_or_give_up(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        # Python would try again as it leaves, and then leave with a code of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def write_output(text: str, escape: bool = True) -> None:
    """Writes to stdout what a command was asked for; what a terminal would obey is escaped.

    Args:
      text: the text, with its line ends.
      escape: False lets the text through as it is where stdout is no terminal.

    Raises:
      StorageError: if stdout was closed from the start, or its disk is full. What was asked for is then lost: code 0
        would tell a script that it has the text. (A reader that has gone, such as `head`, has what it wanted: that is
        no error.)
    """
    if sys.stdout is None or sys.stdout.closed:
        raise StorageError("stdout is closed, so nothing can be written to it; redirect it to a file or a pipe")
    try:
        sys.stdout.write(printable(text) if escape or sys.stdout.isatty() else text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"stdout cannot be written: {error.strerror}; free some space or redirect it") from error


def exit_code_of(app: App, arguments: Sequence[str]) -> int:
    """Runs one command of an app and gives its exit code."""
    # The parser takes a lone dash, standard input, for an option; where one follows an option it is that one's value.
    before = ["", *arguments]
    arguments = [STDIN if a == "-" and not b.startswith("--") else a for a, b in zip(arguments, before, strict=False)]
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        return code if isinstance(code, int) else EXIT_DONE
    except CycloptsError as error:
        return _complain(_parser_message(error, app), (), EXIT_CONFIGURATION, error)
    except JaxrnnError as error:
        return _complain(str(error), error.details, error.exit_code, error)
    except KeyboardInterrupt as error:
        return _complain(INTERRUPTED, (), EXIT_INTERRUPTED, error)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except MemoryError as error:
        remedy = "free some, or train with a smaller --hidden, --batch-size or --bptt-length"
        return _complain(f"out of memory; {remedy}", (), EXIT_CONFIGURATION, error)
    except OSError as error:
        name = f" {printable(str(error.filename))}" if error.filename else ""
        return _complain(f"cannot use{name}: {error.strerror or error}", (), EXIT_STORAGE, error)
    except Exception as error:
        if fault := _fault_of_environment(error):
            return _complain(fault, (), EXIT_CONFIGURATION, error)
        await_loss()
        fault = f"unexpected {type(error).__name__}: {printable(str(error), keep='').strip()[:200]}"
        message = f"{fault}; please report it"
        return _complain(message, _last_lines(error), EXIT_UNEXPECTED, error)


def _fault_of_environment(error: Exception) -> str | None:
    """What JAX, which is loaded by the first command that needs it, cannot read of its environment variables."""
    frames = traceback.extract_tb(error.__traceback__)
    asked = {name: value for name, value in os.environ.items() if name.startswith("JAX_")}
    if not asked or Path(frames[-1].filename).parts[-3:] != ("jax", "_src", "config.py"):
        return None
    said = first_line(error)
    named = [name for name in asked if re.search(rf"{name}\b", said, re.IGNORECASE)] or asked
    shown = ", ".join(printable(f"{name}={asked[name]}", keep="")[:80] for name in named)
    return f"JAX cannot read {shown}: {said}; mend or unset it"


def _parser_message(error: CycloptsError, app: App) -> str:
    # The parser's own words, brought into one form: what was expected, what came, what to do.
    option = error.argument.name if error.argument is not None else ""
    token = getattr(error, "token", None)
    if not option and token is not None:
        option = token.keyword or ""
    see = f"see {' '.join((app.name[0], *(error.command_chain or ())))} --help"
    if isinstance(error, RepeatArgumentError):
        return f"{option} is given twice; give it once"
    if isinstance(error, MissingArgumentError):
        return f"{option} expects a value, got none; {see}"
    if isinstance(error, CoercionError) and error.token is not None:
        expected = "a whole number" if error.target_type in (int, int | None) else "a number"
        if error.target_type is bool:
            expected = "no value"
        return f"{option} expects {expected}; got {printable(repr(error.token.value), keep='')[:60]}"
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"unexpected argument {printable(repr(error.unused_tokens[0]), keep='')[:60]}; {see}"
    if isinstance(error, UnknownOptionError):
        names = [name for argument in error.argument_collection if argument.parse for name in argument.names]
        return _no_such(error.token.keyword or error.token.value, names, see)
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        return _no_such(error.unused_tokens[0], list(app), see, what="command ")
    message = " ".join(printable(str(error)).split()).rstrip(".")
    if isinstance(error, CoercionError) and option not in message:  # of a converter that reads several values
        return f"{option} {message}"
    return f"{message}; {see}"


def _no_such(given: str, names: Sequence[str], see: str, what: str = "") -> str:
    # What is meant: what another program calls so, what begins so, or what is spelt alike.
    given = given.partition("=")[0]
    meant = [
        ours for ours, theirs in OTHER_NAMES.items() if given in theirs.split() and re.split("[ ,]", ours)[0] in names
    ]
    meant = meant or sorted(name for name in names if name.startswith(given))[:3]
    bare = {name.lstrip("-"): name for name in names}
    meant = meant or [bare[like] for like in difflib.get_close_matches(given.lstrip("-"), bare, 1, 0.7)]
    hint = f"did you mean {' or '.join(meant)}? " if meant else ""
    return f"there is no {what}{printable(given, keep='')[:60]}; {hint}{see}"


def _complain(message: str, details: Any, code: int, error: BaseException) -> int:
    lines = [printable(line, keep="") for line in (f"jaxrnn: error: {message}", *(f"  {line}" for line in details))]
    if os.environ.get("JAXRNN_TRACEBACK"):
        lines.append(printable("".join(traceback.format_exception(error))).rstrip())
    # A stream that was closed from the start is None. The exit code still says what happened.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
    return code


def _take_up_closed_descriptors() -> None:
    """Opens the null device where stdin, stdout or stderr was closed by who started us.

    Else the next file that is opened would get the free number, and what a library prints there would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def _last_lines(error: Exception) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-(MAX_DETAIL_LINES - 2) :]
    where = [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]
    return [*where, "the whole traceback: set JAXRNN_TRACEBACK=1"]


def _app_of(function: Callable[..., int]) -> App:
    app = App(name=Path(sys.argv[0]).name, version_flags=[], suppress_keyboard_interrupt=False)
    app.default(function)
    return app


def whole_number(_: type, tokens: Any) -> int:
    """A parser's converter: digits only. 1.5, 1e3 and true are refused, not rounded."""
    text = tokens[0].value
    if not re.fullmatch(r"[+-]?\d{1,20}", text, re.ASCII):
        raise ValueError(f"expects a whole number; got {printable(text, keep='')[:40]!r}")
    return int(text)


def real_number(_: type, tokens: Any) -> float:
    """A parser's converter: as Python's own, but with ASCII digits only and without its 1_000."""
    text = tokens[0].value
    if not text.isascii() or "_" in text:
        raise ValueError(f"expects a number; got {printable(text, keep='')[:40]!r}")
    return float(text)


# Types of a command's parameters, and of the fields of a dataclass of them.
Count = Annotated[int, Parameter(converter=whole_number)]
CountIfAny = Annotated[int | None, Parameter(converter=whole_number)]
Real = Annotated[float, Parameter(converter=real_number)]
RealIfAny = Annotated[float | None, Parameter(converter=real_number)]
Switch = Annotated[bool, Parameter(negative="")]  # nothing to switch off
