import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrnn.data import windows as module
from jaxrnn.data.splits import held_out, split_text
from jaxrnn.data.windows import (
    block_of_streams,
    count_windows,
    refuse_short_part,
    reset_mask,
    scored_streams,
    to_streams,
    window_at,
)
from jaxrnn.errors import ConfigurationError, DataError


def test_the_book_of_report_a_has_44301_windows():
    counts = count_windows(1_107_540, bptt_length=25, batch_size=1)
    assert tuple(counts) == (1_107_539, 44_301, 14)


shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 23))


@settings(max_examples=300, deadline=None)
@given(shapes)
def test_streams_are_contiguous_and_what_is_left_over_is_counted(shape):
    """S = (N - 1) // B, stream b reads ids[bS : bS + S + 1], an epoch is S // T windows."""
    T, B, extra = shape
    N = T * B + 1 + extra
    ids = np.random.default_rng(N).integers(0, 5, N).astype(np.uint8)
    counts = count_windows(N, T, B)
    S = (N - 1) // B
    assert tuple(counts) == (S, S // T, N - 1 - (S // T) * T * B)
    streams = to_streams(ids, B)
    assert streams.shape == (S + 1, B) and streams.dtype == ids.dtype
    for b in range(B):
        assert streams[:, b].tolist() == ids[b * S : b * S + S + 1].tolist()


@settings(max_examples=10, deadline=None)  # few, since each size is compiled
@given(shapes)
def test_windows_walk_each_stream_once_and_know_where_documents_start(shape):
    T, B, extra = shape
    N = T * B + 1 + extra
    ids = np.random.default_rng(N).integers(0, 5, N).astype(np.uint8)
    counts, streams = count_windows(N, T, B), jnp.asarray(to_streams(ids, B))
    windows = jax.jit(lambda i: (window_at(streams, i, T), reset_mask(streams, i, T, document_end=3)))
    read: list[list[int]] = [[] for _ in range(B)]
    for window in range(counts.windows):
        block, resets = map(np.asarray, windows(window))
        assert block.shape == (T + 1, B) and resets.shape == (T, B)
        for b in range(B):
            first = b * counts.stream_length + window * T
            assert block[:, b].tolist() == ids[first : first + T + 1].tolist()
            read[b] += block[:-1, b].tolist()
            known = slice(1, None) if window == 0 else slice(None)  # before a stream there is no symbol
            before = ids[first - 1 : first + T - 1] if first else np.concatenate([[0], ids[: T - 1]])
            assert resets[known, b].tolist() == (before == 3)[known].tolist()
    for b, symbols in enumerate(read):
        first = b * counts.stream_length
        assert symbols == ids[first : first + counts.windows * T].tolist()
    assert sum(map(len, read)) + counts.left_over == N - 1


@settings(max_examples=300, deadline=None)
@given(shapes, st.integers(1, 9), st.integers(1, 9))
def test_blocks_hold_what_the_whole_streams_hold(shape, K, rows_at_once):
    """Row 0 is the row before the block's first window; beyond the streams' end is nothing that a window needs."""
    T, B, extra = shape
    ids = np.random.default_rng(extra).integers(0, 5, T * B + 1 + extra).astype(np.uint16)
    streams, windows = to_streams(ids, B), count_windows(len(ids), T, B).windows
    for first in range(0, windows, K):
        with mock.patch.object(module, "ROWS_AT_ONCE", rows_at_once):
            block = block_of_streams(ids, B, T, K, first)
        assert block.shape == (K * T + 2, B) and block.dtype == ids.dtype
        of_windows = streams[first * T : min(first + K, windows) * T + 1]
        np.testing.assert_array_equal(block[1 : len(of_windows) + 1], of_windows)
        np.testing.assert_array_equal(block[0], streams[max(first * T - 1, 0)])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 60), st.integers(1, 30), st.integers(1, 30))
def test_what_an_error_allows_works(characters, bptt_length, batch_size):
    """A text is trained if a window fits; else the message names values that fit, if there are any."""
    S = max(characters - 1, 0) // batch_size
    if S >= bptt_length:
        assert count_windows(characters, bptt_length, batch_size).windows == S // bptt_length
        return
    needed = f"at least {bptt_length * batch_size + 1} characters, got {characters}"
    if characters < 2:
        with pytest.raises(DataError, match=needed):
            count_windows(characters, bptt_length, batch_size)
        return
    with pytest.raises(ConfigurationError, match=needed) as caught:
        count_windows(characters, bptt_length, batch_size)
    for sizes in remedies(caught.value, bptt_length, batch_size):
        assert count_windows(characters, sizes["bptt_length"], sizes["batch_size"]).windows >= 1
        for size in {"bptt_length", "batch_size"} & sizes["named"]:
            larger = sizes | {size: sizes[size] + 1}
            if size == "bptt_length" or sizes["bptt_length"] == bptt_length:
                with pytest.raises(ConfigurationError):
                    count_windows(characters, larger["bptt_length"], larger["batch_size"])


def remedies(error, bptt_length, batch_size):
    """The settings that an error names, each way out with all its values; `named` are those that it changes."""
    for way in str(error).split("; ")[-1].split(", or "):
        found = {name.replace("-", "_"): value for name, value in re.findall(r"--([a-z-]+)[a-z ]* ([0-9.]+)", way)}
        values = {name: float(value) if "." in value else int(value) for name, value in found.items()}
        none_held_out = "without --validation-fraction" in str(error) or "leave --validation-fraction out" in way
        if none_held_out:
            values["validation_fraction"] = 0.0
        if values:
            yield {"bptt_length": bptt_length, "batch_size": batch_size} | values | {"named": set(values)}


def check_split(characters, fraction, bptt_length, batch_size):
    """What a run with a validation part asks of its text."""
    validation = held_out(characters, fraction)
    with_validation = validation if fraction else None
    count_windows(characters - validation, bptt_length, batch_size, with_validation)
    if fraction:
        refuse_short_part(characters, validation, bptt_length, batch_size, "validation")


@settings(max_examples=1000, deadline=None)
@given(st.integers(2, 90), st.integers(1, 999), st.integers(1, 30), st.integers(1, 9))
def test_every_way_out_that_an_error_names_works_at_once(characters, thousandths, bptt_length, batch_size):
    fraction = thousandths / 1000
    try:
        check_split(characters, fraction, bptt_length, batch_size)
    except (ConfigurationError, DataError) as error:
        ways = list(remedies(error, bptt_length, batch_size))
        assert ways or "train on a longer text" in str(error)
        for way in ways:
            check_split(characters, way.get("validation_fraction", fraction), way["bptt_length"], way["batch_size"])


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 90), st.integers(0, 500), st.integers(1, 499), st.integers(1, 30), st.integers(1, 9))
def test_with_a_test_part_every_way_out_works_too(characters, validated, tested, bptt_length, batch_size):
    """It left no window to train on, or a validation part too short; another part's own fault is told by its name."""

    def check(bptt_length, batch_size, **of):
        parts, shares = split_text(np.arange(characters), **of), [of["validation_fraction"], of["test_fraction"]]
        kept = [len(part) if share else None for part, share in zip(parts[1:], shares, strict=True)]
        count_windows(len(parts.train), bptt_length, batch_size, kept[0], tested=kept[1])
        for name, own, beside in zip(["validation", "test"], kept, kept[::-1], strict=True):
            if own is not None:
                refuse_short_part(characters, own, bptt_length, batch_size, name, beside=beside)

    shares = {"validation_fraction": validated / 1000, "test_fraction": tested / 1000}
    try:
        check(bptt_length, batch_size, **shares)
    except (ConfigurationError, DataError) as error:
        for way in remedies(error, bptt_length, batch_size):
            without = re.findall(r"(?:without|and) --([a-z]+)-fraction", str(error).split("; ")[-1])
            del way["named"]
            if "without" in str(error):
                way |= {f"{part}_fraction": 0.0 for part in without}
            try:
                check(**shares | way)
            except DataError as again:
                parts = [re.findall("^the ([a-z]+) part has", str(told)) for told in (error, again)]
                assert all(parts) and parts[0] != parts[1], (str(error), str(again))


def test_a_validation_part_too_short_names_what_works():
    with pytest.raises(DataError, match="has 5 characters, at least 8 needed; .* that works is 0.005334$"):
        refuse_short_part(1500, 5, 7, 1, "validation")  # 8 / 1500 = 0.00533..: 0.005333 would be 7 characters
    with pytest.raises(DataError, match="to train on; give --bptt-length 4, or leave --validation-fraction out, or"):
        refuse_short_part(20, 5, 7, 2, "validation")
    with pytest.raises(DataError, match="to train on; leave --validation-fraction out, or"):
        refuse_short_part(16, 1, 7, 2, "validation")
    refuse_short_part(23, 8, 7, 2, "validation")
    with pytest.raises(DataError, match="^the test part has 5 .*; the smallest --test-fraction .* is 0.005334$"):
        refuse_short_part(1500, 5, 7, 1, "test")


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_streams_longer_than_their_index_are_refused(batch_size):
    """window_at would begin at row window * T in 32 bits: such a text would be read from its start again."""
    longest = 2**31 - 2
    assert count_windows(longest * batch_size + batch_size, 25, batch_size).stream_length == longest
    with pytest.raises(ConfigurationError, match=f"{longest + 1} characters, at most {longest}") as caught:
        count_windows((longest + 1) * batch_size + 1, 25, batch_size)
    named = int(str(caught.value).split()[-1])
    assert named == batch_size + 1
    count_windows((longest + 1) * batch_size + 1, 25, named)
    with pytest.raises(ConfigurationError, match="works is 2001$"):
        count_windows(2000 * (longest + 1) + 1, 25, batch_size)
    count_windows(2000 * (longest + 1) + 1, 25, 2001)


def test_an_empty_text_is_refused_as_data():
    with pytest.raises(DataError, match="at least 26 characters, got 0; train on a longer text"):
        count_windows(0, 25, 1)


def test_one_window_and_its_target_are_enough_and_one_less_is_not():
    assert count_windows(26, 25, 1) == (25, 1, 0)
    with pytest.raises(
        ConfigurationError, match="at least 26 characters, got 25; .* --bptt-length 24 with --batch-size 1"
    ):
        count_windows(25, 25, 1)


def test_a_batch_too_large_is_refused_with_the_largest_of_either():
    assert count_windows(101, 25, 4) == (25, 1, 0)
    with pytest.raises(ConfigurationError) as caught:
        count_windows(101, 25, 5)
    assert "--bptt-length 20 at this batch size, or --batch-size 4 at this length" in str(caught.value)
    assert count_windows(101, 20, 5).windows == 1
    with pytest.raises(ConfigurationError, match="--bptt-length 100 with --batch-size 1"):
        count_windows(101, 25, 1000)


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 90), st.integers(1, 9), st.integers(1, 12))
def test_every_symbol_but_the_first_is_scored_once_after_a_window_of_text(N, B, T):
    streams, scored = scored_streams(np.arange(N), B, T)
    assert (len(streams) - 1) % T == 0 and streams.shape[1] == B
    assert sorted(streams[1:][scored].tolist()) == list(range(1, N))
    np.testing.assert_array_equal(streams[1:][scored], streams[:-1][scored] + 1)
    assert streams[0, 0] == 0 and scored[0, 0]
    for stream, counts in zip(streams.T[1:], scored.T[1:], strict=True):
        if counts.any():
            first = int(counts.argmax())
            assert first == min(T, (N - 2) // B)
            assert stream[: first + 1].tolist() == list(range(stream[0], stream[0] + first + 1))


def test_one_symbol_has_nothing_to_score():
    with pytest.raises(DataError, match="at least 2 characters, got 1"):
        scored_streams(np.zeros(1, np.uint8), 4, 5)
