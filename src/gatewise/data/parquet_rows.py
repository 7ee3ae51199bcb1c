"""The rows of a Parquet file as numbers, a range at a time, without the file in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.errors import InputError

_AT_ONCE = 8192  # rows that are decoded at a time


class ParquetRows:
    """Columns of numbers: `features` side by side as x, `labels` as y, a `weights` column if any.

    Only the row groups that a range touches are read, and of these a batch of rows at a time.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        features: Sequence[str],
        labels: Sequence[str],
        weights: Sequence[str],
    ) -> None:
        self._path = Path(path)
        self._columns = (list(features), list(labels), list(weights))
        with self._open() as file:
            known = file.schema_arrow
            for name in (*features, *labels, *weights):
                self._require(known.names, name)
                _require_numbers(self._path, name, known.field(name).type)
            # The first row of each row group, and the end.
            groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            self._starts = [0, *np.cumsum(groups).tolist()]

    def __len__(self) -> int:
        return self._starts[-1]

    def spans(self, column: str) -> list[tuple[int, int]]:
        """Return the first row of each series and the one after its last, by the column's value."""
        starts: list[int] = []
        seen: set[Any] = set()
        row, current = 0, object()
        with self._open() as file:
            self._require(file.schema_arrow.names, column)
            for batch in file.iter_batches(_AT_ONCE, columns=[column], use_threads=False):
                # Only the first row of a run is looked at in Python.
                runs = _runs(batch.column(0))
                for offset, value in runs:
                    if value == current:
                        continue
                    if value in seen:
                        raise InputError(
                            f"{self._path}: the rows of the series {value!r} do not stand "
                            f"together. Sort the file by {column}."
                        )
                    seen.add(value)
                    starts.append(row + offset)
                    current = value
                row += len(batch)
        return list(zip(starts, [*starts[1:], row], strict=True))

    def pieces(self, start: int, stop: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the rows from `start` up to `stop` as (x, y) or (x, y, weight), piece by piece."""
        groups = [
            group
            for group, (first, end) in enumerate(zip(self._starts, self._starts[1:], strict=False))
            if first < stop and end > start
        ]
        if not groups:
            return
        row = self._starts[groups[0]]
        names = list(dict.fromkeys(name for part in self._columns for name in part))
        with self._open() as file:
            for batch in file.iter_batches(
                _AT_ONCE, row_groups=groups, columns=names, use_threads=False
            ):
                first, end = max(start - row, 0), min(stop - row, len(batch))
                if first < end:
                    yield self._numbers(batch.slice(first, end - first), row + first)
                row += len(batch)

    def _numbers(self, batch: Any, row: int) -> tuple[np.ndarray, ...]:
        found: list[np.ndarray] = []
        for names in self._columns:
            if not names:
                continue
            arrays = []
            for name in names:
                column = batch.column(batch.schema.get_field_index(name))
                if column.null_count:
                    at = row + column.is_null().index(True).as_py()
                    raise InputError(
                        f"{self._path}: {name} is missing in row {at}. Fill the gap, or leave the "
                        "row out."
                    )
                arrays.append(column.to_numpy(zero_copy_only=False))
            found.append(np.stack(arrays, axis=1))
        x, y, *weight = found
        # One column of whole numbers is a class a step, as one weight is a number a step.
        if y.shape[1] == 1 and y.dtype.kind in "iub":
            y = y[:, 0]
        return (x, y, *(one[:, 0] for one in weight))

    def _open(self) -> Any:
        from pyarrow import ArrowInvalid, parquet

        try:
            return parquet.ParquetFile(self._path)
        except FileNotFoundError as error:
            raise InputError(f"{self._path} does not exist.") from error
        except ArrowInvalid as error:
            raise InputError(f"{self._path} is no Parquet file: {error}") from error

    def _require(self, names: Sequence[str], name: str) -> None:
        if name not in names:
            raise InputError(f"{self._path} has no column {name!r}. It has: {', '.join(names)}.")


def _require_numbers(path: Path, name: str, kind: Any) -> None:
    from pyarrow import types

    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise InputError(
            f"{path}: {name} holds {kind}, but a stream needs numbers. Encode it first, or read "
            "the file with gatewise.data.read."
        )


def _runs(column: Any) -> Iterator[tuple[int, Any]]:
    """Yield where the column's value changes, and to what."""
    from pyarrow import compute

    encoded = compute.run_end_encode(column)  # pyright: ignore[reportAttributeAccessIssue]
    offset = 0
    for value, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
        yield offset, value
        offset = end
