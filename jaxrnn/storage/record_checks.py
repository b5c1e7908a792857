"""What config.json must hold before anything else of the library believes it."""

from __future__ import annotations

from typing import Any

from jaxrnn.data.reading import ReadingOptions
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable

LARGEST_DEVICES = 4096  # each is made before anything else of a run is looked at
LARGEST_NUMBER = 2**53


def fault_in_record(content: dict[str, Any]) -> str:
    """What is wrong with a run's record, or nothing: "devices is -1, expected ...".

    Args:
      content: the content of config.json, with the dicts `config`, `data` and `environment`. The settings in `config`
        check themselves, in `TrainConfig`.
    """
    config, data = content["config"], content["data"]
    is_text = config.get("task", "text") == "text" or "reading" in data
    batch_size, distinct = config.get("batch_size", 1), data.get("distinct")
    devices = (
        f"None or a number from 1 to {LARGEST_DEVICES} that divides the batch of {printable(repr(batch_size))[:20]}"
    )
    symbols = distinct if _whole(distinct, 1) else LARGEST_NUMBER
    versions, changes = content["environment"].get("versions"), content.get("environment_changes", [])
    checks: list[tuple[str, Any, bool, str]] = [
        ("devices", content.get("devices"), _divides(content.get("devices"), batch_size), devices),
        ("parameters", content.get("parameters"), _whole(content.get("parameters"), 1), "a number of at least 1"),
        ("data.name", data.get("name"), isinstance(data.get("name"), str), "text"),
        ("data.sha256", data.get("sha256"), isinstance(data.get("sha256"), str), "a checksum"),
        ("environment.versions", versions, isinstance(versions, dict), "names and versions"),
        ("environment_changes", changes, isinstance(changes, list), "a list"),
    ]
    if (other := content.get("validation")) is not None:
        good = isinstance(other, dict) and isinstance(other.get("path"), str | None) and "\0" not in str(other)
        good = good and isinstance(other.get("sha256"), str) and _whole(other.get("characters"), 1)
        checks.append(("validation", other, good, "path, sha256 and characters of a text"))
    if is_text:
        end, path = data.get("document_end"), data.get("path")
        checks += [
            (f"data.{name}", data.get(name), _whole(data.get(name), 1), "a number of at least 1")
            for name in ("characters", "windows_per_epoch")
        ]
        checks += [
            ("data.path", path, path is None or (isinstance(path, str) and "\0" not in path), "a path or null"),
            ("data.document_end", end, end is None or _whole(end, 0, symbols - 1), "a symbol's number or null"),
            ("data.reading", data.get("reading"), _reads(data.get("reading")), "reading options"),
        ]
    for name, value, good, expected in checks:
        if not good:
            return f"{name} is {printable(repr(value), keep='')[:40]}, expected {expected}"
    return ""


def _whole(value: Any, least: int, most: int = LARGEST_NUMBER) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _divides(devices: Any, batch_size: Any) -> bool:
    if devices is None:  # chosen anew
        return True
    return _whole(devices, 1, LARGEST_DEVICES) and _whole(batch_size, 1) and batch_size % devices == 0


def _reads(options: Any) -> bool:
    try:
        ReadingOptions.from_json(options)
    except ConfigurationError:
        return False
    return True
