"""Checks of one setting at a time: each error names the option, what was expected and what came."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import math
import operator
import re
import sys
from typing import Any

from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable

LARGEST_COUNT = 2**31 - 1
INFINITE_FROM = {"float32": 2.0**128 - 2.0**103, "float64": math.inf}  # what is rounded to infinity
OTHER_NAMES = {
    "rnn": "vanilla", "tanh": "vanilla", "elman": "vanilla", "xavier": "glorot-uniform", "momentum": "sgd",
    "bfloat16": "bf16",
}  # fmt: skip
# Values that were called otherwise: the word of then, which is still accepted, and that of now.
FORMER_WORDS = {"early_stopping": {"thesis": "relative-decrease"}}
NOT_OFFERED = ("bfloat16", "float16")  # near to a name, and something else
LARGEST_SEED = 2**32 - 1  # a key of JAX has two words of 32 bits; of a larger seed the second would be lost, or wrong


def flag(name: str) -> str:
    """The command-line form of a setting's name."""
    return "--" + name.replace("_", "-")


def choice_error(name: str, value: Any, allowed: list[str]) -> ConfigurationError:
    """The error for a value that is not in a list, with the nearest name."""
    other = OTHER_NAMES.get(str(value).lower())
    near = [other] if other in allowed else difflib.get_close_matches(str(value).lower(), allowed, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    if other not in allowed and str(value) in NOT_OFFERED:
        hint = "; products in bfloat16: --precision bf16"
    return ConfigurationError(f"{flag(name)} expects one of {', '.join(allowed)}; got {printable(repr(value))}{hint}")


def word_of_now(name: str, value: Any) -> Any:
    """A setting's value in the word of now, where it was called otherwise; any other as it is.

    Example:
      >>> word_of_now("early_stopping", "thesis")
      'relative-decrease'
    """
    return FORMER_WORDS.get(name, {}).get(value, value) if isinstance(value, str) else value


def plain(value: Any) -> Any:
    """A number of NumPy's or JAX's as Python's own; anything else as it is."""
    is_number = getattr(value, "shape", None) == () and getattr(getattr(value, "dtype", None), "kind", "V") in "biuf"
    return value.item() if is_number else value


def check_choice(name: str, value: Any, allowed: tuple[str | None, ...]) -> None:
    """Refuses what is not in the list; None in it stands for a setting that may be left out."""
    if value not in allowed:
        raise choice_error(name, value, [a for a in allowed if a])


def check_count(name: str, value: Any, least: int, most: int = LARGEST_COUNT) -> None:
    """Refuses what is no whole number of this range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(
            f"{flag(name)} expects a whole number from {least} to {most}; got {printable(repr(value), keep='')}"
        )


def as_count(name: str, value: Any, least: int, most: int = LARGEST_COUNT) -> int:
    """A whole number of this range as Python's own, one of NumPy's too; refuses what is none."""
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            value = operator.index(value)
    check_count(name, value, least, most)
    return value


def check_number(name: str, value: Any, least: float, below: float = math.inf, dtype: str = "float64") -> None:
    """Refuses what is no finite number of this range; a `least` of minus infinity sets no lower end.

    Args:
      name, value: the setting.
      least, below: the range.
      dtype: in which the number has to be finite.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value < below or abs(value) > sys.float_info.max:
        limit = "a finite number" if math.isinf(below) else f"a number below {below:g}"
        limit += "" if math.isinf(least) else f" of at least {least:g}"
        raise ConfigurationError(f"{flag(name)} expects {limit}; got {printable(repr(value))}")
    if abs(value) >= INFINITE_FROM[dtype]:
        raise ConfigurationError(
            f"{flag(name)} expects a number that {dtype} can hold, of at most 3.4e+38 in size; got {value!r}; give a "
            "smaller one, or --dtype float64"
        )


def check_switch(name: str, value: Any) -> None:
    """Refuses what is neither True nor False."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{flag(name)} expects True or False; got {printable(repr(value))}")


def check_call(what: str, function: Any, *names: str, by_name: tuple[str, ...] = ()) -> None:
    """Refuses a function of the caller's that cannot be called as it will be, before it is called from deep inside.

    Args:
      what: it is.
      function: with a signature; of some of C's none is known, which are let through.
      names: of what it will be given, one after another.
      by_name: of what it will be given by name.
    """
    try:
        signature_of(function).bind(*names, **dict.fromkeys(by_name))
    except TypeError:
        takes = f"takes {signature_of(function)}" if callable(function) else "cannot be called"
        name = getattr(function, "__qualname__", type(function).__qualname__)
        given = ", ".join([*names, *(f"{option}=..." for option in by_name)])
        raise ConfigurationError(
            f"{what} is called as f({given}); {printable(name)} {takes}; let it take these arguments"
        ) from None
    except ValueError:
        pass


def signature_of(function: Any) -> inspect.Signature:
    """What a function or a class is called with; Flax's metaclass hides that of its modules' `__init__`."""
    if not inspect.isclass(function):
        return inspect.signature(function)
    made = inspect.signature(function.__init__)
    return made.replace(parameters=list(made.parameters.values())[1:], return_annotation=inspect.Signature.empty)


def check_texts(given: Any) -> str | tuple[str, ...]:
    """What is a text's name, or several; refuses what is none."""
    texts = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ConfigurationError("TEXT is empty; give a file or a known text, or leave it out")
    return texts[0] if len(texts) == 1 else texts


def check_validation_text(given: Any) -> None:
    """Refuses what cannot be read again when a run goes on, and what is no text's name; None is none."""
    if given is not None and (not isinstance(given, str) or given in ("", "-", "/dev/stdin") or "\n" in given):
        raise ConfigurationError(
            f"--validation-text expects a file, a directory or a known text; got {printable(repr(given), keep='')[:60]}"
        )


def parse_interval(text: str) -> tuple[int | None, float | None]:
    """Reads "1000" as (1000 updates, None) and "30s" as (None, 30.0 seconds).

    Example:
      >>> parse_interval("30s")
      (None, 30.0)
    """
    match = re.fullmatch(r"(\d{1,9})|(\d{1,9}(?:\.\d+)?)s", str(text), re.ASCII)
    if match and match[1] and int(match[1]) >= 1:
        return int(match[1]), None
    if match and match[2] and float(match[2]) > 0:
        return None, float(match[2])
    raise ConfigurationError(
        f"--checkpoint-every expects updates such as 1000 or seconds such as 30s, above 0; got {printable(repr(text))}"
    )


def parse_devices(text: str) -> int | None:
    """Reads "auto" as None and "4" as 4 devices.

    Example:
      >>> parse_devices("4")
      4
    """
    if text == "auto":
        return None
    match = re.fullmatch(r"[0-9]{1,6}", str(text))
    if not match or int(match[0]) < 1:
        raise ConfigurationError(f"--devices expects auto or a number of devices; got {printable(repr(text))}")
    return int(match[0])
