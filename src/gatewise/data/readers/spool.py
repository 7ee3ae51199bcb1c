"""Numbers of tables larger than memory: in a temporary file, mapped where they are used."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from typing import IO

import numpy as np

IN_MEMORY = 1 << 29  # bytes that the numbers of a table may take; more go to a temporary file
_ROWS = 1 << 15  # that are moved at once


class NumberSpool:
    """Float64 numbers `(n,)` that come piece by piece; beyond `limit` bytes they lie in a file.

    The file has no name and goes when the array does.

    >>> spool = NumberSpool(limit=16)
    >>> spool.add(np.array([1.0, 2.0])), spool.add(np.array([3.0]))
    (slice(0, 2, None), slice(2, 3, None))
    >>> spool.array()
    array([1., 2., 3.])
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: list[np.ndarray] = []
        self._file: IO[bytes] | None = None
        self._count = 0

    def add(self, numbers: np.ndarray) -> slice:
        """Take the next numbers; return where they stand in the array."""
        place = slice(self._count, self._count + len(numbers))
        self._count += len(numbers)
        self._held.append(np.ascontiguousarray(numbers, dtype=np.float64))
        if self._file is None and self._count * 8 > self._limit:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the spool)
            weakref.finalize(self, self._file.close)
        if self._file is not None:
            for piece in self._held:
                self._file.write(piece.data)
            self._held.clear()
        return place

    def array(self) -> np.ndarray:
        """Return all numbers so far."""
        if self._file is None:
            return np.concatenate(self._held) if self._held else np.empty(0)
        return _mapped(self._file, (self._count,))


def side_by_side(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return columns `(rows,)` as one array `(rows, columns)`, in a file if it is large."""
    if sum(column.nbytes for column in columns) <= IN_MEMORY:
        return np.stack(columns, axis=1)
    rows = len(columns[0])
    with tempfile.TemporaryFile() as file:
        for start in range(0, rows, _ROWS):
            block = np.stack([column[start : start + _ROWS] for column in columns], axis=1)
            file.write(np.ascontiguousarray(block, dtype=np.float64).data)
        return _mapped(file, (rows, len(columns)))


def _mapped(file: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
    """Return the file's numbers; the map lives on when the file is closed."""
    file.flush()
    # As a plain array: thousands of views of it will be made, and those of a memmap are heavy.
    return np.asarray(np.memmap(file, dtype=np.float64, mode="r", shape=shape))
