"""What a user's arrays have to be, and how they are kept: copies, of the dtypes that models read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxrnn.errors import DataError

LARGEST = 2**31 - 1  # of ids and classes


def as_array(what: str, given: Any) -> np.ndarray:
    """A copy, so that what the caller does to its own array later changes nothing.

    Raises:
      DataError: if it is no array of numbers.
    """
    try:
        array = np.array(given)
    except (TypeError, ValueError) as error:
        found = "parts of different shapes" if isinstance(error, ValueError) else type(given).__name__
        raise DataError(f"{what} are expected as one array; got {found}") from None
    if np.ma.is_masked(given):
        raise DataError(f"{what} are expected without a mask; say by lengths, or a class below 0, what does not count")
    # Of bfloat16, which NumPy does not know as a number, float32 has every one.
    own = np.float32 if array.dtype.name == "bfloat16" else array.dtype.newbyteorder("=")
    array = array.astype(own if array.dtype.kind != "f" or array.dtype.itemsize <= 8 else np.float64, copy=False)
    if array.dtype.kind not in "iufb":
        raise DataError(
            f"{what} are expected as numbers; got {kind_of(array)}; convert them, such as by .astype(float)"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0].tolist()
        raise DataError(f"{what} are expected to be finite; got NaN or infinity at {place}")
    if array.dtype.kind in "iu" and array.size and array.max() > LARGEST:
        raise DataError(f"{what} are expected to be at most {LARGEST}; got {array.max()}")
    return array


def as_inputs(inputs: Any) -> np.ndarray:
    """Inputs as arrays of a kind that a model can read.

    Raises:
      DataError: if they are neither features (N, T, F) nor ids (N, T), or there are none.
    """
    array = as_array("inputs", inputs)
    if array.ndim not in (2, 3) or (array.ndim == 2 and array.dtype.kind not in "iu") or 0 in array.shape:
        raise DataError(f"expected features (N, T, F) or whole numbers as ids (N, T); got {kind_of(array)}")
    if array.ndim == 2:
        if array.min() < 0:
            raise DataError(f"ids are expected to be at least 0; got {array.min()}")
        return array.astype(np.int32, copy=False)  # `as_array` made a copy
    return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)


def as_targets(given: Any, inputs: np.ndarray) -> np.ndarray:
    """Targets of these inputs: classes (N, K), int32, or numbers (N, K) or (N, K, D); K is 1 or T.

    Raises:
      DataError: if they do not fit.
    """
    targets, (N, T) = as_array("targets", given), inputs.shape[:2]
    if targets.ndim < 1 or len(targets) != N:
        raise DataError(f"expected a target for each of {N} sequences, which are (N, T, ...); got {kind_of(targets)}")
    is_classes = targets.dtype.kind in "iub"
    if targets.ndim > (2 if is_classes else 3) or 0 in targets.shape:
        kinds = "classes (N,) or (N, T)" if is_classes else "numbers (N,), (N, T), (N, 1, D) or (N, T, D)"
        raise DataError(f"expected {kinds}; got {kind_of(targets)}")
    if targets.ndim > 1 and targets.shape[1] not in (1, T):
        one_hot = "; of rows that are one-hot give the class, argmax(axis=-1)" if targets.ndim == 2 else ""
        raise DataError(f"expected targets (N,) or (N, {T}), a target a step; got {kind_of(targets)}{one_hot}")
    targets = targets[:, None] if targets.ndim == 1 else targets
    if is_classes and (too_low := targets < -LARGEST).any():  # such as NaN as int64, which would become class 0
        targets[too_low] = -1
    return targets.astype(np.int32, copy=False) if is_classes else targets


def as_lengths(given: Any, inputs: np.ndarray) -> np.ndarray:
    """Lengths of these inputs, (N,), int32; all T if none are given.

    Raises:
      DataError: if they do not fit.
    """
    N, T = inputs.shape[:2]
    if given is None:
        return np.full(N, T, np.int32)
    lengths = as_array("lengths", given)
    if lengths.shape != (N,) or lengths.dtype.kind not in "iu":
        raise DataError(f"expected a length for each of {N} sequences, whole numbers; got {kind_of(lengths)}")
    if not ((lengths >= 1) & (lengths <= T)).all():
        raise DataError(f"expected lengths from 1 to {T}; got {lengths.min()} to {lengths.max()}")
    return lengths.astype(np.int32, copy=False)


def refuse_other_inputs(caller: str, trained: Any, inputs: np.ndarray) -> None:
    """Refuses inputs of another kind than those of an objective that a model was trained on."""
    if inputs.shape[2:] != trained.features:
        kind = f"features (N, T, {trained.features[0]})" if trained.features else "ids (N, T)"
        raise DataError(f"{caller} expects {kind}; got {kind_of(inputs)}")
    refuse_ids_from(caller, inputs, trained.ids)


def refuse_ids_from(caller: str, inputs: np.ndarray, symbols: int) -> None:
    """Refuses ids that are no symbols, which a model would read as others; features are let be."""
    if inputs.ndim == 2 and inputs.max() >= symbols:
        raise DataError(f"{caller} expects ids below {symbols}, the symbols that there are; got {inputs.max()}")


def filled_up(what: str, parts: Sequence[Any], steps: int) -> np.ndarray:
    """Arrays (T_n, ...) as one, with zeros past the end of each."""
    arrays = [as_array(what, part) for part in parts]
    if len({array.shape[1:] for array in arrays}) > 1:
        shapes = ", ".join(sorted({str(list(array.shape[1:])) for array in arrays}))
        raise DataError(f"{what} are expected to have one shape at each step; got {shapes}")
    whole = np.zeros((len(arrays), steps, *arrays[0].shape[1:]), np.result_type(*arrays))
    for row, array in zip(whole, arrays, strict=True):
        row[: len(array)] = array
    return whole


def kind_of(array: np.ndarray) -> str:
    """The dtype and shape of an array, for messages."""
    return f"{array.dtype}{list(array.shape)}"
