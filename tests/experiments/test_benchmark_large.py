"""The benchmark of large texts in a small version: both ways train the same, and nothing is left behind."""

import pytest

from experiments.benchmark.__main__ import app
from experiments.benchmark.large import write_text
from jaxrnn.data.corpus import corpus_from_text, load_corpus
from jaxrnn.terminal.command import exit_code_of


@pytest.mark.slow
def test_both_ways_train_the_same_losses_and_the_files_are_deleted(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("one\ntwo, three\nfour\n" * 20)
    sizes = ["--batch-size", "512", "--bptt-length", "64", "--hidden", "4"]
    options = ["--text", str(tmp_path / "text.txt"), "--mebibytes", "3", "--rounds", "2", "--block-mebibytes", "1"]
    assert exit_code_of(app, ["large", *options, *sizes, "--directory", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "losses equal to the last bit" in said and said.count("peak memory") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_the_large_text_has_whole_lines_of_the_small_one_in_other_orders(tmp_path):
    corpus, path = corpus_from_text("".join(f"line {i}é\n" for i in range(50))), tmp_path / "large.txt"
    write_text(corpus, path, 10_000)
    large = load_corpus(path, stream_from="memory")
    lines = large.vocabulary.decode(large.ids).splitlines()
    assert path.stat().st_size in (9_999, 10_000) and {line[:5] for line in lines[:-1]} == {"line "}
    first, second = lines[:50], lines[50:100]
    assert sorted(first) == sorted(second) and first != second
