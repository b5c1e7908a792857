"""`jaxrnn export` and `jaxrnn import`. Nothing here loads JAX before the arguments are known to be good."""

from __future__ import annotations

from pathlib import Path

from jaxrnn.checks import check_choice, check_count
from jaxrnn.errors import EXIT_DONE, ConfigurationError
from jaxrnn.terminal.command import CountIfAny
from jaxrnn.terminal.progress import Progress
from jaxrnn.trained.commands import OwnCell, opened_of

FORMATS = ("jaxrnn", "torch", "stablehlo")
PLATFORMS = "cpu,cuda,tpu"


def export(
    directory: Path,
    model: Path,
    /,
    *,
    format: str = FORMATS[0],
    checkpoint: str | None = None,
    batch: CountIfAny = None,
    platforms: str = PLATFORMS,
    cell: OwnCell = None,
) -> int:
    """Write the model of a run as one file, which sample, evaluate and jaxrnn.open_run take in place of the run.

    It holds the parameters, the settings and the vocabulary, no text and no path of this machine. A file of that name
    is replaced if it is an earlier export of the same run; anything else of that name is refused.

    Args:
      directory: the run directory; for torch and stablehlo also a file of `jaxrnn export`.
      model: the file, whose name ends in .safetensors; for stablehlo a new directory.
      format: jaxrnn; torch for a state dict of PyTorch; stablehlo for compiled programs that score and write.
      checkpoint: best (by its loss; if not given) or latest.
      batch: of stablehlo, the number of streams that the programs take; any if not given.
      platforms: of stablehlo, what the programs run on: cpu, cuda, rocm, tpu.
    """
    check_choice("format", format, FORMATS)
    if format != "stablehlo" and (batch is not None or platforms != PLATFORMS):
        raise ConfigurationError(f"--batch and --platforms belong to --format stablehlo; got --format {format}")
    if batch is not None:
        check_count("batch", batch, 1)
    opened = opened_of(directory, cell)
    if format == "jaxrnn":
        written = opened.export(model, checkpoint)
    elif format == "torch":
        from jaxrnn.exchange.to_torch import export_torch

        written = export_torch(opened, model, checkpoint)
    else:
        from jaxrnn.exchange.programs import export_programs

        written = export_programs(opened, model, checkpoint, batch=batch, platforms=platforms.split(","))
    Progress().message(str(written))
    return EXIT_DONE


def import_model(file: Path, model: Path | None = None, /, *, vocabulary: str | None = None) -> int:
    """Make a model in one file of a PyTorch state dict (nn.RNN, nn.LSTM or nn.GRU below nn.Linear) in safetensors.

    sample, evaluate, inspect and jaxrnn.open_run take it as they take a file of `jaxrnn export`.

    Args:
      file: the state dict; the documentation shows how a .pt becomes one.
      model: the file to write; NAME-jaxrnn.safetensors in the current directory if not given.
      vocabulary: the symbols in the order of their ids: a .json with a list of characters, or with their ids by
        character; or a text whose sorted characters they are. What `export --format torch` wrote needs none.
    """
    model = model or Path(f"{file.stem}-jaxrnn.safetensors")
    from jaxrnn.devices.environment import use_compile_cache
    from jaxrnn.exchange.from_torch import import_torch

    use_compile_cache()
    opened = opened_of(import_torch(file, model, vocabulary), None)
    Progress().message(f"{opened!r}\nmore: jaxrnn sample {model}    jaxrnn evaluate {model} TEXT")
    return EXIT_DONE
