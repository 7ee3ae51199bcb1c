"""Streams: series without an end in sight, read chunk by chunk.

`lanes` series run side by side. A lane whose series ends takes the next one with the next chunk,
and that chunk says so in `begins`. The rest of the lane's chunk is masked: no step is lost, none is
seen twice, and only one chunk is ever in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gatewise.errors import InputError

Piece = tuple[np.ndarray, ...]  # x (T, …), y (T, …) and perhaps a weight for each step (T,)
Series = Iterable[Any]  # pieces, or one piece that is the whole series


class Chunk(NamedTuple):
    """The next steps of all lanes: B lanes, at most `chunk` steps."""

    x: np.ndarray  # (B, K, …)
    y: np.ndarray  # (B, K, …)
    sample_weight: np.ndarray | None  # (B, K)
    mask: np.ndarray | None  # (B, K), True at real steps; None: everywhere
    begins: np.ndarray  # (B,), True where a new series begins


class Stream:
    """Series that are too long for memory, or endless, for `fit`: chunk by chunk, lane by lane.

    `series` gives one series after the other, or is a function that does so anew for each epoch. A
    series is a tuple of arrays `(x, y)`, which may be memory-mapped, or an iterable of such tuples,
    its pieces, of any length, which may never end. x is `(T, I)`, or token ids `(T,)`; y has one
    label a step; a third array `(T,)` weighs the steps. With several lanes each takes the next
    series when its own has ended.

    Raises `InputError` for pieces that do not fit together. With endless series give `fit`
    `steps_per_epoch`; one step is one chunk.

    >>> def counting():
    ...     for start in range(0, 7, 3):  # pieces of 3, 3 and 1 steps
    ...         x = np.arange(start, min(start + 3, 7), dtype="float32")[:, None]
    ...         yield x, 2 * x
    >>> for chunk in Stream([counting()], chunk=4):
    ...     print(chunk.x[0, :, 0], chunk.begins)
    [0. 1. 2. 3.] [ True]
    [4. 5. 6.] [False]
    """

    def __init__(
        self,
        series: Iterable[Series] | Callable[[], Iterable[Series]],
        *,
        lanes: int = 1,
        chunk: int = 100,
    ) -> None:
        self.lanes = _positive("lanes, the series side by side", lanes)
        self.chunk = _positive("chunk, in time steps,", chunk)
        self._series = series

    def __iter__(self) -> Iterator[Chunk]:
        series = iter(self._series() if callable(self._series) else self._series)
        lanes = [_Lane(series) for _ in range(self.lanes)]
        while True:
            taken = [lane.take(self.chunk) for lane in lanes]
            pieces = [piece for piece, _ in taken]
            if all(piece is None for piece in pieces):
                return
            yield _side_by_side(pieces, [begins for _, begins in taken])

    @classmethod
    def from_arrays(
        cls,
        x: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None = None,
        *,
        lengths: Sequence[int] | None = None,
        lanes: int = 1,
        chunk: int = 100,
    ) -> Stream:
        """Return a stream over long arrays, such as `numpy.load(path, mmap_mode="r")`.

        `lengths` says how long the series are that lie in the arrays one after the other. Without
        it the arrays are one series, which is cut into as many stretches as there are lanes.

        >>> x = np.arange(10.0)[:, None]
        >>> [chunk.x.shape for chunk in Stream.from_arrays(x, x, lanes=2, chunk=3)]
        [(2, 3, 1), (2, 2, 1)]
        """
        arrays = (x, y) if sample_weight is None else (x, y, sample_weight)
        _check_lengths([len(array) for array in arrays])
        spans = _spans(len(x), lanes) if lengths is None else _after_another(lengths, len(x))

        def series() -> Iterator[Series]:
            for start, stop in spans:
                yield tuple(array[start:stop] for array in arrays)

        return cls(series, lanes=lanes, chunk=chunk)

    @classmethod
    def from_parquet(
        cls,
        path: str | os.PathLike[str],
        *,
        x: Sequence[str],
        y: str | Sequence[str],
        series: str | None = None,
        sample_weight: str | None = None,
        lanes: int = 1,
        chunk: int = 100,
    ) -> Stream:
        """Return a stream over the rows of a Parquet file, which is read piece by piece.

        `x` and `y` name columns of numbers. A series ends where the column `series` changes, whose
        rows stand together; without it the file is one series, cut into as many stretches as there
        are lanes.

        Raises `InputError` for a column that is missing, not of numbers, or has gaps.
        """
        from gatewise.data.parquet_rows import ParquetRows

        labels = [y] if isinstance(y, str) else list(y)
        weights = [] if sample_weight is None else [sample_weight]
        rows = ParquetRows(path, list(x), labels, weights)
        spans = _spans(len(rows), lanes) if series is None else rows.spans(series)
        return cls(
            lambda: (rows.pieces(start, stop) for start, stop in spans), lanes=lanes, chunk=chunk
        )


class _Lane:
    """One of the series side by side: what is left of it, and then the next."""

    def __init__(self, series: Iterator[Series]) -> None:
        self._series = series
        self._pieces: Iterator[Any] = iter(())
        self._rest: Piece | None = None

    def take(self, steps: int) -> tuple[Piece | None, bool]:
        """Return at most so many steps of a series, and whether it begins with them.

        There is nothing more where the piece is None.
        """
        begins = False
        while not self._refilled():
            series = next(self._series, None)
            if series is None:
                return None, True
            self._pieces = iter([series]) if isinstance(series, tuple) else iter(series)
            begins = True
        parts: list[Piece] = []
        missing = steps
        while missing and self._refilled():
            assert self._rest is not None
            part = tuple(array[:missing] for array in self._rest)
            self._rest = tuple(array[missing:] for array in self._rest)
            missing -= len(part[0])
            parts.append(part)
        return _joined(parts), begins

    def _refilled(self) -> bool:
        """Whether there is another step of this series."""
        while self._rest is None or not len(self._rest[0]):
            piece = next(self._pieces, None)
            if piece is None:
                self._rest = None
                return False
            self._rest = _checked(piece)
        return True


def _checked(piece: Any) -> Piece:
    """Return a piece whose arrays have a row for each step."""
    if not isinstance(piece, tuple) or not 2 <= len(piece) <= 3:
        got = f"{len(piece)} values" if isinstance(piece, tuple) else f"a {type(piece).__name__}"
        raise InputError(
            f"A series of a Stream is (x, y) or (x, y, sample_weight), or gives such pieces, but "
            f"this one gave {got}. Wrap a single series in a list: Stream([(x, y)])."
        )
    arrays = tuple(np.asanyarray(array) for array in piece)
    for name, array in zip(("x", "y", "sample_weight"), arrays, strict=False):
        if array.ndim == 0:
            raise InputError(
                f"{name} of a piece is one number, {array}, but a piece has a row for each time "
                f"step. Make it an array of one step: {name}[None]."
            )
        if array.dtype.kind not in "fiub":
            raise InputError(f"{name} of a piece holds {array.dtype}, but only numbers train.")
    _check_lengths([len(array) for array in arrays])
    return arrays


def _check_lengths(lengths: Sequence[int]) -> None:
    if len(set(lengths)) > 1:
        counts = " but ".join(
            f"{length} steps of {name}"
            for name, length in zip(("x", "y", "sample_weight"), lengths, strict=False)
        )
        raise InputError(
            f"A stream needs a row of each array for every time step, but got {counts}."
        )


def _joined(parts: Sequence[Piece]) -> Piece:
    """Return pieces one after the other as one."""
    if len(parts) == 1:
        return parts[0]
    _require_alike(parts)
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _side_by_side(pieces: Sequence[Piece | None], begins: Sequence[bool]) -> Chunk:
    """Return the lanes' pieces as one chunk; what is missing is zeros, and masked."""
    present = [piece for piece in pieces if piece is not None]
    _require_alike(present)
    lengths = np.array([0 if piece is None else len(piece[0]) for piece in pieces])
    steps = int(lengths.max())
    arrays: list[np.ndarray | None] = []
    for number, first in enumerate(present[0]):
        array = np.zeros((len(pieces), steps, *first.shape[1:]), dtype=_plain(first.dtype))
        for lane, piece in enumerate(pieces):
            if piece is not None:
                array[lane, : len(piece[number])] = piece[number]
        arrays.append(array)
    x, y, weight = [*arrays, None][:3]
    assert x is not None and y is not None
    mask = None if (lengths == steps).all() else np.arange(steps) < lengths[:, None]
    return Chunk(x, y, weight, mask, np.array(begins))


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which torch takes such numbers: signed, in this machine's byte order."""
    if dtype.kind == "u" and dtype.itemsize > 1:
        return np.dtype(np.int64)
    return dtype.newbyteorder("=")


def _require_alike(pieces: Sequence[Piece]) -> None:
    """Raise `InputError` unless the pieces have the same arrays but for their lengths."""
    first = pieces[0]
    for piece in pieces[1:]:
        if len(piece) != len(first):
            raise InputError(
                f"One piece of a stream has {len(first)} arrays and another {len(piece)}. Give all "
                "of them a sample_weight, or none."
            )
        for name, one, other in zip(("x", "y", "sample_weight"), first, piece, strict=False):
            if one.shape[1:] != other.shape[1:] or one.dtype != other.dtype:
                raise InputError(
                    f"The pieces of a stream do not fit together: {name} is {_kind(one)} in one "
                    f"and {_kind(other)} in another."
                )


def _kind(array: np.ndarray) -> str:
    return f"(T{''.join(f', {size}' for size in array.shape[1:])}) of {array.dtype}"


def _spans(steps: int, lanes: int) -> list[tuple[int, int]]:
    """Return stretches of one series, as many as there are lanes, whose lengths differ by one."""
    _positive("lanes, the series side by side", lanes)
    if steps < lanes:
        raise InputError(f"{lanes} lanes need at least as many time steps, but there are {steps}.")
    cuts = [steps * lane // lanes for lane in range(lanes + 1)]
    return list(pairwise(cuts))


def _after_another(lengths: Sequence[int], steps: int) -> list[tuple[int, int]]:
    ends = np.cumsum(lengths).tolist()
    if any(length < 0 for length in lengths) or (ends or [0])[-1] != steps:
        raise InputError(
            f"lengths add up to {(ends or [0])[-1]}, but x has {steps} steps. Give the length of "
            "every series, in their order."
        )
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _positive(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"A Stream expected {what} as a whole number from 1 but got {value!r}.")
    return value
