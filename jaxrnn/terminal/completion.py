"""A script for the shell that completes commands, options and their values."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from cyclopts import App

from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable

SHELLS = ("bash", "zsh", "fish")


def completion_script(app: App, shell: str, choices: Mapping[str, Sequence[Any]]) -> str:
    """The script of an app, whose commands are not called.

    Args:
      app: the app.
      shell: one of `SHELLS`.
      choices: the values of parameters by name, where they are a few words; None among them is one that is left out.
        The parser itself takes any text there, since the settings check themselves and say more of what is wrong.

    Raises:
      ConfigurationError: for another shell.
    """
    if shell not in SHELLS:
        got = printable(repr(shell), keep="")[:60]
        raise ConfigurationError(f"SHELL expects one of {', '.join(SHELLS)}; got {got}")
    return _with_choices(app, choices).generate_completion(shell=cast(Any, shell))


def _with_choices(app: App, choices: Mapping[str, Sequence[Any]]) -> App:
    known = App(name=app.name, help=app.help, version_flags=app.version_flags)
    if app.default_command is not None:
        known.default(_stand_in(app.default_command, choices))
    for name in app:
        if not name.startswith("-"):
            known.command(_with_choices(app[name], choices))
    return known


def _stand_in(function: Callable[..., Any], choices: Mapping[str, Sequence[Any]]) -> Callable[..., Any]:
    def stands_in() -> None: ...

    signature = inspect.signature(function, eval_str=True)
    parameters = []
    for parameter in signature.parameters.values():
        annotation = parameter.annotation
        of, *notes = typing.get_args(annotation) if typing.get_origin(annotation) is Annotated else [annotation]
        if parameter.name in choices:
            of = Literal[tuple(value for value in choices[parameter.name] if value is not None)]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL) and of is str:
            of = Path  # a text is a file, or a name that the shell does not know
        elif bool in typing.get_args(of):
            of = bool  # a switch that takes no value
        parameters.append(parameter.replace(annotation=Annotated[of, *notes] if notes else of))
    stands_in.__doc__ = function.__doc__
    stands_in.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    stands_in.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return stands_in
