"""What is collected from the directories of runs is what they hold; what texts are judged by is right on small ones."""

import csv
import json

import pytest

from experiments import collect
from experiments.corpus_facts import direct_speech, reading_ease
from experiments.docstrings import docstrings
from experiments.spread import spread
from experiments.temperatures import repeated_share


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "RESULTS", tmp_path)

    def read(name):
        with open(tmp_path / f"{name}.csv", encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    return read


def test_gradients_of_each_network_and_kind_are_rows(tmp_path, results):
    found = {
        "hidden_gradient_norms": {"vanilla-2": {"untrained": [1e-7, 0.25], "trained": [None, 0.5]}},
        "jacobian_norms": {"tanh": {"0.9": [1.0, 0.9]}},
        "eigenvalues": {"vanilla-2": [[0.5, -0.25]]},
        "recent_accuracy": {"vanilla-2": 0.125},
    }
    (tmp_path / "gradients.json").write_text(json.dumps(found))
    assert collect.gradients(tmp_path) == 0
    assert results("palindromes_gradients")[1:] == [
        ["hidden gradient", "vanilla-2", "untrained", "1", "1e-07", ""],
        ["hidden gradient", "vanilla-2", "untrained", "2", "0.25", ""],
        ["hidden gradient", "vanilla-2", "trained", "1", "", ""],
        ["hidden gradient", "vanilla-2", "trained", "2", "0.5", ""],
        ["jacobian", "tanh", "0.9", "0", "1", ""],
        ["jacobian", "tanh", "0.9", "1", "0.9", ""],
        ["eigenvalue", "vanilla-2", "", "0", "0.5", "-0.25"],
        ["accuracy", "vanilla-2", "", "", "0.125", ""],
    ]


def test_gates_and_accuracies_of_each_seed_are_rows(tmp_path, results):
    gates = {"period": [24.0, 6.0], "shift": [1.0, 2.0], "open_ratio": [0.25, 0.5], "use": [0.75, 0.25]}
    noise = {"updates": [0, 5], "accuracy": {"LSTM": [[0.3, 0.5]]}, "units": {"before": [gates], "after": []}}
    sines = {"updates": [0, 9], "accuracy": {"fine": {"LSTM": [[0.5, 1.0], [0.25, 0.75]]}}}
    (tmp_path / "noise.json").write_text(json.dumps(noise | {"sensitivity": [[0.1, 0.2], [0.3, 0.4]]}))
    (tmp_path / "sines.json").write_text(json.dumps(sines))
    assert collect.gate(tmp_path) == 0
    assert results("temporal_gate_noise")[1:] == [["", "LSTM", "0", "0", "0.3"], ["", "LSTM", "0", "5", "0.5"]]
    assert results("temporal_gate_sines")[-1] == ["fine", "LSTM", "1", "9", "0.75"]
    assert results("temporal_gate_units")[2] == ["before", "0", "1", "6", "2", "0.5", "0.25"]
    assert results("temporal_gate_sensitivity") == [
        ["step", "seed_0", "seed_1"],
        ["0", "0.1", "0.3"],
        ["1", "0.2", "0.4"],
    ]


def test_a_name_is_never_small_and_stands_often_enough():
    text = "Mark saw Tom. Tom did mark it. The cat, the dog and I'll say Al and Al."
    assert collect.names_of(text, 2) == {"tom"}
    assert collect.names_of(text, 3) == set()


def test_texts_are_judged_as_said():
    assert repeated_share("a b c d a b c d", 4) == pytest.approx(1 / 5)
    assert repeated_share("a b c d e f g h") == repeated_share("") == 0
    assert direct_speech('He said: "Yes."\n\n"No') == pytest.approx((4 + 2) / 20)
    assert reading_ease("The cat sat. It ran away. ") > reading_ease(
        "Incomprehensible circumlocutions notwithstanding. "
    )
    module = 'class A:\n    """Short."""\n    def f(self):\n        """A line that is long enough."""\n'
    assert list(docstrings(module)) == ["A line that is long enough."]


def test_one_definition_of_a_spread():
    assert spread([1, 2, 3]) == (2.0, 1.0) and spread([1, 2, 3]).told(1) == "2.0 +- 1.0"
    assert str(spread([2])) == "2.000"
