"""From ids to windows: a text is cut into B streams, each is read window by window, and the carry goes along.

With N ids and a batch of B, S = (N - 1) // B. Stream b holds ids[b S : b S + S + 1], so that each of its S inputs has a
target. An epoch is S // T windows; what is left over is not trained.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.data.mapped_ids import let_go
from jaxrnn.data.splits import smallest_share
from jaxrnn.errors import ConfigurationError, DataError

# Rows of the streams are counted in 32-bit integers while training, and a stream has one row more than inputs.
LONGEST_STREAM = 2**31 - 2


ROWS_AT_ONCE = 2048  # that are turned while they are in the cache: twice as fast as a whole stream at a time


class WindowCounts(NamedTuple):
    """How a text falls into windows.

    Attributes:
      stream_length: S, the inputs of one stream.
      windows: windows an epoch.
      left_over: inputs that no window holds.
    """

    stream_length: int
    windows: int
    left_over: int


def count_windows(
    characters: int,
    bptt_length: int,
    batch_size: int,
    held_out: int | None = None,
    unit: str = "characters",
    tested: int | None = None,
) -> WindowCounts:
    """Counts the windows of a text, or of the part of it that is trained on.

    Args:
      characters: N, the length of what is trained on.
      bptt_length: T.
      batch_size: B.
      held_out: characters of the text that are kept for validation, None for none. What an error names as allowed
        leaves a window for them too.
      unit: what they are called.
      tested: those that are kept for tests, likewise.

    Raises:
      DataError: if the text is too short for one window.
      ConfigurationError: if one window would fit with a smaller T or B, or a stream is longer than can be indexed.

    Example:
      >>> count_windows(1_107_540, bptt_length=25, batch_size=1).windows
      44301
    """
    stream_length = max(characters - 1, 0) // batch_size
    windows = stream_length // bptt_length
    if windows == 0:
        needed = bptt_length * batch_size + 1
        message = (
            f"a window of {bptt_length} {unit} in each of {batch_size} streams needs a text of at least {needed} "
            f"{unit}, got {characters}"
        )
        if characters < 2:
            raise DataError(f"{message}; train on a longer text")
        without, kept = list[str](), list[int]()
        for part, size in (("validation", held_out), ("test", tested)):
            # Without the one part the other may be a symbol shorter: shares are rounded together.
            if size is not None and size - len(without) < 2:  # no T fits into what is held out
                without, characters = [*without, f"--{part}-fraction"], characters + size
            elif size is not None:
                kept.append(size - len(without))
        allowed = _allowed_sizes(characters, bptt_length, batch_size, min([characters, *kept]) - 1)
        left_out = f"without {' and '.join(without)} " if without else ""
        raise ConfigurationError(f"{message}; {left_out}the largest allowed values are {allowed}")
    if stream_length > LONGEST_STREAM:
        raise ConfigurationError(
            f"one of {batch_size} streams would read {stream_length} {unit}, at most {LONGEST_STREAM} can be "
            f"counted; the smallest --batch-size that works is {(characters - 1) // (LONGEST_STREAM + 1) + 1}"
        )
    return WindowCounts(stream_length, windows, characters - 1 - windows * bptt_length * batch_size)


def _allowed_sizes(characters: int, bptt_length: int, batch_size: int, longest: int) -> str:
    """Sizes that are not refused again, where one window of T in each of B streams does not fit."""
    if batch_size == 1 or characters - 1 < batch_size:
        return f"--bptt-length {longest} with --batch-size 1"
    allowed = f"--bptt-length {min((characters - 1) // batch_size, longest)} at this batch size"
    if bptt_length <= longest:
        allowed += f", or --batch-size {(characters - 1) // bptt_length} at this length"
    return allowed


def refuse_short_part(
    characters: int,
    held_out: int,
    bptt_length: int,
    batch_size: int,
    part: str,
    unit: str = "characters",
    beside: int | None = None,
) -> None:
    """Refuses a validation or test part that is shorter than a window and its target.

    Args:
      characters: N, the length of the whole text.
      held_out: how many of them are kept for it; the others are enough to train on.
      bptt_length: T.
      batch_size: B.
      part: its name, "validation" or "test".
      unit: what is counted. Of longer symbols no share is named, since shares are of characters.
      beside: how many are kept for the other of these parts, None for none.

    Raises:
      DataError: with the smallest share that works; if none leaves enough to train on, with what works instead.
    """
    least = bptt_length + 1
    if held_out >= least:
        return
    message = f"the {part} part has {held_out} {unit}, at least {least} needed"
    if unit != "characters":
        raise DataError(f"{message}; give a larger --{part}-fraction, a smaller --bptt-length, or a longer text")
    others = 0 if beside is None else beside + 2  # shares are rounded together
    share = smallest_share(characters, least, characters - (bptt_length * batch_size + 1) - others)
    if share is not None:
        raise DataError(f"{message}; the smallest --{part}-fraction that works is {share}")
    shortest = held_out if beside is None else min(held_out, beside)
    ways = [f"give --bptt-length {shortest - 1}"] if shortest > 1 else []
    both = beside is not None and beside <= least
    left_out = "--validation-fraction and --test-fraction" if both else f"--{part}-fraction"
    ways += [f"leave {left_out} out", "give a longer text"]
    raise DataError(f"{message}, which would leave too little to train on; {', or '.join(ways)}")


def to_streams(ids: np.ndarray, batch_size: int) -> np.ndarray:
    """Cuts ids into B streams, time-major: (S + 1, B). The last row of a stream is the first of the next."""
    stream_length = (len(ids) - 1) // batch_size
    starts = np.arange(batch_size) * stream_length
    streams = np.empty((stream_length + 1, batch_size), ids.dtype)
    for b, start in enumerate(starts):
        streams[:, b] = ids[start : start + stream_length + 1]
    return streams


def scored_streams(ids: np.ndarray, batch_size: int, bptt_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts ids into B streams of whole windows, so that each symbol but the first is the target of one scored step.

    Only the text's start has a zero carry. So that the others need not begin with one, each stream but the first reads
    the T symbols before its own and is not scored on them: with T = 100 the loss is that of one stream to about 1e-4
    nats, where B streams from zero carries are 2e-3 nats worse (War and Peace, B = 100, LSTM of 64).

    With N ids, C = min(T, (N - 2) // B) symbols are read before P = ceil((N - 1 - C) / B) own ones; stream b starts at
    id b P and has C + P inputs. The last ones may be shorter or empty, and each is filled up to W = ceil((C + P) / T)
    windows; what fills up is not scored.

    Args:
      ids: (N,), N at least 2.
      batch_size: B.
      bptt_length: T.

    Returns:
      The ids, (W T + 1, B), and whether each target counts, (W T, B): not what a stream begins with, nor what fills up
      the last windows.

    Raises:
      DataError: if there is nothing to predict.

    Example:
      >>> streams, scored = scored_streams(np.arange(6), batch_size=2, bptt_length=2)
      >>> streams.T.tolist(), scored.T.astype(int).tolist()
      ([[0, 1, 2, 3, 4], [2, 3, 4, 5, 5]], [[1, 1, 1, 1], [0, 0, 1, 0]])
    """
    targets = len(ids) - 1
    if targets < 1:
        raise DataError(f"a text to score needs at least 2 characters, got {len(ids)}; give a longer text")
    before = min(bptt_length, (targets - 1) // batch_size)
    own = -(-(targets - before) // batch_size)
    length = before + own
    steps = -(-length // bptt_length) * bptt_length
    streams = np.full((steps + 1, batch_size), ids[-1], ids.dtype)
    scored = np.zeros((steps, batch_size), bool)
    for b in range(batch_size):
        part = ids[b * own : b * own + length + 1]
        if len(part) > 1:
            streams[:, b] = part[-1]
            streams[: len(part), b] = part
            scored[before if b else 0 : len(part) - 1, b] = True
    return streams, scored


def block_of_streams(ids: np.ndarray, batch_size: int, bptt_length: int, windows: int, first: int) -> np.ndarray:
    """The rows of `to_streams` that some windows need, (K T + 2, B), read without the others.

    Args:
      ids: (N,); where they are mapped, their pages are let go of afterwards.
      batch_size: B.
      bptt_length: T.
      windows: K.
      first: number of the first window; its inputs begin at row 1. Row 0 is the symbol before, of window 0 its own
        first one. Rows beyond the streams' end are 0.

    Example:
      >>> block_of_streams(np.arange(9), batch_size=2, bptt_length=2, windows=1, first=1).T.tolist()
      [[1, 2, 3, 4], [5, 6, 7, 8]]
    """
    stream_length = (len(ids) - 1) // batch_size
    start, rows = first * bptt_length - 1, windows * bptt_length + 2
    skipped, end = max(-start, 0), min(start + rows, stream_length + 1)
    block = np.zeros((rows, batch_size), ids.dtype)
    for row in range(start + skipped, end, ROWS_AT_ONCE):
        last = min(row + ROWS_AT_ONCE, end)
        parts = [ids[b * stream_length + row : b * stream_length + last] for b in range(batch_size)]
        block[row - start : last - start] = np.stack(parts).T
    if skipped:
        block[0] = block[1]
    let_go(ids)
    return block


def window_at(streams: jax.Array, window: jax.Array, bptt_length: int, offset: int = 0) -> jax.Array:
    """Window number `window` with its targets, (T + 1, B): rows 0..T-1 are inputs, rows 1..T their targets.

    Window 0 begins at row `offset` of the streams: 1 in a block of them.
    """
    start = window * bptt_length + offset
    return jax.lax.dynamic_slice_in_dim(streams, start, bptt_length + 1, axis=0)


def reset_mask(
    streams: jax.Array, window: jax.Array, bptt_length: int, document_end: int, offset: int = 0
) -> jax.Array:
    """Where a document starts in a window, (T, B): the symbol before was the end of another; see `window_at`.

    At the first window there is no symbol before; whatever stands there the carry is zero anyway.
    """
    start = window * bptt_length + offset
    before_first = jax.lax.dynamic_slice_in_dim(streams, jnp.maximum(start - 1, 0), 1, axis=0)
    inputs = jax.lax.dynamic_slice_in_dim(streams, start, bptt_length, axis=0)
    return jnp.concatenate([before_first, inputs[:-1]]) == document_end
