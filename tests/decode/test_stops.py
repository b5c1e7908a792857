"""What ends a text, against `str.find`."""

from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.decode import Decoding, sample_ids, stop_table, write_ids
from jaxrnn.decode.sampling import CHUNK
from jaxrnn.decode.stops import BEGIN, END, Stops
from jaxrnn.decode.texts import Writer
from jaxrnn.decode.writing import _write_chunk, begun
from jaxrnn.errors import ConfigurationError, DataError
from tests.decode.test_sampling import SYMBOLS, trained, without_memory

VOCABULARY = Vocabulary(tuple("\nabcde"))


def first_end(text, stops):
    """(where a text ends with its stop, without it), by the stop that is complete first."""
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    return min(ends) if ends else None


@pytest.mark.parametrize("symbols", [["a", "b", "c"], ["a", "ba", "cab", "bb", "abc"]])
@pytest.mark.parametrize("stops", [["ab"], ["aab", "ab", "ca"], ["abab", "bc"], ["a"], ["cabcab"]])
def test_the_automaton_ends_at_the_symbol_that_completes_a_stop(rng, symbols, stops):
    table = stop_table(symbols, stops)
    assert len(table) % 16 == 0 and table.min() >= 0 and table.max() < len(table)
    for _ in range(200):
        place, text = BEGIN, ""
        for number in rng.integers(0, len(symbols), 12):
            text, place = text + symbols[number], table[place, number]
            assert (place == END) == any(stop in text for stop in stops)


@pytest.mark.parametrize("keep", [False, True])
def test_a_stream_is_cut_where_the_whole_text_would_be(rng, keep):
    stops = ["ab\n", "bb", "ee"]
    cut = Stops(VOCABULARY, stops, None, keep).cut
    for _ in range(200):
        text = "".join(rng.choice(list("ab\ne"), 14, p=[0.3, 0.2, 0.3, 0.2]))
        borders = sorted(rng.integers(0, 15, 4))
        parts = [text[a:b] for a, b in zip([0, *borders], [*borders, 14], strict=True)]
        end = first_end(text, stops)
        assert "".join(cut(iter(parts))) == (text if end is None else text[: end[0 if keep else 1]])


def writer(params=None, document_end=None, vocabulary=VOCABULARY, **options):
    graphdef, own = trained()
    return Writer(graphdef, params or own, vocabulary, document_end, ReadingOptions(), **options)


KEY = jax.random.key(0)


def keys(number):
    return jax.vmap(jax.random.key)(np.arange(number))


def test_each_of_several_texts_ends_by_itself_as_it_would_alone():
    plain = writer().texts(300, keys(5))
    for keep in (False, True):
        stopped = writer(stop=("ab", "dd"), keep_stop=keep).texts(300, keys(5))
        ends = [first_end(text, ("ab", "dd")) for text in plain]
        assert stopped == [text[: end[0 if keep else 1]] for text, end in zip(plain, ends, strict=True)]
        assert len(set(map(len, stopped))) > 2
    assert "".join(writer(stop="ddc").stream(300, KEY)) == plain[0][: plain[0].index("ddc")]


def test_nothing_is_computed_far_past_the_stop():
    """A thousand million symbols would take hours."""
    likely = without_memory([0, 0, 9, 0, 0, 0])
    assert "b" not in "".join(writer(likely, stop="b").stream(10**9, KEY))
    assert all("b" not in text for text in writer(likely, stop="b").texts(10**9, keys(3)))


def test_the_program_stops_at_the_very_symbol():
    graphdef, params = trained()
    options: dict[str, Any] = {"decoding": Decoding(), "table": stop_table(list("abcdef"), "c"), "length": 10**9}
    [part] = write_ids(graphdef, params, keys=keys(4), **options)
    assert all(ids[-1] == 2 and 2 not in ids[:-1] for ids in part) and len(set(map(len, part))) > 1
    texts, drawn, _ = begun(graphdef, params, keys(1), None, None, "fresh")
    values = {"scales": np.ones(2, np.float32)}
    texts, ids = _write_chunk(graphdef, None, 1, params, texts, drawn, 0, CHUNK, 0, values, options["table"])
    assert texts.last.tolist() == [2] == ids[ids >= 0][-1:].tolist() and (ids >= 0).sum() < 100


def test_a_document_that_ends_ends_the_text_where_that_is_asked_for():
    end = VOCABULARY.symbols.index("c")
    whole = "".join(writer(document_end=end).stream(200, KEY))
    assert whole.count("c") > 1
    assert "".join(writer(document_end=end, until_document_end=True).stream(200, KEY)) == whole[: whole.find("c")]
    with pytest.raises(ConfigurationError, match="--until-document-end expects a run of documents"):
        writer(until_document_end=True)


def test_a_stop_that_can_never_come_is_refused_by_its_character():
    with pytest.raises(DataError, match=r"--stop 'aé' never comes: the model does not write 'é' \(U\+00E9\)"):
        writer(stop="aé")


def test_bytes_stop_at_the_bytes_of_a_text_and_are_shown_as_text():
    vocabulary = Vocabulary(tuple("abc\xa9\xaa\xc3"), bytes_mode=True)  # é is C3 A9
    plain = writer(vocabulary=vocabulary).texts(400, keys(3))
    stopped = writer(vocabulary=vocabulary, stop="é", keep_stop=True).texts(400, keys(3))
    assert all("é" in text for text in plain)
    assert stopped == [text[: text.find("é") + 1] for text in plain]


def test_what_was_read_may_be_shown_and_a_file_is_read_as_text(tmp_path):
    (tmp_path / "prime.txt").write_text("abba\nde" * 300)
    for given in ({"prime": "abba\nde" * 300}, {"prime_file": tmp_path / "prime.txt"}):
        told = writer(temperature=0, show_prime=True, **given)
        alone = writer(temperature=0, prime="abba\nde" * 300).texts(20, keys(1))[0]
        assert "".join(told.stream(20, KEY)) == told.texts(20, keys(2))[1] == "abba\nde" * 300 + alone
    assert writer(show_prime=True, temperature=0).texts(5, keys(1)) == writer(temperature=0).texts(5, keys(1))
    with pytest.raises(ConfigurationError, match="--prime and --prime-file are two"):
        writer(prime="a", prime_file=tmp_path / "prime.txt")
    with pytest.raises(ConfigurationError, match="--prime expects a text; got b'a'"):
        writer(prime=b"a")
    (tmp_path / "prime.txt").write_text("abbaé")
    with pytest.raises(DataError, match=r"'\\xe9' \(U\+00E9\)|'é' \(U\+00E9\)"):
        writer(prime_file=tmp_path / "prime.txt")


def test_a_cold_start_begins_with_a_random_symbol_and_a_learned_one_is_asked_for_in_vain():
    graphdef, params = trained()
    cold = "".join(writer(start="cold").stream(50, KEY))
    random = np.concatenate(list(sample_ids(graphdef, params, length=50, key=KEY)))
    assert cold == VOCABULARY.decode(random)
    assert cold == writer(start="cold").texts(50, keys(2))[0] != "".join(writer().stream(50, KEY))
    with pytest.raises(ConfigurationError, match="--start learned expects a model that was trained with"):
        "".join(writer(start="learned").stream(5, KEY))


def test_the_best_of_a_search_come_with_their_probability():
    best = writer(beams=8, stop="\n").texts(12, keys(3))
    assert [text.log_p for text in best] == sorted((text.log_p for text in best), reverse=True) and len(best) == 3
    assert "".join(writer(beams=8, stop="\n").stream(12, KEY)) == best[0]
    with pytest.raises(ConfigurationError, match="--samples expects a whole number from 1 to 2"):
        writer(beams=2).texts(5, keys(3))


def test_nothing_is_written_where_nothing_is_asked_for():
    assert writer(top_k=2).texts(0, keys(2)) == ["", ""] and "".join(writer(top_k=2).stream(0, KEY)) == ""
    assert SYMBOLS == len(VOCABULARY)
