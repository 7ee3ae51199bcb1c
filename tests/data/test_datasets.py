"""The bundled data: the published counts, and exact round trips through the packing script."""

from __future__ import annotations

import re
import runpy
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from gatewise.data import Vocabulary
from gatewise.data.datasets import load_japanese_vowels, load_verse_or_scripture

ROOT = Path(__file__).resolve().parents[2]


def test_verse_or_scripture_counts():
    data = load_verse_or_scripture()
    assert data.label_names == ("scripture", "shakespeare")
    assert np.bincount(data.train.y).tolist() == [9000, 9000]
    assert np.bincount(data.test.y).tolist() == [1000, 1000]
    assert data.majority_accuracy() == 0.5
    texts = data.train.x + data.test.x
    assert {len(text.split()) for text in texts} == set(range(6, 17))
    assert {character for text in texts for character in text} == set(
        "abcdefghijklmnopqrstuvwxyz' "
    )
    # Words of two letters or more in the training part, as scikit-learn's CountVectorizer counts
    # them.
    assert len({word for text in data.train.x for word in re.findall(r"\w\w+", text)}) == 11_067


def test_verse_or_scripture_fits_the_seed_s_embedding():
    data = load_verse_or_scripture()
    vocabulary = Vocabulary.fit(data.train.x, max_size=10_000)
    assert len(vocabulary) == 10_000
    ids = vocabulary.encode(data.test.x)
    assert max(map(max, ids)) < 10_000
    assert np.mean([identity == 1 for one in ids for identity in one]) < 0.05


def test_japanese_vowels_counts():
    data = load_japanese_vowels()
    assert data.label_names == tuple(f"speaker {number}" for number in range(1, 10))
    assert np.bincount(data.train.y).tolist() == [30] * 9
    assert np.bincount(data.test.y).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    lengths = [len(series) for series in data.train.x + data.test.x]
    assert (min(lengths), max(lengths)) == (7, 29)
    assert {series.shape[1] for series in data.train.x + data.test.x} == {12}
    assert {series.dtype for series in data.train.x + data.test.x} == {np.dtype(np.float32)}
    # The first and last numbers of the source files, as printed there.
    assert data.train.x[0][0, 0] == np.float32("1.860936")
    assert data.test.x[-1][-1, -1] == np.float32("0.224688")


def test_a_data_set_tells_its_licence():
    for data in (load_verse_or_scripture(), load_japanese_vowels()):
        assert data.licence
        assert data.source
        assert data.description
        assert "x=" not in repr(data)


def test_packing_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = [
        "text,label,part",
        "o'er the sea,shakespeare,train",
        "and he said,scripture,test",
        "7,scripture,train",
    ]
    (tmp_path / "verse_or_scripture.csv").write_text("\n".join(rows) + "\n")
    head = "# a comment\n@problemName X\n@classLabel true 1 2\n@data\n"
    (tmp_path / "JapaneseVowels_TRAIN.ts").write_text(head + "1.860936,2:-3e-3,4:2\n0.1:0.2:1\n")
    (tmp_path / "JapaneseVowels_TEST.ts").write_text(head + "5,6,7:8,9,10:1\n")
    monkeypatch.setattr(sys, "argv", ["pack_datasets.py", str(tmp_path), str(tmp_path)])
    runpy.run_path(str(ROOT / "tools/pack_datasets.py"), run_name="__main__")

    table = pyarrow.parquet.read_table(tmp_path / "verse_or_scripture.parquet").to_pylist()
    assert [",".join(row.values()) for row in table] == rows[1:]
    with np.load(tmp_path / "japanese_vowels.npz", allow_pickle=False) as arrays:
        printed = [["1.860936", "-3e-3"], ["2", "4"], ["0.1", "0.2"]]
        np.testing.assert_array_equal(arrays["train_x"], np.array(printed).astype(np.float32))
        assert arrays["train_lengths"].tolist() == [2, 1]
        assert arrays["train_y"].tolist() == [1, 0]
        np.testing.assert_array_equal(arrays["test_x"], np.array([[5, 8], [6, 9], [7, 10]]))


def test_parts_do_not_share_fragments_beyond_formulas():
    data = load_verse_or_scripture()
    shared = Counter(data.train.x).keys() & Counter(data.test.x).keys()
    assert shared == {"and the lord spake unto moses saying", "and it came to pass when"}
