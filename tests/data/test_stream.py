"""Streams: every step of every series once and in order, whatever the pieces, lanes and chunks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data import Chunk, Stream
from gatewise.errors import InputError


def in_pieces(series: tuple[np.ndarray, ...], sizes: Iterator[int]) -> Iterator[Any]:
    start = 0
    while start < len(series[0]):
        stop = start + next(sizes)
        yield tuple(array[start:stop] for array in series)
        start = stop


def series_of(stream: Stream) -> list[list[np.ndarray]]:
    """Put the chunks together again: a list of arrays for each series, in order of their begin."""
    found: list[list[Any]] = []
    open_in: dict[int, int] = {}
    for chunk in stream:
        assert isinstance(chunk, Chunk)
        assert chunk.x.shape[:2] == chunk.y.shape[:2]
        assert chunk.x.shape[0] == stream.lanes and chunk.x.shape[1] <= stream.chunk
        for lane in range(stream.lanes):
            real = slice(None) if chunk.mask is None else chunk.mask[lane]
            arrays = [chunk.x, chunk.y, chunk.sample_weight]
            parts = [array[lane][real] for array in arrays if array is not None]
            if not len(parts[0]):
                continue
            if chunk.begins[lane]:
                open_in[lane] = len(found)
                found.append([[] for _ in parts])
            for whole, part in zip(found[open_in[lane]], parts, strict=True):
                whole.append(part)
    return [[np.concatenate(array) for array in series] for series in found]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 23), min_size=1, max_size=7),
    lanes=st.integers(1, 4),
    chunk=st.integers(1, 9),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    weighted=st.booleans(),
)
def test_no_step_is_lost_and_none_comes_twice(
    lengths: list[int], lanes: int, chunk: int, sizes: list[int], weighted: bool
) -> None:
    number = count()
    series = []
    for length in lengths:
        x = np.array([[next(number)] for _ in range(length)], dtype="float64").reshape(length, 1)
        series.append((x, 2 * x, x[:, 0] + 0.5)[: 3 if weighted else 2])

    def pieces() -> Iterator[Any]:
        for one in series:
            yield in_pieces(one, (sizes[n % len(sizes)] for n in count()))

    wanted = [one for one in series if len(one[0])]
    for stream in (
        Stream(pieces, lanes=lanes, chunk=chunk),
        Stream(series, lanes=lanes, chunk=chunk),
    ):
        found = series_of(stream)
        assert len(found) == len(wanted)
        for one in found:
            match = next(other for other in wanted if other[0][0] == one[0][0])
            for array, expected in zip(one, match, strict=True):
                np.testing.assert_array_equal(array, expected)


def test_a_function_or_a_list_may_be_read_again_a_generator_may_not() -> None:
    x = np.arange(6.0)[:, None]
    for again in (Stream([(x, x)], chunk=4), Stream(lambda: iter([(x, x)]), chunk=4)):
        assert len(list(again)) == len(list(again)) == 2
    once = Stream(iter([(x, x)]), chunk=4)
    assert (len(list(once)), len(list(once))) == (2, 0)


def test_an_endless_stream_reads_no_further_than_it_must() -> None:
    read: list[int] = []

    def endless() -> Iterator[Any]:
        for number in count():
            read.append(number)
            x = np.full((3, 1), float(number))
            yield x, x

    chunks = list(islice(Stream([endless()], chunk=4), 3))
    assert [chunk.x.shape for chunk in chunks] == [(1, 4, 1)] * 3
    assert len(read) == 4


def test_a_memory_map_is_cut_into_stretches(tmp_path: Path) -> None:
    whole = np.arange(23, dtype="float32")[:, None]
    np.save(tmp_path / "x.npy", whole)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = series_of(Stream.from_arrays(x, x, lanes=3, chunk=4))
    assert [len(one) for one, _ in found] == [7, 8, 8]
    np.testing.assert_array_equal(np.concatenate([one for one, _ in found]), whole)
    found = series_of(Stream.from_arrays(x, x, x[:, 0], lengths=[5, 0, 11, 7], lanes=2, chunk=4))
    assert sorted(len(one) for one, *_ in found) == [5, 7, 11]


def test_numbers_come_as_torch_takes_them() -> None:
    x = np.arange(4, dtype=">f4")[:, None]
    (chunk,) = Stream([(x, np.arange(4, dtype="uint16"))], chunk=4)
    assert (chunk.x.dtype, chunk.y.dtype) == (np.dtype("float32"), np.dtype("int64"))
    assert chunk.x.flags.writeable


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A Parquet file of three series in row groups of ten rows."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = 37
    columns = {
        "device": ["a"] * 12 + ["b"] * 5 + ["c"] * 20,
        "heat": np.arange(rows) * 0.5,
        "flow": np.arange(rows, dtype="int32"),
        "state": np.arange(rows) % 3,
        "weight": np.ones(rows, dtype="float32"),
    }
    parquet.write_table(pa.table(columns), tmp_path / "table.parquet", row_group_size=10)
    return tmp_path / "table.parquet"


def test_a_parquet_file_is_read_by_pieces(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gatewise.data import parquet_rows

    for at_once in (3, 8192):
        monkeypatch.setattr(parquet_rows, "_AT_ONCE", at_once)
        named = {"x": ["heat", "flow"], "y": "state", "sample_weight": "weight"}
        stream = Stream.from_parquet(table, **named, series="device", lanes=2, chunk=4)
        for _ in range(2):  # again in each epoch
            found = sorted(series_of(stream), key=lambda one: one[0][0, 0])
            assert [len(x) for x, *_ in found] == [12, 5, 20]
            x, y, weight = (np.concatenate(part) for part in zip(*found, strict=True))
            np.testing.assert_array_equal(x, np.arange(37)[:, None] * [0.5, 1.0])
            np.testing.assert_array_equal(y, np.arange(37) % 3)  # classes: (T,)
            assert weight.shape == (37,)
        stretches = Stream.from_parquet(table, x=["heat"], y=["heat"], lanes=4, chunk=5)
        found = series_of(stretches)
        assert [len(x) for x, _ in found] == [9, 9, 9, 10]
        assert found[0][1].shape == (9, 1)
        np.testing.assert_array_equal(
            np.concatenate([x for x, _ in found])[:, 0], np.arange(37) * 0.5
        )


def test_a_stretch_reads_its_own_row_groups(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import parquet

    groups: list[list[int]] = []
    read = parquet.ParquetFile.iter_batches

    def watched(self: Any, *arguments: Any, row_groups: Any = None, **keywords: Any) -> Any:
        groups.append(row_groups)
        return read(self, *arguments, row_groups=row_groups, **keywords)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", watched)
    list(Stream.from_parquet(table, x=["heat"], y="state", lanes=2, chunk=50))
    assert groups == [[0, 1], [1, 2, 3]]


def test_what_does_not_fit_is_refused(table: Path, tmp_path: Path) -> None:
    x = np.zeros((4, 2))
    for series, message in (
        ([(x, x[:3])], "4 steps of x but 3 steps of y"),
        ([(x, x), (x[:, :1], x)], r"x is \(T, 2\) of float64 in one and \(T, 1\)"),
        ([(x, x), (x, x, x[:, 0])], "sample_weight, or none"),
        ([x], r"a ndarray.*\[\(x, y\)\]"),
        ([iter([(x, x, x, x)])], "4 values"),
        ([(np.float64(1), np.float64(2))], r"x\[None\]"),
        ([(np.array(["a"]), x[:1])], "only numbers"),
    ):
        with pytest.raises(InputError, match=message):
            list(Stream(series, lanes=len(series), chunk=3))
    for given_ in ({"lanes": 0}, {"chunk": 2.5}, {"chunk": True}):
        with pytest.raises(InputError, match=f"{next(iter(given_))}.*a whole number from 1"):
            Stream([(x, x)], **given_)
    with pytest.raises(InputError, match="5 lanes need at least as many"):
        Stream.from_arrays(x, x, lanes=5)
    with pytest.raises(InputError, match="add up to 3, but x has 4"):
        Stream.from_arrays(x, x, lengths=[1, 2])
    with pytest.raises(InputError, match=r"no column 'cold'\. It has: device, heat"):
        Stream.from_parquet(table, x=["cold"], y="state")
    with pytest.raises(InputError, match="device holds string"):
        Stream.from_parquet(table, x=["device"], y="state")
    with pytest.raises(InputError, match="does not exist"):
        Stream.from_parquet(tmp_path / "none.parquet", x=["heat"], y="state")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match="is no Parquet file"):
        Stream.from_parquet(tmp_path / "text.parquet", x=["heat"], y="state")


def test_gaps_and_scattered_series_of_a_file_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "gaps.parquet"
    content = {"device": ["a", "b", "a"], "heat": [0.0, None, 2.0], "state": [0, 1, 0]}
    parquet.write_table(pa.table(content), path)
    with pytest.raises(InputError, match="heat is missing in row 1"):
        list(Stream.from_parquet(path, x=["heat"], y="state"))
    with pytest.raises(InputError, match=r"series 'a' do not stand together\. Sort the file"):
        Stream.from_parquet(path, x=["state"], y="state", series="device")
