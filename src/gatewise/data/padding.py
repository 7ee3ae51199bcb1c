"""Series of different lengths as one padded array, with a mask that says which steps are real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gatewise.arrays import numbers, real
from gatewise.errors import InputError

Side = Literal["pre", "post"]


def pad(series: Sequence[Any], *, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """Lay ragged series side by side, zeros after their end, and mark the real steps.

    `series` holds B arrays, tensors or nested lists, each `(T_i, I)` (channels) or `(T_i,)` (ids).
    Returns `x` `(B, T, I)` or `(B, T)`, with T the greatest length, and `mask` `(B, T)`, True at
    real steps. Element types are those of `check_series`.

    Raises `InputError` as `check_series` does.

    >>> x, mask = pad([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]])
    >>> x.shape
    torch.Size([2, 2, 2])
    >>> mask
    tensor([[ True, False],
            [ True,  True]])
    """
    return pad_tensors(check_series(series, dtype=dtype))


def pad_tensors(series: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Do what `pad` does for series that `check_series` has already seen, once a batch.

    >>> x, mask = pad_tensors([torch.tensor([7, 8]), torch.tensor([9])])
    >>> x
    tensor([[7, 8],
            [9, 0]])
    """
    x = pad_sequence(series, batch_first=True)  # (B, T, I)
    lengths = torch.tensor([len(one) for one in series], device=x.device)
    mask = torch.arange(x.shape[1], device=x.device) < lengths[:, None]  # (B, T)
    return x, mask


def check_series(series: Sequence[Any], *, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Return ragged series as tensors of one rank, one element type and one number of channels.

    Fractions become torch's default float type, whole numbers stay whole (`int64`) so that they can
    be ids, unless `dtype` names another type. Steps are rows: `(T_i, I)` or `(T_i,)`.

    Raises `InputError`, naming the series by its index, for a series without steps, without
    channels, of another rank or channel count than the first, or that holds something other than
    numbers.

    >>> [one.dtype for one in check_series([[1, 2], [3]])]
    [torch.int64, torch.int64]
    >>> check_series([[[1.0]], []])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gatewise.errors.InputError: Series 1 has length 0, but every series needs at least one...
    """
    if not isinstance(series, (Sequence, np.ndarray, Tensor)) or isinstance(series, (str, bytes)):
        raise InputError(
            f"Expected a list of series, arrays (T_i, I) or (T_i,), "
            f"but got {type(series).__name__}. Put the series in a list."
        )
    if len(series) == 0:
        raise InputError(
            "Expected a list of series but got an empty one. Give at least one series."
        )
    tensors = [_as_tensor(one, index) for index, one in enumerate(series)]
    for index, tensor in enumerate(tensors):
        _check_shape(tensor, tensors[0], index)
    if dtype is None:
        whole = not any(tensor.is_floating_point() for tensor in tensors)
        dtype = torch.int64 if whole else torch.get_default_dtype()
    return [tensor.to(dtype) for tensor in tensors]


def _as_tensor(one: Any, index: int) -> Tensor:
    name = f"Series {index}"
    if isinstance(one, Tensor):
        return real(one, name)
    array = numbers(one, name, "Give every step the same channels.")
    if array.dtype.kind == "u":
        array = array.astype(np.int64)  # torch computes little with unsigned types
    return torch.from_numpy(np.require(array, requirements=("C", "W")))


def _check_shape(tensor: Tensor, first: Tensor, index: int) -> None:
    shape = tuple(tensor.shape)
    if tensor.ndim and len(tensor) == 0:
        raise InputError(
            f"Series {index} has length 0, but every series needs at least one time step. "
            "Remove it, and its label."
        )
    if tensor.ndim not in (1, 2):
        raise InputError(
            f"Series {index} has shape {shape}, but a series is (T, I), a row a time step, or (T,) "
            "for ids. Drop or flatten the other axes."
        )
    if tensor.ndim != first.ndim:
        raise InputError(
            f"Series {index} has shape {shape} but series 0 has shape {tuple(first.shape)}: "
            "all must have the same rank. Give a single channel an axis: series[:, None]."
        )
    if tensor.ndim == 2 and tensor.shape[1] == 0:
        raise InputError(f"Series {index} has shape {shape}: no channels. Give at least one.")
    if tensor.shape[1:] != first.shape[1:]:
        raise InputError(
            f"Series {index} has {shape[1]} channels (shape {shape}) but series 0 has "
            f"{first.shape[1]}. All series need the same channels; rows are time steps: "
            "if it lies on its side, transpose it."
        )


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: Side = "pre",
    truncating: Side = "pre",
    value: ArrayLike = 0.0,
) -> np.ndarray:
    """Pad or cut sequences to one length, with the meaning of `keras.utils.pad_sequences`.

    `sequences` holds B sequences, each `(T_i, ...)`; the result is `(B, maxlen, ...)`, with
    `maxlen` by default the greatest length. `padding` and `truncating` say where `value` is put in
    and where steps are cut off: `"pre"` before the first step, `"post"` after the last. Empty
    sequences become all `value`. Fractions are cut to whole numbers by the default `dtype`, as in
    Keras: give `dtype="float32"` for measurements.

    To pad for `fit`, which needs to know which steps are real, use `pad`, or give `fit` the list
    itself.

    Raises `InputError` for sequences of different inner shapes and for arguments out of range.

    >>> pad_sequences([[1], [2, 3, 4]])
    array([[0, 0, 1],
           [2, 3, 4]], dtype=int32)
    >>> pad_sequences([[1], [2, 3, 4]], maxlen=2, padding="post", truncating="post", value=-1)
    array([[ 1, -1],
           [ 2,  3]], dtype=int32)
    """
    for argument, side in (("padding", padding), ("truncating", truncating)):
        if side not in get_args(Side):
            raise InputError(f"{argument}={side!r} is not known. Use 'pre' or 'post'.")
    if maxlen is not None and maxlen < 1:
        raise InputError(
            f"maxlen={maxlen} leaves no time step. Use a whole number from 1, or None."
        )
    arrays = [_as_array(one, dtype, index) for index, one in enumerate(sequences)]
    if not arrays:
        raise InputError("pad_sequences got no sequences. Give at least one.")
    width = max(len(array) for array in arrays) if maxlen is None else maxlen
    filled = [index for index, array in enumerate(arrays) if len(array)]
    inner = arrays[filled[0]].shape[1:] if filled else ()
    padded = np.full((len(arrays), width, *inner), value, dtype=dtype)
    for index in filled:
        if arrays[index].shape[1:] != inner:
            raise InputError(
                f"Sequence {index} has steps of shape {arrays[index].shape[1:]} but sequence "
                f"{filled[0]} has {inner}. All steps need one shape."
            )
        kept = arrays[index][-width:] if truncating == "pre" else arrays[index][:width]
        start = width - len(kept) if padding == "pre" else 0
        padded[index, start : start + len(kept)] = kept
    return padded


def _as_array(one: Any, dtype: DTypeLike, index: int) -> np.ndarray:
    if not hasattr(one, "__len__"):
        raise InputError(
            f"Sequence {index} is {one!r}, which has no length. "
            "Every sequence must be a list or an array."
        )
    try:
        return np.asarray(one, dtype=dtype)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"Sequence {index} cannot be read as an array of {np.dtype(dtype)}: {error}. "
            "Encode text first (gatewise.data.Vocabulary), or give dtype=."
        ) from error
