"""What the population's benchmark times: the same training in three ways."""

import pytest

from experiments.benchmark import population as benchmark_population
from experiments.benchmark.population import member_settings, time_population
from jaxrnn.errors import ConfigurationError
from tests.trees import assert_trees_close, assert_trees_equal

TEXT = "to be or not to be, that is the question. " * 40


@pytest.fixture
def measured(tmp_path, monkeypatch, capsys):
    (tmp_path / "text.txt").write_text(TEXT)
    ended = {}

    def remembered(name, function):
        def make(*arguments):
            way = function(*arguments)
            ended[name, arguments[-2]] = way()
            return way

        return make

    for name in ("_together", "_in_turn"):
        monkeypatch.setattr(benchmark_population, name, remembered(name, getattr(benchmark_population, name)))
    sizes = {"hidden": 4, "batch_size": 4, "bptt_length": 5, "members": 4, "updates": 3, "rounds": 2, "devices": 2}
    time_population(text=str(tmp_path / "text.txt"), engines=["scan", "auto"], **sizes)
    return ended, capsys.readouterr().out


@pytest.mark.slow
def test_three_ways_end_with_the_same_parameters_and_members_differ(measured):
    ended, printed = measured
    together, alone, split = ended["_together", 2], ended["_in_turn", 1], ended["_in_turn", 2]
    for one, other, halves in zip(together, alone, split, strict=True):
        assert_trees_equal(one, other)
        assert_trees_close(one, halves, rtol=1e-4)
    assert (together[0]["W_y"] != together[1]["W_y"]).any()
    assert printed.count("parameters within") == 4 and "together, scan " in printed and "(asked: 1.5)" in printed


def test_members_that_do_not_fill_the_devices_are_refused():
    with pytest.raises(ConfigurationError, match="multiple of the 2 devices; got 3"):
        time_population(text="warpeace", members=3, devices=2)


def test_the_members_are_the_recipe_with_other_seeds():
    first, second = member_settings("text", 2, 64, 100, 100)
    assert (first.seed, second.seed, second.hidden, second.learning_rate) == (
        0,
        1,
        64,
        pytest.approx(0.0063246, rel=1e-5),
    )
