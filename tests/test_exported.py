"""A model in one file: the run's answers to the last bit, readable without jaxrnn, refused where it is not whole."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import CheckpointError, ConfigurationError, StorageError
from jaxrnn.trained.exported import ExportedModel
from jaxrnn.trained.run import Run, open_run
from tests.faults.support import assert_refused, command
from tests.golden.make_models import SETTINGS, answers
from tests.reference.lstm import lstm_step

HERE = Path(__file__).parent
GOLDEN, FIXTURES = HERE / "golden", HERE / "fixtures"
RUNS = ("documents", "palindromes", "text_float64", "text_two_devices")
Parts = tuple[dict[str, Any], dict[str, np.ndarray]]


@pytest.fixture(scope="module", params=RUNS)
def pair(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, ExportedModel]:
    """A run of an older version, and its export."""
    run = Run(FIXTURES / request.param)
    exported = open_run(run.export(tmp_path_factory.mktemp("exported") / "model.safetensors"))
    assert isinstance(exported, ExportedModel)
    return run, exported


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the golden text model."""
    path = tmp_path / "model.safetensors"
    path.write_bytes((GOLDEN / "model_text.safetensors").read_bytes())
    return path


def parts_of(path: Path) -> Parts:
    """The JSON object and the tensors, by the safetensors library alone."""
    with safe_open(path, "np") as file:
        return json.loads(file.metadata()["jaxrnn"]), {name: file.get_tensor(name) for name in file.keys()}


def digest_of(text: str, tensors: dict[str, np.ndarray]) -> str:
    """The digest as the file's description has it, of a text that has zeros or a digest in its place."""
    kinds = {"float32": "F32", "float64": "F64", "float16": "F16"}
    rows = [(json.dumps([n, kinds[v.dtype.name], list(v.shape)]).encode(), v.tobytes()) for n, v in tensors.items()]
    text = text[:-66] + "0" * 64 + '"}'
    return hashlib.sha256(text.encode() + b"".join(row + data for row, data in sorted(rows))).hexdigest()


def forge(path: Path, content: Any, tensors: dict[str, np.ndarray]) -> None:
    """Writes a file whose digest is right; a text stays as it is."""
    text = content
    if not isinstance(content, str):
        text = json.dumps({k: v for k, v in content.items() if k != "sha256"} | {"sha256": "0" * 64})
        text = text[:-66] + digest_of(text, tensors) + '"}'
    path.write_bytes(save(tensors, {"jaxrnn": text}))


def assert_equal(one: Any, other: Any) -> None:
    ones, others = (jax.tree_util.tree_leaves_with_path(tree) for tree in (one, other))
    for (path, a), (other_path, b) in zip(ones, others, strict=True):
        assert path == other_path and a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()


# ---- what it gives ----


def test_logits_are_the_runs_bit_for_bit(pair: tuple[Run, ExportedModel]) -> None:
    run, exported = pair
    assert exported.config.hidden == run.config.hidden and exported.objective == run.objective
    with numerics(run.config.dtype):
        one, other = run.model(), exported.model()
        shape = (12, 3) if run.config.task == "text" else (12, 3, one.stack.in_features)
        xs = np.random.default_rng(1).integers(4, size=shape)
        inputs = jnp.asarray(xs, jnp.int32 if run.config.task == "text" else jnp.float32)
        assert_equal(other(inputs, other.initial_carry(3)), one(inputs, one.initial_carry(3)))
    assert_equal(exported.params(), run.params("best"))


def test_it_writes_and_scores_as_the_run(pair: tuple[Run, ExportedModel]) -> None:
    run, exported = pair
    if run.config.task != "text":
        with pytest.raises(ConfigurationError, match="not on a text"):
            exported.sample()
        return
    assert exported.vocabulary == run.vocabulary and exported.document_end == run.document_end
    assert exported.sample(30, 0.7, seed=2) == run.sample(30, 0.7, seed=2)
    text = str(FIXTURES / "texts" / ("documents.jsonl" if run.document_end is not None else "small.txt"))
    assert exported.evaluate(text) == run.evaluate(text)


def test_another_program_needs_no_jaxrnn_to_go_on_from_it() -> None:
    content, tensors = parts_of(GOLDEN / "model_text.safetensors")
    stored = np.load(GOLDEN / "model_text.npz")
    weights = {name: tensors[f"stack.layers.0.{name}"].astype(np.float64) for name in ("W_x", "W_h", "b")}
    carry = tuple(np.repeat(tensors[f"initial_carry.0.{name}"].astype(np.float64), 2, axis=0) for name in "ch")
    assert all(np.abs(part).min() > 0 for part in carry)  # learned
    for ids, expected in zip(stored["ids"], stored["logits"], strict=True):
        carry = lstm_step(weights, ids, carry)
        np.testing.assert_allclose(carry[1] @ tensors["W_y"] + tensors["b_y"], expected, rtol=1e-4, atol=1e-5)
    assert content["vocabulary"]["symbols"][4] == "a" and content["format"] == 1
    assert content["training"]["update"] <= content["training"]["updates"] == 120
    with safe_open(GOLDEN / "model_text.safetensors", "np") as file:
        assert digest_of(file.metadata()["jaxrnn"], tensors) == content["sha256"]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_golden_files_answer_as_when_they_were_made(name: str) -> None:
    opened, stored = open_run(GOLDEN / f"{name}.safetensors"), np.load(GOLDEN / f"{name}.npz")
    for what, value in answers(opened.model(), opened).items():
        assert what in stored.files, "make it anew only with a new format"
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, stored[what], rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(value, stored[what])
    for setting, value in SETTINGS[name].items():
        assert getattr(opened.config, setting) == value


def test_latest_parameters_are_exported_when_asked_for(tmp_path: Path) -> None:
    run = Run(FIXTURES / "text_two_devices")
    exported = open_run(run.export(tmp_path / "latest.safetensors", "latest"))
    assert_equal(exported.params("latest"), run.params("latest"))
    assert exported.record["training"] | {"checkpoint": "latest", "update": 10} == exported.record["training"]
    with pytest.raises(ConfigurationError, match="--checkpoint expects latest"):
        exported.sample(3, checkpoint="best")


def test_nothing_of_this_machine_is_in_it(tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(FIXTURES / "text_one_device", tmp_path / "run"))
    record = json.loads((copy / "config.json").read_text())
    record["config"]["text"] = record["data"]["path"] = "/home/somebody/book.txt"
    record["environment"]["XLA_FLAGS"] = "--xla_dump_to=/home/somebody/dump"
    (copy / "config.json").write_text(json.dumps(record))
    path = open_run(copy).export(tmp_path / "model.safetensors")
    assert b"somebody" not in path.read_bytes() and open_run(path).config.text == "book.txt"


def test_what_only_a_run_has_is_refused_by_name(model: Path) -> None:
    exported = open_run(model)
    assert "model.safetensors" in repr(exported) and "lstm 8 x 1, 1,329 parameters" in repr(exported)
    for name in ("metrics", "state", "plot", "save_plot", "export"):
        with pytest.raises(ConfigurationError, match=f"has no {name}; open the run directory"):
            getattr(exported, name)
    assert not hasattr(exported, "nothing_of_the_kind")


# ---- how it is written ----


def test_only_an_earlier_export_of_the_run_is_replaced(tmp_path: Path) -> None:
    run, path = Run(FIXTURES / "text_two_devices"), tmp_path / "model.safetensors"
    best = run.export(path).read_bytes()
    assert run.export(path, "latest").read_bytes() != best and run.export(path).read_bytes() == best
    for other in (GOLDEN / "model_text.safetensors", FIXTURES / "texts" / "small.txt"):
        path.write_bytes(other.read_bytes())
        with pytest.raises(ConfigurationError, match="no earlier export of this run; remove it"):
            run.export(path)
        assert path.read_bytes() == other.read_bytes()
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="no earlier export"):
        run.export(path)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, path = Run(FIXTURES / "text_two_devices"), tmp_path / "model.safetensors"
    before = run.export(path).read_bytes()

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError, match="No space left"):
        run.export(path, "latest")
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.safetensors"]


# ---- damage and forgery ----


def damaged(draw: random.Random, whole: bytes) -> bytes:
    """A file with one thing wrong with it; now and then it means the same."""
    header = 8 + int.from_bytes(whole[:8], "little")
    kind, at = draw.randrange(7), draw.randrange(len(whole))
    changed = bytearray(whole)
    if kind == 0:
        at = draw.randrange(header) if draw.random() < 0.5 else at
        changed[at] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del changed[at:]
    elif kind == 2:
        changed[at:at] = draw.randbytes(draw.choice([1, 4, 64]))
    elif kind == 3:
        del changed[at : at + draw.choice([1, 4, 64])]
    elif kind == 4:  # a digit, or the case of a letter, in the header
        at = draw.choice([i for i in range(8, header) if chr(changed[i]).isalnum()])
        changed[at] = ord(draw.choice("0123456789")) if chr(changed[at]).isdigit() else changed[at] ^ 32
    elif kind == 5:  # two tensors change places, or their bytes
        table = json.loads(whole[8:header])
        one, other = draw.sample([name for name in table if name != "__metadata__"], 2)
        table[one], table[other] = table[other], table[one]
        new = json.dumps(table).encode()
        changed = bytearray(len(new).to_bytes(8, "little") + new + whole[header:])
    else:  # a piece is copied over another
        size, to = draw.choice([4, 32, 128]), draw.randrange(len(whole))
        changed[to : to + size] = whole[at : at + size]
    return bytes(changed)


def refused_of_damaged(path: Path, copies: int, spare: int, read: Callable[[Path], Any] = open_run) -> int:
    """How many of so many damaged copies are refused; the others must give what the whole file gives.

    Each has a second of the processor, and in memory 1.5 times its size and `spare` bytes, by tracemalloc: that counts
    what Python and NumPy hold, and JAX's arrays, which take NumPy's over on a CPU.
    """
    whole, draw, refused = path.read_bytes(), random.Random(2026), 0
    right = read(path)
    for number in range(copies):
        copy = damaged(draw, whole)
        path.write_bytes(copy)
        opened = None
        tracemalloc.start()
        began = time.process_time()
        try:
            opened = read(path)
        except CheckpointError as error:
            refused += 1
            assert str(path) in str(error) and str(error).isprintable() and len(str(error)) < 500, (number, error)
        seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < 1 and peak < 1.5 * len(copy) + spare, (number, seconds, peak)
        if opened is not None:
            assert copy == whole or opened.record == right.record, number
            assert_equal(opened.params(), right.params())
    return refused


def test_damaged_copies_are_refused_or_right(model: Path) -> None:
    assert 270 < refused_of_damaged(model, 300, spare=1 << 20) <= 300


def write_large_model(path: Path, hidden: int) -> None:
    """A vanilla model whose W_h is all but all of it."""
    symbols, content = 3, parts_of(GOLDEN / "model_text.safetensors")[0]
    content["config"] |= {"cell": "vanilla", "hidden": hidden, "learned_initial_carry": False}
    content["vocabulary"]["symbols"], content["data"] = ["a", "b", "c"], content["data"] | {"distinct": symbols}
    shapes = {"W_y": (hidden, symbols), "b_y": (symbols,), "stack.layers.0.W_x": (symbols, hidden)}
    shapes |= {"stack.layers.0.W_h": (hidden, hidden), "stack.layers.0.b": (hidden,)}
    draw = np.random.default_rng(1)
    tensors = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    content["parameters"] = sum(value.size for value in tensors.values())
    forge(path, content, tensors | {"initial_carry.0.h": np.zeros((1, hidden), np.float32)})


def test_a_large_file_takes_its_own_size_in_memory_once(tmp_path: Path) -> None:
    write_large_model(path := tmp_path / "large.safetensors", hidden=1000)  # 4 MB
    assert 10 < refused_of_damaged(path, 20, spare=0) <= 20


@pytest.mark.slow
def test_ten_thousand_damaged_copies_are_refused_or_right(model: Path, tmp_path: Path) -> None:
    assert 8550 < refused_of_damaged(model, 9500, spare=1 << 20) < 9500
    write_large_model(path := tmp_path / "large.safetensors", hidden=1400)  # 8 MB
    assert 450 < refused_of_damaged(path, 500, spare=0) <= 500


def edited(*places: Any, value: Any = None) -> Callable[[Parts], Parts]:
    """A change of one value of the JSON object; without a value it is taken out."""

    def edit(parts: Parts) -> Parts:
        inner: Any = parts[0]
        for place in places[:-1]:
            inner = inner[place]
        if value is None:
            del inner[places[-1]]
        else:
            inner[places[-1]] = value
        return parts

    return edit


def tensor(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Parts], Parts]:
    """A change of one tensor."""

    def edit(parts: Parts) -> Parts:
        content, tensors = parts
        value = change(tensors.get(name, tensors["b_y"]))
        return content, {k: v for k, v in tensors.items() if k != name} | ({} if value is None else {name: value})

    return edit


FORGERIES: dict[str, tuple[Callable[[Parts], Any], str]] = {
    "another format": (edited("format", value=3), "format 3, this version of jaxrnn reads 1"),
    "the format of longer symbols": (edited("format", value=2), "content.vocabulary has an unknown bytes_mode"),
    "a format that is none": (edited("format", value=True), "format True"),
    "an unknown part": (edited("code", value="import os"), "an unknown code"),
    "a missing part": (edited("training"), "lacks training"),
    "an unknown setting": (edited("config", "hook", value="os:system"), "does not know: hook"),
    "an unknown cell": (edited("config", "cell", value="system"), "--cell expects one of"),
    "a cell to import": (edited("config", "cell", value="os:system"), "which no file can bring"),
    "an unknown part of the data": (edited("data", "path", value="/etc/passwd"), "an unknown path"),
    "another digest": (lambda parts: (json.dumps(parts[0] | {"sha256": ""}), parts[1]), "a digest of another length"),
    "a count of the wrong kind": (edited("training", "update", value=True), "training.update is True, expected"),
    "a loss that is none": (edited("training", "best_valid_loss", value=np.inf), "best_valid_loss is inf, expected"),
    "unknown parameters": (edited("training", "checkpoint", value="\x1b[2J"), "'\\x1b[2J' parameters"),
    "a huge size": (edited("config", "hidden", value=2**31 - 1), "no tensors of 1 layers of 2,147,483,647"),
    "huge depth": (edited("config", "layers", value=1000), "no tensors of 1,000 layers"),
    "another size": (edited("config", "hidden", value=25), "1,329 parameters, its model has"),
    "another cell": (edited("config", "cell", value="vanilla"), "its model has"),
    "another dtype": (edited("config", "dtype", value="float64"), "its model has ([8, 25], 'F64')"),
    "another number of parameters": (edited("parameters", value=1), "its model has 1,329"),
    "symbols out of order": (edited("vocabulary", "symbols", 0, value="z"), "at place 1, after 'z'"),
    "a symbol less": (edited("vocabulary", "symbols", 3), "symbols of another text"),
    "bytes": (edited("vocabulary", "bytes_mode", value=True), "symbols of another text"),
    "an end that is no symbol": (edited("data", "document_end", value=25), "document_end is 25"),
    "an unknown encoding": (edited("data", "reading", value={"encoding": "os.system"}), "reading options"),
    "a missing tensor": (tensor("W_y", lambda v: None), "tensor W_y is None"),
    "a tensor more": (tensor("W_z", lambda v: v), "tensor W_z is"),
    "a small dtype": (tensor("W_y", lambda v: v.astype(np.float16)), "'F16'"),
    "another shape": (tensor("W_y", lambda v: v.T.copy()), "tensor W_y is ([25, 8], 'F32')"),
    "no numbers": (tensor("W_y", lambda v: v[:, :0].copy()), "tensor W_y of shape [8, 0]"),
    "not a number": (tensor("W_y", lambda v: v * np.nan), "tensor W_y is not finite"),
    "infinity": (tensor("b_y", lambda v: v + np.inf), "tensor b_y is not finite"),
    "another start": (tensor("initial_carry.0.h", lambda v: v + 1), "starts from another carry"),
    "not JSON": (lambda parts: ("import os", parts[1]), "Expecting value"),
    "a list": (lambda parts: ("[1]", parts[1]), "no JSON object"),
    "deep JSON": (lambda parts: ("[" * 100_000, parts[1]), "recursion"),
    "a name twice": (lambda parts: ('{"format": 1, ' + json.dumps(parts[0])[1:], parts[1]), "stands twice"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_file_with_the_right_digest_is_refused(model: Path, name: str) -> None:
    edit, said = FORGERIES[name]
    forge(model, *edit(parts_of(model)))
    began = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        open_run(model)
    assert said in str(caught.value) and str(model) in str(caught.value) and str(caught.value).isprintable()
    assert time.perf_counter() - began < 5


def test_what_a_forger_left_alone_opens(model: Path) -> None:
    content, tensors = parts_of(model)
    expected = open_run(model).params()
    forge(model, content, dict(reversed(tensors.items())))
    assert_equal(open_run(model).params(), expected)


def test_sizes_are_compared_before_anything_is_read(model: Path) -> None:
    whole = model.read_bytes()
    for start in ((2**63).to_bytes(8, "little"), (1 << 23).to_bytes(8, "little"), len(whole).to_bytes(8, "little")):
        model.write_bytes(start + whole[8:])
        with pytest.raises(CheckpointError, match="a header of"):
            open_run(model)
    model.write_bytes(whole)
    with open(model, "ab") as file:
        file.truncate(1 << 36)  # 64 GiB of nothing, on no disk
    with pytest.raises(CheckpointError, match="68,719,476,736 bytes, its header declares"):
        open_run(model)


def test_links_pipes_and_what_is_not_there_are_refused(model: Path, tmp_path: Path) -> None:
    link, pipe = tmp_path / "link.safetensors", tmp_path / "pipe.safetensors"
    link.symlink_to(model)
    os.mkfifo(pipe)
    for path in (link, pipe):
        with pytest.raises(CheckpointError, match="is a link, a pipe or a directory"):
            open_run(path)
    with pytest.raises(ConfigurationError, match="No such file"):
        open_run(tmp_path / "missing.safetensors")
    (tmp_path / "run.safetensors").mkdir()
    with pytest.raises(ConfigurationError, match="holds no run"):
        open_run(tmp_path / "run.safetensors")


# ---- the command line ----


def test_the_commands_take_a_file_for_a_run(tmp_path: Path, capsys: Any) -> None:
    run, path, text = FIXTURES / "text_two_devices", tmp_path / "model.safetensors", FIXTURES / "texts" / "small.txt"
    assert command(capsys, "export", run, path).code == 0
    for name, *options in (["sample", "--length", 20], ["evaluate", text]):
        one, other = command(capsys, name, path, *options), command(capsys, name, run, *options)
        assert one == other and one.code == 0 and one.out
    assert_refused(command(capsys, "sample", path, "--checkpoint", "latest"), 2, "--checkpoint expects best")
    assert_refused(command(capsys, "plot", path), 2, "has no save_plot", "run directory")
    assert_refused(command(capsys, "export", path, tmp_path / "b.safetensors"), 2, "has no export")
    assert_refused(command(capsys, "export", run, tmp_path / "model.bin"), 2, "ends in .safetensors", "model.bin")
    assert_refused(command(capsys, "export", run, path, "--checkpoint", "newest"), 2, "best or latest", "newest")
    assert_refused(command(capsys, "export", run, text), 2, "ends in .safetensors")
    assert_refused(
        command(capsys, "export", run, tmp_path / "no" / "m.safetensors"), 6, "there is no directory", "make it first"
    )
    assert_refused(command(capsys, "sample", tmp_path / "missing.safetensors"), 2, "jaxrnn export")
    path.write_bytes(path.read_bytes()[:-1])
    assert_refused(command(capsys, "sample", path), 4, "no model to rely on", "export it again")
    assert os.listdir(tmp_path) == ["model.safetensors"]
