"""Models to PyTorch and from it: PyTorch itself says what they must answer."""

from __future__ import annotations

import json
import os
import random
import runpy
import string
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save, save_file

from jaxrnn.cells import GRUCell, PeepholeLSTMCell, ResetBeforeGRUCell
from jaxrnn.data.long_symbols import LongSymbols
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import CheckpointError, ConfigurationError, DataError, JaxrnnError, NumericError
from jaxrnn.exchange import export_torch, import_torch
from jaxrnn.exchange.from_torch import recognise
from jaxrnn.exchange.symbols import read_symbols
from jaxrnn.exchange.to_torch import state_dict_of
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.models.stack import Stack
from jaxrnn.storage.tensor_file import serialized
from jaxrnn.storage.vocabulary_file import save_vocabulary
from jaxrnn.trained.run import open_run
from tests.faults.support import assert_refused, command
from tests.test_exported import FIXTURES, GOLDEN, damaged

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SYMBOLS = "ze\nta bißc𝒳d"  # in no order


def drawn_state(kind: str, hidden: int = 5, layers: int = 2, embedding: int = 0, dtype: str = "float32") -> Any:
    """A state dict of PyTorch's names with numbers of our own, biases too."""
    gates, V = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind] * hidden, len(SYMBOLS)
    shapes: dict[str, tuple[int, ...]] = {"decoder.weight": (V, hidden), "decoder.bias": (V,)}
    if embedding:
        shapes["embed.weight"] = (V, embedding)
    for number in range(layers):
        shapes[f"lstm.weight_ih_l{number}"] = (gates, hidden if number else embedding or V)
        shapes |= {f"lstm.weight_hh_l{number}": (gates, hidden), f"lstm.bias_ih_l{number}": (gates,)}
        shapes[f"lstm.bias_hh_l{number}"] = (gates,)
    draw = np.random.default_rng(7)
    return {name: (0.7 * draw.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}


def in_torch(state: dict[str, np.ndarray], kind: str, text: str, layers: int = 2) -> float:
    """Nats a character of a text as PyTorch computes it, from its own modules."""
    torch = pytest.importorskip("torch")
    of = {name: torch.tensor(value) for name, value in state.items()}
    ids = torch.tensor([SYMBOLS.index(symbol) for symbol in text])
    embedding = of.get("embed.weight", torch.eye(len(SYMBOLS), dtype=of["decoder.weight"].dtype))
    network = getattr(torch.nn, kind)(embedding.shape[1], of["decoder.weight"].shape[1], layers).to(embedding.dtype)
    network.load_state_dict({name.removeprefix("lstm."): v for name, v in of.items() if name.startswith("lstm.")})
    with torch.no_grad():
        logits = network(embedding[ids[:-1]])[0] @ of["decoder.weight"].T + of["decoder.bias"]
        return float(torch.nn.functional.cross_entropy(logits.double(), ids[1:]))


def example(name: str, *arguments: str, monkeypatch: Any) -> dict[str, Any]:
    """Runs a program of the documentation as it stands there."""
    pytest.importorskip("torch")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("LSTM", {}), ("GRU", {"embedding": 5}), ("RNN", {"layers": 1, "dtype": "float64"})],
    ids=["LSTM", "GRU with an embedding", "RNN in float64"],
)
def test_a_model_of_pytorch_scores_here_as_there_and_goes_back(
    kind: str, options: dict[str, Any], tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    state, text = drawn_state(kind, **options), "".join(random.Random(3).choices(SYMBOLS, k=300))
    save_file(state, "torch.safetensors")
    Path("symbols.json").write_text(json.dumps(list(SYMBOLS)), "utf-8")
    Path("text.txt").write_text(text, "utf-8")
    answer = command(capsys, "import", "torch.safetensors", "--vocabulary", "symbols.json")
    assert answer.code == 0 and f"5 x {options.get('layers', 2)}, " in answer.out
    opened = open_run("torch-jaxrnn.safetensors")
    theirs = in_torch(state, kind, text, options.get("layers", 2))
    tolerance = 1e-12 if options.get("dtype") == "float64" else 1e-5
    assert abs(opened.evaluate("text.txt")["loss_nats"] - theirs) < tolerance
    assert opened.vocabulary.symbols == tuple(sorted(SYMBOLS)) and set(opened.sample(50)) <= set(SYMBOLS)

    assert command(capsys, "export", "torch-jaxrnn.safetensors", "back.safetensors", "--format", "torch").code == 0
    example("read_in_torch", "back.safetensors", "text.txt", monkeypatch=monkeypatch)
    assert abs(float(capsys.readouterr().out.split()[0]) - theirs) < max(tolerance, 2e-6)
    assert import_torch("back.safetensors", "again.safetensors").name == "again.safetensors"  # it knows its symbols
    assert open_run("again.safetensors").sample(30, prime="z") == opened.sample(30, prime="z")


def test_a_learned_start_and_a_classifier_are_pytorchs_too(tmp_path: Path, monkeypatch: Any) -> None:
    torch = pytest.importorskip("torch")
    text, classes = tmp_path / "text.safetensors", tmp_path / "classes.safetensors"
    (tmp_path / "some.txt").write_text("the cat", "utf-8")
    export_torch(open_run(GOLDEN / "model_text.safetensors"), text)
    Loader = example("read_in_torch", str(text), str(tmp_path / "some.txt"), monkeypatch=monkeypatch)["FromJaxrnn"]
    export_torch(open_run(GOLDEN / "model_palindromes.safetensors"), classes)
    for name, path in (("model_text", text), ("model_palindromes", classes)):
        stored, model = np.load(GOLDEN / f"{name}.npz"), Loader(path)
        with torch.no_grad():
            logits = model(torch.tensor(stored["ids"]).long())[0].numpy()
        logits = logits[-model.about["answers"] :] if model.about["reads"] == "last" else logits
        np.testing.assert_allclose(logits, stored["logits"], rtol=1e-4, atol=1e-5)
    ours, again = (
        open_run(GOLDEN / "model_text.safetensors"),
        open_run(import_torch(text, tmp_path / "back.safetensors")),
    )
    assert ours.config.learned_initial_carry and again.config.learned_initial_carry
    assert again.sample(30) == ours.sample(30) and again.sample(9, start="learned") == ours.sample(9)
    with pytest.raises(CheckpointError, match="it classifies sequences"):
        import_torch(classes, tmp_path / "no.safetensors", "0123456789")


def test_both_directions_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    options: dict[str, Any] = {"kernel_init": nnx.initializers.zeros, "rngs": nnx.Rngs(1)}
    model = SequenceClassifier(3, 2, 4, cell="gru", layers=2, bidirectional=True, **options)
    draw = np.random.default_rng(3)
    for _, leaf in nnx.iter_graph(model):
        if isinstance(leaf, nnx.Param):
            leaf[...] = jnp.asarray(0.7 * draw.standard_normal(leaf.shape), jnp.float32)
    tensors, about = state_dict_of(model)
    network = torch.nn.GRU(**about["options"])
    network.load_state_dict({n.removeprefix("rnn."): torch.tensor(v) for n, v in tensors.items() if "rnn." in n})
    xs = np.random.default_rng(2).standard_normal((6, 5, 3)).astype(np.float32)
    with torch.no_grad():
        last = network(torch.tensor(xs))[1][-2:]  # f_T and b_1
        theirs = torch.cat([last[0], last[1]], -1).numpy() @ tensors["linear.weight"].T + tensors["linear.bias"]
    ours = np.asarray(model(jnp.asarray(xs), model.initial_carry(5))[0][0])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_what_pytorch_has_no_module_for_is_refused_with_the_reason(tmp_path: Path, capsys: Any) -> None:
    made: dict[str, Any] = {"rngs": nnx.Rngs(0), "kernel_init": nnx.initializers.zeros}
    stacks = {
        "no PeepholeLSTMCell": Stack([PeepholeLSTMCell(6, 4, **made)]),
        "no ResetBeforeGRUCell": Stack([ResetBeforeGRUCell(6, 4, **made)]),
        "skip connections": Stack.of("gru", 6, 4, layers=2, skip_connections=True, **made),
        "differ in kind": Stack([GRUCell(6, 4, **made), GRUCell(4, 3, **made)]),
    }
    for said, stack in stacks.items():
        with pytest.raises(ConfigurationError, match=said):
            state_dict_of(LanguageModel(6, stack, **made))
    with pytest.raises(ConfigurationError, match="a Stack of its own"):
        state_dict_of(stacks["skip connections"])
    model, run = GOLDEN / "model_text.safetensors", FIXTURES / "text_two_devices"
    out = tmp_path / "out.safetensors"
    assert_refused(command(capsys, "export", model, out, "--format", "pt"), 2, "jaxrnn, torch, stablehlo", "'pt'")
    assert_refused(command(capsys, "export", model, out, "--format", "torch", "--batch", 2), 2, "--format stablehlo")
    assert_refused(command(capsys, "export", model, tmp_path / "a.pt", "--format", "torch"), 2, "ends in .safetensors")
    assert command(capsys, "export", model, out, "--format", "torch").code == 0
    before = out.read_bytes()
    assert command(capsys, "export", model, out, "--format", "torch").code == 0  # the same model again
    assert_refused(command(capsys, "export", run, out, "--format", "torch"), 2, "no earlier export", "another name")
    assert_refused(command(capsys, "sample", out), 4, "`jaxrnn import` takes PyTorch's")
    assert out.read_bytes() == before and os.listdir(tmp_path) == ["out.safetensors"]


# ---- what is recognised ----


def shapes_of(state: dict[str, np.ndarray], **changed: tuple[int, ...] | None) -> dict[str, tuple[int, ...]]:
    shapes = {name: value.shape for name, value in state.items()}
    shapes |= {name.replace("__", "."): shape for name, shape in changed.items() if shape}
    return {name: shape for name, shape in shapes.items() if changed.get(name.replace(".", "__"), ()) is not None}


def test_names_and_shapes_say_what_it_is() -> None:
    for kind, cell in (("RNN", "vanilla"), ("LSTM", "lstm"), ("GRU", "gru")):
        found = recognise(shapes_of(drawn_state(kind, hidden=5, layers=3, embedding=4)))
        assert found[:5] == (cell, 3, 5, len(SYMBOLS), 4)
    bare = {name.removeprefix("lstm."): shape for name, shape in shapes_of(drawn_state("GRU")).items()}
    assert recognise(bare)[:5] == ("gru", 2, 5, len(SYMBOLS), 0)
    tied = shapes_of(drawn_state("LSTM", embedding=5), decoder__bias=None)
    assert recognise(tied).names["embedding"] == "embed.weight"


V = len(SYMBOLS)
MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "a missing layer": ({"lstm__weight_hh_l1": None}, "lstm.weight_hh_l1 is missing"),
    "another shape": ({"lstm__weight_hh_l1": (20, 4)}, "lstm.weight_hh_l1 of shape (20, 4), expected (20, 5)"),
    "no gates": ({"lstm__weight_hh_l0": (10, 5)}, "lstm.weight_hh_l0 of shape (10, 5)"),
    "a vector": ({"lstm__weight_hh_l0": (20,)}, "lstm.weight_hh_l0 of shape (20,)"),
    "a projection": ({"lstm__weight_hr_l0": (3, 5)}, "lstm.weight_hr_l0: an LSTM with proj_size"),
    "both directions": ({"lstm__weight_ih_l0_reverse": (20, 5)}, "reads backward too"),
    "two modules": ({"gru__weight_ih_l0": (20, 5)}, "several recurrent modules: gru., lstm."),
    "a bias that is none": ({"lstm__bias_hh_l0": (5,)}, "lstm.bias_hh_l0 of shape (5,), expected (20,)"),
    "no output": ({"decoder__weight": None, "decoder__bias": None}, "no nn.Linear with a weight (symbols, 5)"),
    "two outputs": ({"head__weight": (V, 5), "proj__weight": (V, 5)}, "more than an embedding and one nn.Linear"),
    "another part": ({"norm__running_mean": (5,)}, "norm.running_mean: no part of"),
    "features": ({"lstm__weight_ih_l0": (20, 3)}, "reads 3 features where the output layer has"),
    "a short bias": ({"decoder__bias": (3,)}, "decoder.bias of shape (3,)"),
    "an embedding of others": ({"emb__weight": (3, 8), "lstm__weight_ih_l0": (20, 8)}, "emb.weight has 3 symbols"),
    "two that may be it": (
        {"a__weight": (V, 5), "lstm__weight_ih_l0": (20, 5), "decoder__bias": None},
        "which is the embedding?",
    ),
    "many layers": ({"lstm__weight_ih_l9999": (20, 5)}, "10,000 layers, at most 1,000"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_state_dict_of_something_else_is_refused_by_name(name: str) -> None:
    changed, said = MISFITS[name]
    with pytest.raises(CheckpointError) as caught:
        recognise(shapes_of(drawn_state("LSTM"), **changed))
    assert said in str(caught.value)


def test_missing_biases_are_zeros_and_halves_keep_their_values(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    state = {name: value.astype(np.float16) for name, value in drawn_state("GRU").items() if "bias" not in name}
    save_file(state, "half.safetensors")
    Path("text.txt").write_text(text := "".join(random.Random(4).choices(SYMBOLS, k=90)), "utf-8")
    Path("ids.json").write_text(json.dumps({symbol: SYMBOLS.index(symbol) for symbol in SYMBOLS}), "utf-8")
    opened = open_run(import_torch("half.safetensors", "model.safetensors", "ids.json"))
    zeros = {name: np.zeros_like(value) for name, value in drawn_state("GRU").items() if "bias" in name}
    theirs = in_torch({name: value.astype(np.float32) for name, value in state.items()} | zeros, "GRU", text)
    assert abs(opened.evaluate("text.txt")["loss_nats"] - theirs) < 1e-5


@pytest.mark.parametrize(
    "vocabulary",
    [LongSymbols((" ", "a", "b", " b", "ab")), LongSymbols(("a", "b", "c", "ab", "abc"), merges=((0, 1), (3, 2)))],
    ids=["words", "bpe"],
)
def test_longer_symbols_keep_their_ids_there_and_back(
    vocabulary: LongSymbols, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    V = len(vocabulary)
    state = {
        name: value[:, :V] if "ih_l0" in name and "w" in name else value for name, value in drawn_state("GRU").items()
    }
    save_file(state | {f"decoder.{of}": state[f"decoder.{of}"][:V] for of in ("weight", "bias")}, "torch.safetensors")
    save_vocabulary(vocabulary, "vocabulary.json")
    there = open_run(import_torch("torch.safetensors", "there.safetensors", "vocabulary.json"))
    back = open_run(import_torch(export_torch(there, "again.safetensors"), "back.safetensors"))
    assert there.vocabulary == back.vocabulary == vocabulary
    W_y = load_file("torch.safetensors")["decoder.weight"]
    assert (there.params()["W_y"] == W_y.T).all() and (back.params()["W_y"] == W_y.T).all()
    Path("text.txt").write_text("ab abb ab" if vocabulary.merges is None else "abcabcbab", "utf-8")
    assert there.evaluate("text.txt") == back.evaluate("text.txt") and there.sample(20) == back.sample(20)


def test_symbols_in_every_form(tmp_path: Path) -> None:
    forms = {
        "list.json": list(SYMBOLS),
        "ids.json": {symbol: number for number, symbol in enumerate(SYMBOLS)},
        "characters.json": {str(number): symbol for number, symbol in enumerate(SYMBOLS)},
        "vocabulary.json": {"format": 1, "bytes_mode": False, "symbols": list(SYMBOLS)},
    }
    for name, content in forms.items():
        (tmp_path / name).write_text(json.dumps(content), "utf-8")
        vocabulary, order = read_symbols(str(tmp_path / name))
        assert [vocabulary.symbols.index(symbol) for symbol in SYMBOLS] == np.argsort(order).tolist()
        assert vocabulary == Vocabulary(tuple(sorted(SYMBOLS)))
    (tmp_path / "text.txt").write_text(SYMBOLS * 2, "utf-8")
    vocabulary, order = read_symbols(str(tmp_path / "text.txt"))
    assert vocabulary == Vocabulary(tuple(sorted(SYMBOLS))) and order.tolist() == list(range(len(SYMBOLS)))
    faults: list[tuple[Any, str]] = [(["a", "<pad>"], '"<pad>" is no single character'), ("a", "no list of symbols")]
    faults += [({"a": 0, "b": 2}, "ids of 2 symbols"), ({"a": True}, "ids of 1 symbols"), ({}, "no symbols")]
    faults += [(["a", "a"], "two ids"), ([["a"]], "no single character"), ({"9" * 5000: "a"}, "ids of 1 symbols")]
    faults += [({"kind": "bpe", "symbols": ["a", "aa"], "merges": [[0, 1]]}, "expected characters and longer symbols")]
    for content, said in faults:
        (tmp_path / "wrong.json").write_text(json.dumps(content), "utf-8")
        with pytest.raises(DataError, match=said) as caught:
            read_symbols(str(tmp_path / "wrong.json"))
        assert "wrong.json" in str(caught.value) and "expects a JSON list" in str(caught.value)


def test_an_import_that_fails_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    state = drawn_state("RNN", layers=1)
    save_file(state, "torch.safetensors")
    Path("text.txt").write_text(SYMBOLS + "x", "utf-8")
    Path("list.json").write_text(json.dumps(list(SYMBOLS)), "utf-8")
    assert_refused(command(capsys, "import", "torch.safetensors"), 2, "torch.safetensors does not say", "--vocabulary")
    wrong = command(capsys, "import", "torch.safetensors", "--vocabulary", "text.txt")
    assert_refused(wrong, 3, f"{V} symbols, the vocabulary {V + 1}")
    assert_refused(command(capsys, "import", "no.safetensors"), 2, "No such file")
    Path("state.pt").write_bytes(b"PK\x03\x04")
    assert_refused(command(capsys, "import", "state.pt"), 4, "state.pt is a pickle", "make safetensors of it")
    assert_refused(command(capsys, "import", "text.txt"), 4, "cannot be imported: a header of")
    there = command(capsys, "import", "torch.safetensors", "text.txt", "--vocabulary", "list.json")
    assert_refused(there, 2, "text.txt is there", "another name")
    save_file(state | {"n": np.zeros(3, np.int64)}, "ids.safetensors")
    assert_refused(command(capsys, "import", "ids.safetensors"), 4, "tensor n of dtype I64, expected one of F32")
    save_file(state | {"decoder.bias": state["decoder.bias"] * np.nan}, "nan.safetensors")
    with pytest.raises(NumericError, match="decoder.bias of the model is not finite"):
        import_torch("nan.safetensors", "model.safetensors", "list.json")
    large = {name: np.full_like(state[name], 3e38) for name in ("lstm.bias_ih_l0", "lstm.bias_hh_l0")}
    save_file(state | large, "sum.safetensors")
    with pytest.raises(NumericError, match=r"layers\.0\.b of the model is not finite"):
        import_torch("sum.safetensors", "model.safetensors", "list.json")
    assert not [name for name in os.listdir() if "model" in name or "jaxrnn" in name]


# ---- damage ----


@pytest.mark.parametrize("copies", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_state_dicts_are_refused_or_models(copies: int, tmp_path: Path) -> None:
    """Each in a second of the processor; what is refused in 1.5 times its size and 1 MB, by tracemalloc."""
    path, symbols, made = (tmp_path / name for name in ("torch.safetensors", "list.json", "made.safetensors"))
    save_file(drawn_state("RNN", layers=1), path, {"format": "pt"})
    symbols.write_text(json.dumps(list(SYMBOLS)), "utf-8")
    whole, draw, refused = path.read_bytes(), random.Random(11), 0
    open_run(import_torch(path, made, str(symbols)))
    for number in range(copies):
        made.unlink(missing_ok=True)
        path.write_bytes(damaged(draw, whole))
        tracemalloc.start()
        began = time.process_time()
        try:
            import_torch(path, made, str(symbols))
        except JaxrnnError as error:
            refused += 1
            assert str(error).isprintable() and len(str(error)) < 700, error
            assert tracemalloc.get_traced_memory()[1] < 1.5 * len(whole) + (1 << 20), number
        seconds = time.process_time() - began
        tracemalloc.stop()
        assert seconds < 1, number
        if made.exists():
            open_run(made)
    # A flipped bit of a number is no fault that a file without a digest can show.
    assert 0.6 < refused / copies < 1


def test_what_is_written_is_to_the_byte_what_the_library_writes() -> None:
    tensors = drawn_state("GRU", embedding=3) | {'ß/"': np.arange(3, dtype=np.int64)}
    texts = {"a": 'é"\n\\\x01\x7f\u2028'}
    assert b"".join(serialized(texts, tensors)) == save(tensors, texts)


@pytest.mark.slow
def test_a_model_trained_in_pytorch_is_imported_as_the_page_says(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    words = ["the", "rain", "in", "spain", "stays", "mainly", "plain."]
    text = " ".join(random.Random(5).choices(words, k=4000)) + string.punctuation
    Path("book.txt").write_text(text, "utf-8")
    symbols = sorted(set(text))
    ids = torch.tensor([symbols.index(symbol) for symbol in text])
    torch.manual_seed(0)
    torch.set_num_threads(1)  # others wait for each other where the cores are busy
    for kind in ("LSTM", "GRU", "RNN"):
        model = torch.nn.ModuleDict(
            {
                "encoder": torch.nn.Embedding(len(symbols), 16),
                "rnn": getattr(torch.nn, kind)(16, 32, 2),
                "decoder": torch.nn.Linear(32, len(symbols)),
            }
        )
        optimizer = torch.optim.Adam(model.parameters(), 0.005)
        for step in range(60):
            window = ids[: 20 * 800].reshape(20, -1).T[step * 10 : step * 10 + 51]
            logits = model["decoder"](model["rnn"](model["encoder"](window[:-1]))[0])
            loss = torch.nn.functional.cross_entropy(logits.reshape(-1, len(symbols)), window[1:].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        torch.save({"state_dict": model.state_dict(), "epoch": 1}, "model.pt")
        with torch.no_grad():
            logits = model["decoder"](model["rnn"](model["encoder"](ids[:-1, None]))[0])[:, 0]
            theirs = float(torch.nn.functional.cross_entropy(logits.double(), ids[1:]))
        example("from_torch", "model.pt", "book.txt", monkeypatch=monkeypatch)
        Path("torch-jaxrnn.safetensors").unlink(missing_ok=True)
        assert command(capsys, "import", "torch.safetensors", "--vocabulary", "symbols.json").code == 0
        opened = open_run("torch-jaxrnn.safetensors")
        assert theirs < 2.5 and abs(opened.evaluate("book.txt")["loss_nats"] - theirs) < 1e-5
        greedy, state, written = ids[None, :1].T, None, ""
        with torch.no_grad():
            for _ in range(40):
                hs, state = model["rnn"](model["encoder"](greedy), state)
                greedy = model["decoder"](hs).argmax(-1)
                written += symbols[int(greedy)]
        assert opened.sample(40, temperature=0, prime=text[0]) == written
    assert load_file("torch.safetensors")["rnn.weight_ih_l0"].shape == (32, 16)
