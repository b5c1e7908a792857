"""Units that track a property: a planted one is found, a random one is not confirmed; properties by hand."""

from __future__ import annotations

import numpy as np

from jaxrnn.inspect.properties import properties_of
from jaxrnn.inspect.tracking_units import LEVEL, find_tracking_units

TEXT = 'He said: "Go (now), 12 of you."\n    "Why?"\nSee http://a.b/c it is 3.5 m.\n' * 40


def test_properties_are_what_a_reader_would_mark() -> None:
    text = 'a "b(c)"\n  d 12 www.x.y Z'
    found = {name: values.astype(int).tolist() for name, values in properties_of(text).items()}
    assert found["inside quotes"] == [int(i in range(2, 7)) for i in range(len(text))]
    assert found["inside brackets"] == [int(i in (4, 5)) for i in range(len(text))]
    assert found["position in line"] == [*range(1, 9), *range(len(text) - 8)]
    assert found["indentation"] == [0] * 9 + [1] + [2] * (len(text) - 10)
    assert [text[i] for i in np.flatnonzero(found["inside a number"])] == ["1", "2"]
    assert "".join(text[i] for i in np.flatnonzero(found["inside a URL"])) == "www.x.y"
    assert [text[i] for i in np.flatnonzero(found["capital"])] == ["Z"]
    assert "after a full stop" in found and "inside brackets" not in properties_of("no")
    assert not any(properties_of('"' + "a" * 3000)["inside quotes"][2500:])  # never closed
    paragraphs = properties_of('"One\n\n"two" x')["inside quotes"].astype(int).tolist()
    assert paragraphs == [1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0]


def slow_noise(generator: np.random.Generator, n: int, units: int) -> np.ndarray:
    """Units that go as slowly through a text as real ones, and have nothing to do with it."""
    steps = generator.standard_normal((n, units))
    return np.stack([np.convolve(column, 0.9 ** np.arange(40), "same") for column in steps.T], axis=1)


def test_a_planted_unit_is_found_first_among_256_and_a_random_one_is_not_confirmed() -> None:
    properties = properties_of(TEXT)
    activations = slow_noise(np.random.default_rng(0), len(TEXT), 256)
    activations[:, 77] = 0.8 * properties["inside quotes"] + 0.2 * activations[:, 77] / activations[:, 77].std()
    best = find_tracking_units(activations, {"inside quotes": properties["inside quotes"]})[0]
    assert (best.unit, best.confirmed) == (77, True) and best.probe_units < 30
    column = properties["inside quotes"][-(len(TEXT) // 3) :]
    independent = np.corrcoef(activations[-(len(TEXT) // 3) :, 77], column)[0, 1]
    np.testing.assert_allclose(best.held_out, independent, rtol=1e-4)
    assert best.probe > best.held_out - 0.01
    activations[:, 77] = activations[:, 5]
    assert not any(unit.confirmed for unit in find_tracking_units(activations, properties))


def test_false_confirmations_are_at_most_what_is_promised() -> None:
    """Whole searches among units that track nothing, over labels as slow as real ones."""
    labels, confirmed, searches = properties_of(TEXT), 0, 40
    for seed in range(searches):
        generator = np.random.default_rng(seed)
        activations = slow_noise(generator, len(TEXT), 32)
        shuffled = {name: np.roll(of, generator.integers(len(of))) for name, of in labels.items()}
        found = find_tracking_units(activations, shuffled, seed=seed, shifts=60)
        confirmed += any(unit.confirmed for unit in found)
    assert confirmed <= searches * LEVEL + 3  # 2 expected at most; more than 5 of 40 happen once in 60 such tests
