"""The fields of a dataclass of settings as options of a command, under headings."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from cyclopts import Group, Parameter

from jaxrnn.terminal.command import real_number, whole_number


def given_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def with_options(
    settings: Any, headings: Mapping[str, str], shown: Mapping[str, str], names: Callable[[str], bool]
) -> Callable:
    """Gives a command the fields of settings as options, in place of its **options; None is one that is not given.

    Args:
      settings: a dataclass; each field has its help in its metadata.
      headings: by the name of the first field below it.
      shown: defaults in words, of the fields whose own is not what counts.
      names: which fields.
    """

    def decorate(function: Callable) -> Callable:
        fields = [f for f in dataclasses.fields(settings) if names(f.name)]
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        groups, hints = _groups(settings, tuple(headings.items())), _hints(settings)
        parameters = own + [_option(f, hints[f.name], groups[f.name], shown.get(f.name)) for f in fields]
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        function.__annotations__ = {p.name: p.annotation for p in parameters}
        return function

    return decorate


_hints = functools.cache(typing.get_type_hints)


@functools.cache
def _groups(settings: Any, headings: tuple[tuple[str, str], ...]) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    first = dict(headings)
    for field in dataclasses.fields(settings):
        if field.name in first:
            group = Group.create_ordered(first[field.name])
        groups[field.name] = group
    return groups


def _option(field: dataclasses.Field[Any], annotation: Any, group: Group, shown: str | None) -> inspect.Parameter:
    converters = {int: whole_number, int | None: whole_number, float: real_number, float | None: real_number}
    extra: dict[str, Any] = {"converter": converters[annotation]} if annotation in converters else {}
    if annotation is bool and field.default is False:
        extra["negative"] = ""  # nothing to switch off
    if shown is not None or field.default is not None:
        extra["show_default"] = shown or str(field.default)
    parameter = Parameter(help=field.metadata["help"], group=group, **extra)
    return inspect.Parameter(  # None: not given
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation | None, parameter]
    )
