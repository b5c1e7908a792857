"""The table of n-gram models of a text."""

import csv

import numpy as np
import pytest

from experiments.ngrams import main
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.ngrams import ngram_log_p, train_ngrams


def test_every_order_is_scored_on_the_parts_that_were_not_trained_on(tmp_path, capsys):
    path, table = tmp_path / "text.txt", tmp_path / "table.csv"
    text = "abracadabra, said the cobra; " * 9 + "a cobré cab\r\nand a barb."
    path.write_bytes(text.encode())
    for options in ({}, {"raw": True, "retrain": True}):
        ids = np.unique(list(text.encode() if options else text), return_inverse=True)[1]
        trained = len(ids) * 8 // 10
        test = trained + len(ids) // 10
        trained = test if options else trained
        assert main(str(path), orders=3, csv_file=table, **options) == 0
        log_p = ngram_log_p(train_ngrams(ids[:trained], ids.max() + 1, 3), ids[test:])
        rows = list(csv.DictReader(table.read_text().splitlines()))
        assert [row["order"] for row in rows] == ["1", "2", "3"]
        np.testing.assert_allclose([float(row["test_loss_nats"]) for row in rows], -log_p.mean(axis=1), rtol=1e-12)
        assert (rows[0]["valid_loss_nats"] == "nan") == bool(options)
        best = 1 + int(log_p.mean(axis=1).argmax())
        assert (not options) or f"lowest test loss: order {best}," in capsys.readouterr().out


def test_what_cannot_be_split_or_counted_is_refused(tmp_path):
    (tmp_path / "short.txt").write_text("abc")
    with pytest.raises(ConfigurationError, match="10 characters"):
        main(str(tmp_path / "short.txt"))
    with pytest.raises(ConfigurationError, match="--orders"):
        main(str(tmp_path / "short.txt"), orders=0)
