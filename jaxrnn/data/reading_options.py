"""How bytes become characters. The settings know it, so nothing here loads NumPy."""

from __future__ import annotations

import codecs
from dataclasses import asdict, dataclass, fields
from typing import Any

from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable


@dataclass(frozen=True)
class ReadingOptions:
    r"""How bytes become characters. Part of every run's record, since it decides the vocabulary.

    Args:
      encoding: a text encoding that Python knows; `utf-8-sig` is taken as `utf-8`.
      newlines: "keep" every character, or "universal": `\r\n` and a lone `\r` become `\n`.
      byte_order_mark: "strip" a U+FEFF at the start, or "keep" it as a character.
      bytes_mode: every byte is a symbol; `encoding` and `byte_order_mark` are then not used.

    Raises:
      ConfigurationError: for an unknown encoding or value, or byte mode together with converted newlines.
    """

    encoding: str = "utf-8"
    newlines: str = "keep"
    byte_order_mark: str = "strip"
    bytes_mode: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("newlines", ("keep", "universal")), ("byte_order_mark", ("strip", "keep"))):
            if getattr(self, name) not in allowed:
                got = printable(repr(getattr(self, name)), keep="")
                raise ConfigurationError(f"{name} expects {allowed[0]} or {allowed[1]}, got {got}")
        if not isinstance(self.bytes_mode, bool):
            raise ConfigurationError(f"bytes_mode expects true or false, got {self.bytes_mode!r}")
        try:
            "".encode(self.encoding)
            codecs.getincrementaldecoder(self.encoding)
            name = codecs.lookup(self.encoding).name
        except (LookupError, UnicodeError, ValueError, TypeError):
            got = printable(repr(self.encoding), keep="")[:60]
            raise ConfigurationError(
                f"--encoding expects a text encoding such as utf-8, utf-16 or latin-1; got {got}"
            ) from None
        object.__setattr__(self, "encoding", "utf-8" if name == "utf-8-sig" else name)
        if self.bytes_mode and self.newlines != "keep":
            raise ConfigurationError("byte mode keeps every byte, so newlines must be keep, got universal")

    def to_json(self) -> dict[str, Any]:
        """A dictionary for the run's record."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> ReadingOptions:
        """The options that `to_json` gave. Raises ConfigurationError for anything else."""
        if not isinstance(content, dict) or set(content) - {field.name for field in fields(cls)}:
            raise ConfigurationError("expected a dictionary of reading options, got something else")
        return cls(**content)
