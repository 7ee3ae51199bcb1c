"""Windows of a long series as batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from gatewise.errors import InputError


class _Windows(Dataset[Any]):
    """Views of a series, one a start."""

    def __init__(self, data: Any, targets: Any, starts: np.ndarray, length: int, rate: int) -> None:
        self._data, self._targets = data, targets
        self._starts, self._span, self._rate = starts, length * rate, rate

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: int) -> Any:
        start = int(self._starts[place])
        window = torch.from_numpy(np.array(self._data[start : start + self._span : self._rate]))
        if self._targets is None:
            return window
        return window, torch.from_numpy(np.array(self._targets[start]))


class WindowBatches(DataLoader[Any]):
    """The batches of `timeseries_dataset_from_array`: a `DataLoader`, ready for `fit`."""

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        for batch in super().__iter__():
            yield tuple(batch) if isinstance(batch, list) else batch


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> WindowBatches:
    """Return batches of windows of a series, with Keras's arguments and order.

    A window holds `sequence_length` steps of `data`, every `sampling_rate`-th; windows begin every
    `sequence_stride` steps. The target of the window that begins at i is `targets[i]` (None: no
    targets). Only steps from `start_index` up to `end_index` are used. With `shuffle` the order is
    drawn anew in each epoch, repeatable with `seed`.

    >>> windows = timeseries_dataset_from_array(np.arange(6.0), np.arange(3.0, 6.0), 3)
    >>> for x, y in windows:
    ...     print(x.tolist(), y.tolist())
    [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]] [3.0, 4.0, 5.0]
    """
    data = np.asarray(data)
    targets = None if targets is None else np.asarray(targets)
    for name, value in (
        ("sequence_length", sequence_length),
        ("sequence_stride", sequence_stride),
        ("sampling_rate", sampling_rate),
    ):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise InputError(f"{name} must be a whole number from 1 but got {value!r}.")
    begin = 0 if start_index is None else start_index
    end = len(data) if end_index is None else end_index
    if not 0 <= begin < end <= len(data):
        raise InputError(
            f"start_index={start_index} and end_index={end_index} leave no steps of the "
            f"{len(data)} in data."
        )
    room = end - begin - (sequence_length - 1) * sampling_rate
    if targets is not None:
        room = min(room, len(targets) - begin)
    if room < 1:
        raise InputError(
            f"The series has {end - begin} steps"
            + ("" if targets is None else f" and {len(targets)} targets")
            + f", too few for windows of {sequence_length} steps at sampling_rate={sampling_rate}."
        )
    starts = np.arange(begin, begin + room, sequence_stride)
    generator = None
    if shuffle and seed is not None:
        generator = torch.Generator()
        generator.manual_seed(seed)
    windows = _Windows(data, targets, starts, sequence_length, sampling_rate)
    return WindowBatches(windows, batch_size, shuffle=shuffle, generator=generator)
