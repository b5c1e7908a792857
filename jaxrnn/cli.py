"""The command line: `jaxrnn train | resume | sample | evaluate | plot | corpus`.

Nothing here imports JAX until the arguments are known to be good: `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import json
import os
import re
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import CoercionError, MissingArgumentError, RepeatArgumentError, UnusedCliTokensError

from jaxrnn.config import CHANGEABLE, DEFAULT_TEXT, TrainConfig
from jaxrnn.errors import (
    EXIT_CONFIGURATION,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_STOPPED,
    EXIT_STORAGE,
    MAX_DETAIL_LINES,
    JaxrnnError,
)
from jaxrnn.printable import printable

app = App(
    name="jaxrnn",
    help="Train recurrent networks on text, stop, resume to the last bit, and let them write.",
    version_flags=["--version"],
)


def whole_number(_: type, tokens: Any) -> int:
    """Reads a whole number, digits only: 1.5, 1e3 and true are refused, not rounded."""
    text = tokens[0].value
    if not re.fullmatch(r"[+-]?\d{1,20}", text, re.ASCII):
        raise ValueError(f"expects a whole number; got {printable(text, keep='')[:40]!r}")
    return int(text)


def _option(field: dataclasses.Field[Any], keep_default: bool) -> inspect.Parameter:
    annotation = typing.get_type_hints(TrainConfig)[field.name]
    whole = annotation in (int, int | None)
    extra: dict[str, Any] = {"converter": whole_number} if whole else {}
    if annotation is bool:
        extra["negative"] = ""
    parameter = Parameter(help=field.metadata["help"], **extra)
    default = field.default
    if not keep_default:
        annotation, default = annotation | None, None
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, parameter]
    )


def _with_options(names: Callable[[str], bool], keep_defaults: bool = True) -> Callable:
    """Gives a command the options of `TrainConfig`, in place of its **options."""

    def decorate(function: Callable) -> Callable:
        fields = [f for f in dataclasses.fields(TrainConfig) if names(f.name)]
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        parameters = own + [_option(field, keep_defaults) for field in fields]
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        function.__annotations__ = {p.name: p.annotation for p in parameters}
        return function

    return decorate


@app.command
@_with_options(lambda name: name != "text")
def train(
    text: Annotated[str, Parameter(help=f"a file, a known text, {DEFAULT_TEXT} or python-stdlib")] = DEFAULT_TEXT,
    /,
    *,
    run: Annotated[Path | None, Parameter(help="the run directory; runs/TEXT-CELL-HIDDEN if not given")] = None,
    **options: Any,
) -> int:
    """Train on a text. The same command again goes on where it stopped."""
    config = TrainConfig(text=text, **options)
    from jaxrnn.environment import use_compile_cache
    from jaxrnn.train_loop import train as train_run

    use_compile_cache()
    return _ended(train_run(config, run))


@app.command
@_with_options(lambda name: name in CHANGEABLE, keep_defaults=False)
def resume(directory: Path, /, **options: Any) -> int:
    """Go on with a run. --updates or --epochs set a new total; only totals and intervals may change."""
    from jaxrnn.environment import use_compile_cache
    from jaxrnn.train_loop import resume as resume_run

    use_compile_cache()
    return _ended(resume_run(directory, options))


@app.command
def sample(
    directory: Path,
    /,
    *,
    length: Annotated[int, Parameter(converter=whole_number)] = 1000,
    temperature: float = 1.0,
    prime: str = "",
    seed: Annotated[int, Parameter(converter=whole_number)] = 0,
    checkpoint: str = "best",
) -> int:
    """Let a trained model write.

    Args:
      directory: the run directory.
      length: how many characters to generate.
      temperature: 0 is greedy, 1 the model's own probabilities, higher is more random.
      prime: text that the model reads first; it is not printed again. Without it, it starts from a random character.
      seed: the same seed gives the same text.
      checkpoint: best (lowest smoothed loss) or latest.
    """
    from jaxrnn.environment import use_compile_cache
    from jaxrnn.run import open_run

    use_compile_cache()
    for part in open_run(directory).stream(
        length=length, temperature=temperature, prime=prime, seed=seed, checkpoint=checkpoint
    ):
        sys.stdout.write(printable(part) if sys.stdout.isatty() else part)
        sys.stdout.flush()
    if sys.stdout.isatty():
        sys.stdout.write("\n")
    return EXIT_DONE


@app.command
def evaluate(directory: Path, text: str, /, *, checkpoint: str = "best") -> int:
    """Score a trained model on a text: every character but the first once. Prints one JSON object.

    Args:
      directory: the run directory.
      text: a file or a known text.
      checkpoint: best (lowest smoothed loss) or latest.
    """
    from jaxrnn.environment import use_compile_cache
    from jaxrnn.run import open_run

    use_compile_cache()
    print(json.dumps(open_run(directory).evaluate(text, checkpoint=checkpoint)))
    return EXIT_DONE


@app.command
def plot(directory: Path, /, *, output: Path | None = None) -> int:
    """Draw the learning curve of a run.

    Args:
      directory: the run directory.
      output: the picture; DIR/plots/learning_curve.png if not given.
    """
    from jaxrnn.run import open_run

    print(open_run(directory).save_plot(output))
    return EXIT_DONE


@app.command
@_with_options(lambda name: name in ("encoding", "newlines", "byte_order_mark", "bytes"))
def corpus(text: str = DEFAULT_TEXT, /, **options: Any) -> int:
    """Print the facts of a text: characters, lines, words, distinct and non-ASCII characters."""
    from jaxrnn.data.corpus import load_corpus
    from jaxrnn.data.facts import corpus_facts, format_facts

    config = TrainConfig(text=text, **options)
    print(format_facts(corpus_facts(load_corpus(config.text, config.reading_options()))))
    return EXIT_DONE


def _ended(result: Any) -> int:
    return {None: EXIT_DONE, "interrupted": EXIT_INTERRUPTED, "stopped": EXIT_STOPPED}[result.stopped]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line and leaves with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    _leave(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: list[str]) -> int:
    """Runs one command and gives its exit code; every fault becomes one line on stderr and at most 19 more."""
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        return code if isinstance(code, int) else EXIT_DONE
    except CycloptsError as error:
        return _complain(_parser_message(error), (), EXIT_CONFIGURATION, error)
    except JaxrnnError as error:
        return _complain(str(error), error.details, error.exit_code, error)
    except KeyboardInterrupt as error:
        return _complain("interrupted; nothing was lost that had been saved", (), EXIT_INTERRUPTED, error)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except MemoryError as error:
        return _complain("out of memory; lower --hidden, --batch-size or --bptt-length", (), EXIT_CONFIGURATION, error)
    except OSError as error:
        name = f" {printable(str(error.filename))}" if error.filename else ""
        return _complain(f"cannot use{name}: {error.strerror or error}", (), EXIT_STORAGE, error)
    except Exception as error:
        message = f"unexpected {type(error).__name__}: {printable(str(error), keep='').strip()[:200]}; please report it"
        return _complain(message, _last_lines(error), 1, error)


def _parser_message(error: CycloptsError) -> str:
    # The parser's own words, brought into one form: what was expected, what came, what to do.
    option = error.argument.name if error.argument is not None else ""
    token = getattr(error, "token", None)
    if not option and token is not None:
        option = token.keyword or ""
    see = f"see {' '.join(('jaxrnn', *(error.command_chain or ())))} --help"
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
    message = " ".join(printable(str(error)).split())
    return f"{message.rstrip('.')}; {see}"


def _complain(message: str, details: Any, code: int, error: BaseException) -> int:
    lines = [f"jaxrnn: error: {message}", *(f"  {line}" for line in details)]
    try:
        sys.stdout.flush()
        sys.stderr.write("\n".join(lines) + "\n")
        if os.environ.get("JAXRNN_TRACEBACK"):
            traceback.print_exception(error)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads it any more; the exit code still says what happened
    return code


def _last_lines(error: Exception) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-(MAX_DETAIL_LINES - 2) :]
    where = [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]
    return [*where, "the whole traceback: set JAXRNN_TRACEBACK=1"]


def _leave(code: int) -> NoReturn:
    # A storage fault may leave a writer thread behind that would keep the process alive for minutes.
    if code == EXIT_STORAGE:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
