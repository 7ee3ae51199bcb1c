"""Every wrong file and table gets one line: what, where, what is accepted, the cure."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from gatewise.data import prepare, read, read_like, split
from gatewise.errors import GatewiseError, InputError, UnknownNameError

LONG = "id,time,a,b,label\ns,0,1,2,x\ns,1,3,4,x\nt,0,5,6,y\nt,1,7,8,y\n"


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a file."""

    def write(content: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def _reason(path: str | Path, **options: Any) -> str:
    with pytest.raises(GatewiseError) as error:
        read(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


TEXT_FILES = [
    ("", {}, "data.csv is empty: 0 bytes"),
    ("\n\n", {}, "holds only blank lines"),
    ("a,label\n", {}, "data.csv has a header but no rows"),
    (LONG[:-3] + '"', {"series": "id"}, "data.csv, line 5: 4 fields, but the header names 5"),
    (LONG + "t,2,1\n", {"series": "id"}, "data.csv, line 6: 3 fields, but the header names 5"),
    ("a,label\n1,x\x00\n", {}, "is not a text file: byte 11 is NUL"),
    ("a,a,label\n1,2,x\n", {}, "the column name 'a' occurs twice"),
    (",a,label\n0,1,x\n", {}, "column 1 has no name; perhaps it is an index"),
    ("a,b\n1,2\n", {}, "which column is the label? Give target (--target)"),
    (
        LONG,
        {"series": "idd"},
        "data.csv has no column 'idd'. Did you mean 'id'? It has: id, time, a, b, label.",
    ),
    (LONG, {"target": "sort"}, "has no column 'sort'. It has: id, time, a, b, label."),
    (LONG, {"series": "id", "target": "id"}, "Column 'id' was given two roles"),
    ("label\nx\ny\n", {}, "no column is left to learn from"),
    (
        LONG.replace("3,4", "3,"),
        {"series": "id"},
        "data.csv, line 3, column 'b', series 's': a missing value (1 such cells in all)",
    ),
    (LONG.replace("3,4", "3,NaN"), {"series": "id"}, "missing='forward-fill'"),
    (LONG.replace("5,6", "inf,6"), {"series": "id"}, "line 4, column 'a', series 't': infinity"),
    (LONG.replace("5,6", "1e99,6"), {"series": "id"}, "1e+99, beyond what float32 holds"),
    (
        LONG.replace("5,6", ",6"),
        {"series": "id", "missing": "forward-fill"},
        "line 4, column 'a', series 't': the series begins with a gap",
    ),
    (
        LONG.replace("3,4", "3,four"),
        {"series": "id"},
        "data.csv, line 3, column 'b': 'four' is a text in a column of numbers",
    ),
    (
        "a;label\n1;x\n2;x\n1,5;y\n",
        {},
        "line 4, column 'a': '1,5' is a text in a column of numbers. Write it with a decimal point",
    ),
    (LONG.replace(",y", ",x"), {"series": "id"}, "every label is 'x'. There must be two classes"),
    (LONG.replace("8,y", "8,"), {"series": "id"}, "line 5, column 'label': no label"),
    (LONG.replace("t,0,5", ",0,5"), {"series": "id"}, "line 4, column 'id': no series id"),
    (
        LONG.replace("t,1,", "t,0,"),
        {"series": "id"},
        "line 5, column 'time': the time 0 of series 't' occurs twice (first: data.csv, line 4",
    ),
    (LONG, {}, "occurs twice (first: data.csv, line 2, column 'time'). Remove one, or give the"),
    (
        LONG.replace("t,1,", "t,soon,").replace("t,0,", "t,now,").replace("s,1,", "s,then,"),
        {"series": "id"},
        "line 3, column 'time': 'then' is not a time. Accepted are numbers and dates",
    ),
    (
        LONG.replace("8,y", "8,x"),
        {"series": "id", "task": "classification"},
        "line 5, column 'label': the label of series 't' changes here",
    ),
    (
        LONG,
        {"series": "id", "task": "regression"},
        "line 2, column 'label': the label 'x' is not a finite number, which regression needs",
    ),
    (
        "id,a,label\n" + "".join(f"{i % 4},{i},{i / 7}\n" for i in range(40)),
        {"series": "id"},
        "The target is a number that changes from step to step",
    ),
    (
        "a,word,label\n" + "".join(f"{i},w{i},{'xy'[i % 2]}\n" for i in range(201)),
        {"time": "a"},
        "column 'word': 201 different texts such as 'w0', but a category has at most 200",
    ),
    (
        "a,word\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(9)),
        {"horizon": 1, "target": "word"},
        "column 'word': texts such as 'x' cannot be forecast",
    ),
    ("word\nx\ny\n", {"horizon": 1}, "no column of numbers is left to forecast"),
    ("text,label\nyes,a\n ,b\n", {}, "line 3, column 'text': no word in the text"),
    ("text,label\nyes,a\n--,b\n", {}, "line 3, column 'text': no word in the text"),
    (
        "text,label,part\nyes,a,early\nno,b,late\n",
        {},
        "the part 'early' is not known. Accepted: train, val",
    ),
    (
        "id,a,label,part\ns,1,x,train\ns,2,x,test\nt,1,y,train\n",
        {"series": "id"},
        "series 's' lies in several parts",
    ),
    (LONG, {"task": "guess"}, "Unknown task 'guess'"),
    (LONG, {"missing": "drop"}, "Unknown handling of missing values 'drop'"),
    (LONG, {"horizon": 0}, "horizon=0 is not a number of steps"),
    (LONG, {"horizon": 2, "task": "tagging"}, "horizon=2 asks for forecasts but task='tagging'"),
    (LONG, {"text": "label", "series": "id"}, "A table of texts has one text a row"),
    ("text,label\nyes,a\nno,b\n", {"task": "tagging"}, "task='tagging' needs a label a step"),
]


@pytest.mark.parametrize(("content", "options", "message"), TEXT_FILES)
def test_wrong_tables(file, content, options, message):
    assert message in _reason(file(content), **options)


def test_the_line_counts_what_an_editor_counts(file):
    quoted = 'a,note,label\n1,"two\nlines",x\n\n3,one,x\nfour,one,y\n5,one,y\n'
    assert "data.csv, line 6, column 'a': 'four'" in _reason(file(quoted))


def test_paths(tmp_path, file):
    assert "nothing.csv does not exist" in _reason(tmp_path / "nothing.csv")
    assert "is a folder" in _reason(tmp_path)
    assert "data.xls ends in .xls. Accepted: .csv, .tsv" in _reason(file(LONG, "data.xls"))
    with pytest.raises(UnknownNameError, match="Did you mean 'japanese-vowels'"):
        read("japanese-vowel")


def test_encodings_and_foreign_files(file):
    latin = LONG.replace("7,8,y", "7,8,é").encode("latin1")
    assert "data.csv, line 5: the byte 0xe9 is not UTF-8. Save" in _reason(file(latin))
    late = b"a,label\n" + b"1,x\n" * 40_000 + b"1,\xe9\n"
    assert "data.csv, line 40002: the byte 0xe9" in _reason(file(late))
    assert "text in UTF-16" in _reason(file(LONG.encode("utf-16")))
    assert "compressed by gzip" in _reason(file(gzip.compress(LONG.encode())))
    cut = gzip.compress(LONG.encode())[:-20]
    assert "data.csv.gz is not a whole gzip file" in _reason(file(cut, "data.csv.gz"))
    assert "a zip archive or a spreadsheet" in _reason(file(b"PK\x03\x04rest"))
    assert "a Parquet file: give it the ending .parquet" in _reason(file(b"PAR1rest"))
    assert "data.parquet is no whole Parquet file" in _reason(file(LONG, "data.parquet"))


def test_parquet_rows_and_types(tmp_path):
    path = tmp_path / "data.parquet"
    table = {"a": [1.0, None, 2.0], "label": ["x", "y", "y"]}
    pyarrow.parquet.write_table(pa.table(table), path)
    assert "data.parquet, row 2, column 'a': a missing value" in _reason(path)
    pyarrow.parquet.write_table(pa.table({**table, "a": [[1], [2], [3]]}), path)
    assert "column 'a': values of type list<" in _reason(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "is no whole Parquet file" in _reason(path)


TS = "@problemName p\n@classLabel true a b\n@data\n1,2:3,4:a\n5,6,7:8,9,0:b\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TS.split("1,2")[0], "holds no series after @data"),
        ("1,2,3\n", "line 1: data before the line @data, or no .ts file"),
        (TS.replace("8,9,0", "8,9"), "line 5: channels of 2, 3 steps in one series"),
        (TS.replace("5,6,7:8,9,0", ":"), "line 5: a series of length 0"),
        (TS.replace("5,6,7:", ""), "line 5: 1 channels, but the series before have 2"),
        (TS.replace("7:8", "x:8"), "line 5, step 3: 'x' is not a number"),
        (TS.replace("9,0:b", "9,0:"), "line 5: a series and its label are separated by ':'"),
        (TS.replace("7:8", "?:8"), "line 5, step 3, channel 1: a missing value"),
        (TS.replace(":b", ":a"), "every label is 'a'"),
        (TS.replace("@data", "@timeStamps true\n@data"), "line 5, step 1: '1,2' does not begin"),
        (
            TS.replace("true a b", "false").replace(":a\n", "\n").replace(":b", ""),
            "has no labels (@classLabel false)",
        ),
    ],
)
def test_wrong_ts_files(file, content, message):
    assert message in _reason(file(content, "data.ts"))


STAMPED = "@timeStamps true\n@classLabel true a b\n@data\n(0,1),(1,2):a\n(0,3),(2,4):b\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (STAMPED.replace("(2,4)", "(soon,4)"), "line 5, step 2: 'soon' is not a time"),
        (STAMPED.replace("(2,4)", "(2,x)"), "line 5, step 2: 'x' is not a number"),
        (STAMPED.replace("(2,4)", "(2,4"), "does not begin with a pair (time,value)"),
        (STAMPED.replace("(2,4)", "(0,4)"), "line 5: the time 0 occurs twice"),
        (STAMPED.replace("(0,3),(2,4)", " "), "line 5: a series of length 0"),
        (
            STAMPED.replace(":a", ":(0,1),(9,1):a").replace(":b", ":(0,1),(2,1):b"),
            "line 4: the channels have different times",
        ),
    ],
)
def test_wrong_time_stamps(file, content, message):
    assert message in _reason(file(content, "data.ts"))


def test_stamps_in_one_of_two_files(tmp_path):
    (tmp_path / "P_TRAIN.ts").write_text(STAMPED)
    (tmp_path / "P_TEST.ts").write_text("@classLabel true a b\n@data\n1,2:a\n")
    assert "one of the two files has time stamps" in _reason(tmp_path / "P_TRAIN.ts")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.arange(2)}, "has no array x, the series (N, T, I). It has: y."),
        ({"x": np.ones((2, 3))}, "has no array y, the labels. It has: x."),
        ({"x": np.ones(3), "y": np.arange(3)}, "x has shape (3,), but series are (N, T, I)"),
        ({"x": np.ones((2, 0)), "y": np.arange(2)}, "x has shape (2, 0)"),
        ({"x": np.array([["a"]]), "y": np.arange(1)}, "x holds <U1, but only numbers"),
        ({"x": np.ones((4, 3)), "y": np.arange(3)}, "y has shape (3,) and type int64, but x has 4"),
        (
            {"x": np.ones((2, 3)), "y": np.arange(2), "lengths": np.array([3, 0])},
            "lengths[1] is 0, but x has 3 steps: accepted are 1 to 3",
        ),
        (
            {"x": np.ones((2, 3)), "y": np.arange(2), "lengths": np.array([3, 4])},
            "lengths[1] is 4, but x has 3 steps",
        ),
        (
            {"x": np.ones((2, 3)), "y": np.arange(2), "lengths": np.array([3.0, 2.0])},
            "lengths has shape (2,) and type float64",
        ),
        ({"x": np.full((2, 3), np.nan), "y": np.arange(2)}, "x[0, 0, 0]: a missing value (6"),
        ({"x": np.array([1, None]), "y": np.arange(2)}, "holds Python objects"),
    ],
)
def test_wrong_npz_files(tmp_path, arrays, message):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    assert message in _reason(path)


def test_npz_that_is_none(tmp_path, file):
    assert "is no whole .npz file" in _reason(file(b"rubbish", "data.npz"))
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"rubbish")
    assert "data.npz" in _reason(path)


def _series(label: Callable[[int], Any], count: int, part: Callable[[int], str] | None = None):
    header = "id,a,label" + (",part" if part else "") + "\n"
    return header + "".join(
        f"s{i},{i + step},{label(i)}{',' + part(i) if part else ''}\n"
        for i in range(count)
        for step in range(3)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_series(lambda i: "xy"[i], 2), "2 series cannot be split into training and other parts"),
        (
            _series(lambda i: "xyz"[i % 3], 9, lambda i: "test" if i % 3 == 2 else "train"),
            "series 's2' of the test part has the class 'z', which training never saw. It knows: "
            "x, y.",
        ),
        (
            _series(lambda i: "xy"[i % 2], 8, lambda i: "test" if i % 2 else "train"),
            "the training part holds the class 'x' alone",
        ),
        (_series(lambda i: "xy"[i % 2], 8, lambda i: "test"), "has no series in its part 'train'"),
    ],
)
def test_parts_that_cannot_be(file, content, message):
    data = read(file(content), series="id")
    with pytest.raises(InputError) as error:
        split(data)
    assert message in str(error.value)


def test_series_too_short_to_forecast(file):
    data = read(file("a\n" + "1\n2\n" * 5), horizon=4)
    with pytest.raises(InputError, match="holds no window of 2 steps and 4 to forecast") as error:
        split(data)
    assert "--window, --horizon" in str(error.value)
    with pytest.raises(InputError, match="leave nothing to train on"):
        split(data, validation=0.6, test=0.4)
    with pytest.raises(InputError, match="validation=0 is not a share"):
        split(data, validation=0)


def test_new_data_that_do_not_fit(tmp_path, file):
    data = read(file(_series(lambda i: "xy"[i % 2], 8)), series="id")
    preprocessor = prepare(split(data).train)
    with pytest.raises(
        InputError, match=r"new\.csv has no column 'a'\. The model was trained on it"
    ):
        read_like(file("id,b\ns,1\n", "new.csv"), preprocessor)
    with pytest.raises(InputError, match="has the features value, but the model was trained on a"):
        read_like(file(TS.replace(":3,4", "").replace(":8,9,0", ""), "n.ts"), preprocessor)
    with pytest.raises(InputError, match="has 2 features, but the model was trained on 1: a"):
        read_like(file(TS, "new.ts"), preprocessor)
    with pytest.raises(InputError, match=r"Series 1 has shape \(2, 3\)"):
        preprocessor([np.ones((2, 1)), np.ones((2, 3))])
    with pytest.raises(InputError, match="Series 0, step 1, a: a missing value"):
        preprocessor([[[1.0], [np.nan]]])
    with pytest.raises(InputError, match=r"1e\+300, beyond what float32 holds"):
        preprocessor([[[1e300]]])
    new = read_like(file("id,a,label\ns,1,z\n", "new.csv"), preprocessor)
    with pytest.raises(InputError, match=r"has the class 'z', which training never saw\. It knows"):
        preprocessor.targets(new)
    with pytest.raises(InputError, match="trained on series, but verse or scripture holds texts"):
        read_like("verse-or-scripture", preprocessor)
