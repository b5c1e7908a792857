"""Sampling through the command line: counts, seeds, temperatures, prompts, and that it never touches training."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.models.structure import params_of
from jaxrnn.storage.logs import read_samples
from jaxrnn.storage.vocabulary_file import load_vocabulary
from jaxrnn.trained.run import open_run

from .support import assert_refused, command, finish, five_parts, start, tiny_options, tree


@pytest.fixture(autouse=True)
def untouched(finished_run: Path) -> Any:
    before = tree(finished_run)
    yield
    assert tree(finished_run) == before


def sample(capsys: Any, run: Path, *options: object) -> str:
    answer = command(capsys, "sample", run, *options)
    assert answer.code == 0 and answer.err == "", answer
    return answer.out


@pytest.mark.parametrize("length", [0, 1, 7, 1024, 1025, 2500])
def test_length_counts_what_is_generated(capsys: Any, finished_run: Path, length: int) -> None:
    assert len(sample(capsys, finished_run, "--length", length)) == length
    assert len(sample(capsys, finished_run, "--length", length, "--prime", "the cat ")) == length


def test_a_longer_text_begins_with_the_shorter(capsys: Any, finished_run: Path) -> None:
    long = sample(capsys, finished_run, "--length", 1500, "--prime", "the")
    assert long.startswith(sample(capsys, finished_run, "--length", 300, "--prime", "the"))


def test_seeds_decide_the_text(capsys: Any, finished_run: Path) -> None:
    texts = [sample(capsys, finished_run, "--length", 200, "--seed", seed) for seed in (0, 0, 1, 2**31 - 1)]
    assert texts[0] == texts[1] and len(set(texts)) == 3
    assert sample(capsys, finished_run, "--length", 200) == texts[0]


def test_best_and_latest_are_other_parameters(capsys: Any, finished_run: Path) -> None:
    best, latest = (open_run(finished_run).params(name) for name in ("best", "latest"))
    same = all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(best), jax.tree.leaves(latest), strict=True))
    run = open_run(finished_run)
    assert same == (int(run.state.best_update) == int(run.state.update))
    assert sample(capsys, finished_run, "--checkpoint", "latest", "--length", 50) == open_run(finished_run).sample(
        length=50, checkpoint="latest"
    )
    assert_refused(
        command(capsys, "sample", finished_run, "--checkpoint", "newest"), 2, "--checkpoint", "best", "latest"
    )


def test_temperature_zero_is_greedy_and_so_is_next_to_nothing(capsys: Any, finished_run: Path) -> None:
    greedy = _greedy(finished_run, "the ", 60)
    for temperature in ("0", "1e-45", "1e-30"):
        for seed in (0, 1):
            options = ["--length", 60, "--prime", "the ", "--temperature", temperature, "--seed", seed]
            assert sample(capsys, finished_run, *options) == greedy


def _greedy(path: Path, prime: str, length: int) -> str:
    run = open_run(path)
    p = {name: np.asarray(value, np.float64) for name, value in _flat(params_of(run.model())).items()}
    h = np.zeros(run.config.hidden)
    text = prime
    for i in range(len(prime) + length - 1):
        x = run.vocabulary.symbols.index(text[i])
        h = np.tanh(p["W_x"][x] + h @ p["W_h"] + p["b"])
        if i >= len(prime) - 1:
            text += run.vocabulary.symbols[int(np.argmax(h @ p["W_y"] + p["b_y"]))]
    return text[len(prime) :]


def _flat(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {str(path[-1].key): value for path, value in leaves}


def test_infinite_temperature_is_uniform(capsys: Any, finished_run: Path) -> None:
    text = sample(capsys, finished_run, "--length", 4000, "--temperature", "inf")
    symbols = load_vocabulary(finished_run / "vocabulary.json").symbols
    counts = np.array([text.count(symbol) for symbol in symbols])
    expected = 4000 / len(symbols)
    assert (np.abs(counts - expected) < 6 * np.sqrt(expected)).all()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--temperature", "-1"], 2, ["--temperature", "-1", "0 is greedy"]),
        (["--temperature=-0.001"], 2, ["--temperature"]),
        (["--temperature", "nan"], 2, ["--temperature", "nan"]),
        (["--temperature", "hot"], 2, ["--temperature", "a number"]),
        (["--temperature", "1_0"], 2, ["--temperature expects a number; got '1_0'"]),
        (["--top-p", "\u0661"], 2, ["--top-p expects a number"]),
        (["--length", "-1"], 2, ["--length", "-1"]),
        (["--length", "1.5"], 2, ["--length", "whole number"]),
        (["--length", "many"], 2, ["--length", "whole number"]),
        (["--seed", "-1"], 2, ["--seed", "-1"]),
        (["--prime", "the café"], 3, ["U+00E9", "position 7", "vocabulary"]),
        (["--prime", "\x1b[2J"], 3, ["U+001B"]),
        (["--prime", "a\udcff"], 3, ["U+DCFF"]),
        (["--length", "5", "--length", "6"], 2, ["--length", "twice"]),
        (["--lenght", "5"], 2, ["--lenght", "--length"]),
        (["--top-k", "1.5"], 2, ["--top-k", "whole number"]),
        (["--top-p", "0"], 2, ["--top-p", "above 0"]),
        (["--top-p", "most"], 2, ["--top-p", "a number"]),
        (["--beams", "4", "--temperature", "0.5"], 2, ["--beams", "--temperature"]),
        (["--beams", "4", "--samples", "5"], 2, ["--samples", "from 1 to 4"]),
        (["--samples", "0"], 2, ["--samples", "from 1"]),
        (["--stop", "é"], 3, ["--stop", "U+00E9"]),
        (["--until-document-end"], 2, ["--until-document-end", "documents"]),
        (["--start", "hot"], 2, ["--start", "fresh, cold, learned"]),
        (["--start", "learned"], 2, ["--start", "--learned-initial-carry"]),
        (["--prime-file", "/no/such.txt"], 3, ["/no/such.txt"]),
    ],
)
def test_what_cannot_be_sampled_is_refused(
    capsys: Any, finished_run: Path, options: list[str], code: int, said: list[str]
) -> None:
    answer = command(capsys, "sample", finished_run, *options)
    assert_refused(answer, code, *said)
    assert answer.out == ""


def test_a_prompt_may_be_empty_or_longer_than_the_text(capsys: Any, finished_run: Path) -> None:
    assert sample(capsys, finished_run, "--length", 50, "--prime", "") == sample(capsys, finished_run, "--length", 50)
    assert len(sample(capsys, finished_run, "--length", 50, "--prime", "the cat sat " * 200)) == 50


def test_texts_are_printed_one_below_the_other_or_saved_side_by_side(
    capsys: Any, finished_run: Path, tmp_path: Path
) -> None:
    given = ["--length", 40, "--top-p", 0.9, "--stop", ".", "--stop", "ttt", "--keep-stop", "--seed", 3]
    texts = [sample(capsys, finished_run, *given[:-1], seed) for seed in (3, 4)]
    printed = sample(capsys, finished_run, *given, "--samples", 2)
    lines = [f"--- {k} of 2, seed {k + 2} ---\n{text.removesuffix(chr(10))}\n" for k, text in enumerate(texts, 1)]
    assert printed == "".join(lines)
    output = tmp_path / "a.txt"
    assert sample(capsys, finished_run, *given, "--samples", 2, "--output", output) == ""
    assert [(tmp_path / f"a-{k}.txt").read_text() for k in (1, 2)] == texts
    assert sample(capsys, finished_run, *given, "--output", output, "--prime", "the", "--show-prime") == ""
    assert output.read_text().startswith("the") and sorted(os.listdir(tmp_path)) == ["a-1.txt", "a-2.txt", "a.txt"]
    best = sample(capsys, finished_run, "--beams", 3, "--samples", 2, "--length", 9)
    assert re.fullmatch(r"--- 1 of 2, log p -\d+\.\d{3} ---\n.{9}\n?--- 2 of 2, log p -.*", best, re.S)


def test_a_file_is_whole_or_not_there(
    capsys: Any, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ["--prime", "é", "--output", tmp_path / "a.txt"]
    assert_refused(command(capsys, "sample", finished_run, *refused), 3, "U+00E9")
    missing = ["--output", tmp_path / "no" / "a.txt"]
    said = "a.txt cannot be written: there is no directory", "/no; make it first"
    assert_refused(command(capsys, "sample", finished_run, *missing), 6, *said)
    assert not os.listdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with monkeypatch.context() as patch:
        patch.setattr("jaxrnn.trained.commands.opened_of", None)  # refused before the model is made
        assert_refused(command(capsys, "sample", finished_run, "--output", tmp_path / "pipe"), 6, "not a file")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "lock", "checkpoints/a/b.txt"])
def test_a_file_of_a_run_is_not_written_over(capsys: Any, finished_run: Path, name: str) -> None:
    answer = command(capsys, "sample", finished_run, "--output", finished_run / name)
    assert_refused(answer, 2, name, "belongs to the run", "give another path")
    assert_refused(command(capsys, "inspect", finished_run, "--html", finished_run / name), 2, "belongs to the run")


def test_a_picture_takes_the_place_of_a_file_only_and_not_of_a_runs(
    capsys: Any, finished_run: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for arguments in (["plot", finished_run], ["runs", "compare", finished_run, finished_run]):
        own = command(capsys, *arguments, "--output", finished_run / "checkpoints" / "curve.png")
        assert_refused(own, 2, "belongs to the run", "give another path")
        assert_refused(command(capsys, *arguments, "--output", tmp_path / "pipe.png"), 6, "not a file")
    assert (tmp_path / "pipe.png").is_fifo()


def test_a_file_is_read_before_writing_as_a_prime_is(
    capsys: Any, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prime.txt").write_text("the cat sat " * 200)
    expected = sample(capsys, finished_run, "--length", 50, "--prime", "the cat sat " * 200)
    assert sample(capsys, finished_run, "--length", 50, "--prime-file", tmp_path / "prime.txt") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat sat " * 200)))
    assert sample(capsys, finished_run, "--length", 50, "--prime-file", "-") == expected


def test_endless_text_is_streamed_and_an_interrupt_keeps_what_is_out(finished_run: Path) -> None:
    process = start(["sample", str(finished_run), "--length", "1000000000"])
    assert process.stdout is not None
    first = process.stdout.read(3000)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    answer = finish(process)
    assert answer.code == 130 and len(first) == 3000 and time.monotonic() - began < 10
    assert_refused(answer, 130, "interrupted")


def test_a_reader_that_closes_early_is_no_error(finished_run: Path) -> None:
    process = start(["sample", str(finished_run), "--length", "100000"])
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    process.stdout = None
    answer = finish(process)
    assert answer.code == 0 and not answer.err


def test_sampling_does_not_change_training(capsys: Any, text: Path, tmp_path: Path) -> None:
    states = []
    for every in (10, 0):
        run = tmp_path / str(every)
        assert command(capsys, "train", text, *tiny_options(run, sample_every=every)).code == 0
        states.append(five_parts(run))
    assert [states[0][k] for k in ("state", "best", "rows")] == [states[1][k] for k in ("state", "best", "rows")]
    assert states[0]["samples"] and not states[1]["samples"]


def test_samples_are_at_their_updates_and_of_their_length(finished_run: Path) -> None:
    samples = read_samples(finished_run / "samples.txt")
    assert [update for update, _, _ in samples] == [0, 1, 20, 40, 60, 80, 100, 120]
    assert {len(text) for _, _, text in samples} == {40}


def test_evaluation_gives_one_json_object_and_refuses_other_characters(
    capsys: Any, finished_run: Path, text: Path, tmp_path: Path
) -> None:
    answer = command(capsys, "evaluate", finished_run, text)
    scores = json.loads(answer.out)
    assert set(scores) == {"loss_nats", "nats_per_char", "bits_per_char", "perplexity", "accuracy", "characters"}
    assert scores["characters"] == len(text.read_text()) - 1
    other = tmp_path / "other.txt"
    other.write_text("the cat sat\non the \x1b[31mmat é\n")
    answer = command(capsys, "evaluate", finished_run, other)
    assert_refused(answer, 3, "U+001B", "line 2", "vocabulary")
    other.write_text("t")
    assert_refused(command(capsys, "evaluate", finished_run, other), 3, "2 characters")
