"""What the readers return: the same data, whatever file they come from."""

from __future__ import annotations

import gzip
import itertools
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewise.data import available, read
from gatewise.data.datasets import load_japanese_vowels

LONG = (
    "id,time,a,b,label\n"
    "s,2023-12,3,red,x\n"
    "t,2024-05-02,7,blue,y\n"
    "s,2023-11,1,red,x\n"
    "t,2024-05-01,5,green,y\n"
    "u,2024-05-01 12:30:00,9,blue,x\n"
)


@pytest.fixture
def long_table(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_text(LONG)
    return path


def test_a_long_table_is_grouped_sorted_and_told(long_table):
    data = read(long_table, series="id")
    assert data.task == "classification"
    assert data.ids == ["s", "t", "u"]
    assert data.features == ("a", "b")
    assert [one[:, 0].tolist() for one in data.x] == [[1, 3], [5, 7], [9]]
    colours = [[data.categories["b"][int(code)] for code in one[:, 1]] for one in data.x]
    assert colours == [["red", "red"], ["green", "blue"], ["blue"]]
    assert data.labels == ("x", "y")
    assert data.y.tolist() == [0, 1, 0]
    assert data.class_counts() == {"x": 2, "y": 1}
    assert data.times is not None and data.times[1][1] - data.times[1][0] == 86400
    assert data.notes == (
        "Column 'time' was taken as the time.",
        "Column 'label' was taken as the target.",
        "2 of 3 series had times out of order; they were sorted.",
    )
    assert data.describe()["steps"] == {"min": 1, "median": 2.0, "max": 2, "total": 5}


def test_the_same_table_in_other_files(long_table, tmp_path):
    expected = read(long_table, series="id")
    rows = long_table.read_text()
    variants = {
        "bom.csv": b"\xef\xbb\xbf" + rows.encode(),
        "windows.csv": rows.replace("\n", "\r\n").encode(),
        "tabs.tsv": rows.replace(",", "\t").encode(),
        "semicolons.txt": rows.replace(",", ";").encode(),
        "packed.csv.gz": gzip.compress(rows.encode()),
        "blank.csv": rows.replace("\nu", "\n\nu").encode() + b"\n\n",
        "spaces.csv": rows.replace(",3,red", ", 3 , red ").encode(),
    }
    for name, content in variants.items():
        (tmp_path / name).write_bytes(content)
    table = pa.csv.read_csv(long_table)
    encoded = table.column("b").dictionary_encode()
    table = table.set_column(table.schema.get_field_index("b"), "b", encoded)
    pa.parquet.write_table(table, tmp_path / "table.parquet", row_group_size=2)
    for name in [*variants, "table.parquet"]:
        data = read(tmp_path / name, series="id")
        assert data.ids == expected.ids, name
        for ours, theirs in zip(data.x, expected.x, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
        assert data.y.tolist() == expected.y.tolist()
        assert data.categories == expected.categories


def test_parquet_types_and_dates(tmp_path):
    path = tmp_path / "data.parquet"
    days = np.array(["2024-03-02", "2024-03-01"], dtype="datetime64[ns]")
    table = pa.table(
        {
            "date": days,
            "whole": pa.array([2, 1], pa.int32()),
            "truth": [True, False],
            "empty": pa.nulls(2),
            "label": [1.5, 0.5],
        }
    )
    pa.parquet.write_table(table, path)
    data = read(path, horizon=1, target="whole", missing="mask")
    assert data.features == ("whole", "truth", "empty", "label")
    np.testing.assert_array_equal(data.x[0], [[1, 0, np.nan, 0.5], [2, 1, np.nan, 1.5]])
    assert data.missing.by_feature == {"empty": 2}


def test_tags_numbers_and_forecasts(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("id,a,tag,load\ns,1,B,2.5\ns,2,I,2.5\nt,3,B,-1\nt,4,O,-1\n")
    tags = read(path, series="id", target="tag")
    assert tags.task == "tagging"
    assert [one.tolist() for one in tags.y] == [[0, 1], [0, 2]]
    assert tags.labels == ("B", "I", "O")
    numbers = read(path, series="id", target="load")
    assert (numbers.task, numbers.y.tolist()) == ("regression", [2.5, -1])
    assert numbers.features == ("a", "tag")
    forecast = read(path, series="id", target="a", horizon=1)
    assert (forecast.task, forecast.y, forecast.columns.target) == ("forecasting", None, ("a",))
    assert forecast.features == ("a", "tag", "load")
    assert read(path, series="id", target="load", task="classification").labels == ("-1", "2.5")


def test_whole_numbers_are_classes_if_they_repeat(tmp_path):
    path = tmp_path / "data.csv"
    rows = [f"s{i},{i},{i % 3},{i}\n" for i in range(12)]
    path.write_text("id,a,few,many\n" + "".join(rows))
    few = read(path, series="id", target="few")
    assert (few.task, few.labels) == ("classification", ("0", "1", "2"))
    assert read(path, series="id", target="many").task == "regression"
    path.write_text("id,a,label\n" + "".join(f"s{i},{i},{i % 2 * 8 + 2}\n" for i in range(8)))
    assert read(path, series="id").labels == ("2", "10")  # by value, not by letter


def test_missing_values_are_filled_or_kept(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("id,a,b,label\ns,1,2,x\ns,NA,4,x\ns,?,inf,x\nt,5,6,y\nt,,6,y\n")
    filled = read(path, series="id", missing="forward-fill")
    np.testing.assert_array_equal(filled.x[0], [[1, 2], [1, 4], [1, 4]])
    np.testing.assert_array_equal(filled.x[1], [[5, 6], [5, 6]])
    assert filled.missing.cells == 4
    assert filled.missing.by_feature == {"a": 3, "b": 1}
    assert filled.missing.first == "data.csv, line 3, column 'a', series 's'"
    masked = read(path, series="id", missing="mask")
    np.testing.assert_array_equal(masked.x[0], [[1, 2], [np.nan, 4], [np.nan, np.nan]])


def test_texts(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label,part,n\n"To be, or\nnot",b,train,1\nNA?,a,val,2\nno,b,test,3\n')
    data = read(path)
    assert data.x == ["To be, or\nnot", "NA?", "no"]
    assert (data.y.tolist(), data.labels) == ([1, 0, 1], ("a", "b"))
    assert data.parts == ("train", "validation", "test")
    assert data.notes[-1] == "Columns not used: n."
    assert read(path, unit="character", target="n", task="regression").y.tolist() == [1, 2, 3]


def test_a_table_in_many_pieces(tmp_path):
    """pyarrow gives pieces of about a megabyte: a column may look different in each."""
    path = tmp_path / "data.csv"
    rows = 120_000
    kinds = ("alpha", "1234567", "gamma")  # the piece in the middle holds numbers alone
    lines = (
        f"{i // 1000},{i % 1000},{i},{kinds[i * 3 // rows]},{i // 60_000}" for i in range(rows)
    )
    path.write_text("id,time,a,kind,label\n" + "\n".join(lines) + "\n")
    assert path.stat().st_size > 2**21
    data = read(path, series="id")
    assert len(data) == 120
    np.testing.assert_array_equal(np.concatenate(data.x)[:, 0], np.arange(rows))
    assert sorted(data.categories["kind"]) == sorted(kinds)
    held = np.concatenate(data.x)[:, 1].astype(int)
    for at, kind in zip((0, 60_000, rows - 1), kinds, strict=True):
        assert data.categories["kind"][held[at]] == kind
    assert data.y.sum() == 60
    with path.open("a") as file:
        file.write("120,0,oops,gamma,1\n")
    with pytest.raises(ValueError, match=r"line 120002, column 'a': 'oops' is a text"):
        read(path, series="id")


def test_ts_files_keep_their_test_part(tmp_path):
    header = "#about\n@problemName p\n@classLabel true a b\n@data\n"
    (tmp_path / "P_TRAIN.ts").write_text(header + "1,2:3,4:a\n5:6:b\n")
    alone = read(tmp_path / "P_TRAIN.ts")
    assert alone.parts is None
    (tmp_path / "P_TEST.ts").write_text(header + "7, ?:8,9:b\n")
    data = read(tmp_path / "P_TRAIN.ts", missing="mask")
    assert data.parts == ("train", "train", "test")
    assert data.notes == ("P_TEST.ts, beside it, is the test part.",)
    np.testing.assert_array_equal(data.x[0], [[1, 3], [2, 4]])
    np.testing.assert_array_equal(data.x[2], [[7, 8], [np.nan, 9]])
    assert (data.y.tolist(), data.labels) == ([0, 1, 1], ("a", "b"))


def test_ts_files_with_numbers_as_labels(tmp_path):
    path = tmp_path / "p.ts"
    path.write_text("@targetLabel true\n@data\n1,2:0.5\n3,4,5:-2\n")
    data = read(path)
    assert (data.task, data.y.tolist(), data.features) == ("regression", [0.5, -2], ("value",))
    assert data.lengths.tolist() == [2, 3]


def test_ts_files_with_time_stamps(tmp_path):
    path = tmp_path / "p.ts"
    path.write_text(
        "@timeStamps true\n@classLabel true a b\n@data\n"
        "(2024-01-02 00:00:00,2),(2024-01-01 00:00:00,1):(2024-01-01,5),(2024-01-02,?):a\n"
        "(1,7), (3,8) , (2,9):(1,0),(2,0),(3,0):b\n"
    )
    data = read(path, missing="mask")
    np.testing.assert_array_equal(data.x[0], [[1, 5], [2, np.nan]])
    np.testing.assert_array_equal(data.x[1], [[7, 0], [9, 0], [8, 0]])
    assert data.times is not None
    assert np.diff(data.times[0]).tolist() == [86400.0]
    assert data.times[1].tolist() == [1, 2, 3]
    assert data.labels == ("a", "b")


def test_npz_files(tmp_path):
    path = tmp_path / "data.npz"
    x = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    np.savez(path, x=x, lengths=np.array([3, 1, 2, 3]), y=np.array([3.0, 1.0, 3.0, 1.0]))
    data = read(path)
    assert data.lengths.tolist() == [3, 1, 2, 3]
    np.testing.assert_array_equal(data.x[2], x[2, :2])
    assert (data.y.tolist(), data.labels) == ([1, 0, 1, 0], ("1", "3"))
    np.savez(path, x=x[:, :, 0], y=np.array([list("aba"), list("bbb"), list("aab"), list("aaa")]))
    tags = read(path)
    assert tags.task == "tagging"
    assert [one.tolist() for one in tags.y] == [[0, 1, 0], [1, 1, 1], [0, 0, 1], [0, 0, 0]]
    np.savez(path, x=x, other=x)
    forecast = read(path, horizon=2, target="channel 2")
    assert (forecast.columns.target, forecast.notes) == (
        ("channel 2",),
        ("Arrays not used: other.",),
    )


def test_notes_on_the_shape(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("time,a,label\n1,1,x\n2,2,y\n3,3,x\n5,4,x\n")
    assert read(path).notes[-1] == (
        "No series column was given: the 4 rows are the steps of a single series."
    )
    assert read(path, target="a", horizon=1).notes[-1] == (
        "1 of 1 series have uneven times; rows count as steps in a row."
    )
    path.write_text("date,a\n" + "".join(f"2023-{month:02d},{month}\n" for month in range(1, 13)))
    assert read(path, target="a", horizon=1).notes == ("Column 'date' was taken as the time.",)


def test_named_sets():
    vowels = read("Japanese vowels")
    bundled = load_japanese_vowels()
    np.testing.assert_array_equal(vowels.x[270], bundled.test.x[0])
    assert vowels.describe()["parts"] == {"train": 270, "test": 370}
    texts = read("verse-or-scripture", unit="character")
    assert (texts.is_text, texts.unit, len(texts)) == (True, "character", 20_000)
    assert {one.licence for one in available() if one.origin == "bundled"} == {
        "CC BY 4.0",
        "public domain",
    }


def test_aeon_is_found_and_not_imported(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "aeon", raising=False)
    folder = tmp_path / "aeon" / "datasets" / "data" / "Toy"
    folder.mkdir(parents=True)
    (tmp_path / "aeon" / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (folder / "Toy_TRAIN.ts").write_text("@classLabel true a b\n@data\n1,2:a\n3,4:b\n")
    monkeypatch.syspath_prepend(tmp_path)
    data = read("Toy")
    assert (data.name, len(data), data.labels) == ("Toy", 2, ("a", "b"))
    assert [one.name for one in available() if one.origin == "aeon"] == ["Toy"]
    with pytest.raises(ValueError, match="Known: Toy, japanese-vowels, verse-or-scripture"):
        read("Toys")


def test_sets_of_an_installed_aeon():
    pytest.importorskip("aeon")
    data = read("BasicMotions")
    assert (len(data), data.name, len(data.features)) == (80, "BasicMotions", 6)
    assert data.parts is not None and data.parts.count("train") == 40
    ours, theirs = read("japanese-vowels"), read("JapaneseVowels")
    for one, other in itertools.islice(zip(ours.x, theirs.x, strict=True), 0, None, 50):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    np.testing.assert_array_equal(ours.y, theirs.y)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_rows_in_any_order_are_the_same_series(tmp_path, data):
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    rows = [
        (f"s{series}", step, series * 10 + step / 4, "xy"[series % 2])
        for series, length in enumerate(lengths)
        for step in range(length)
    ]
    mixed = data.draw(st.permutations(rows))
    path = tmp_path / "mixed.csv"
    lines = [",".join(map(str, row)) for row in mixed]
    path.write_text("series,time,value,label\n" + "\n".join(lines))
    found = read(path)
    assert sorted(found.ids) == [f"s{series}" for series in range(len(lengths))]
    for name, one, label in zip(found.ids, found.x, found.y, strict=True):
        series = int(name[1:])
        assert one.ravel().tolist() == [series * 10 + i / 4 for i in range(lengths[series])]
        assert found.labels[label] == "xy"[series % 2]
