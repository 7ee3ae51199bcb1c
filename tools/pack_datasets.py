"""Pack the bundled data sets from their source files: `python tools/pack_datasets.py FOLDER`.

FOLDER holds `verse_or_scripture.csv` and `JapaneseVowels_{TRAIN,TEST}.ts`. The packed files go into
`src/gatewise/data/datasets`, or into a second folder if one is named.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

PACKAGE_FOLDER = Path(__file__).resolve().parent.parent / "src/gatewise/data/datasets"


def pack_text(source: Path, target: Path) -> None:
    """Write the CSV's rows, in their order, as Parquet."""
    everything = csv.ConvertOptions(
        column_types={"text": pa.string(), "label": pa.string(), "part": pa.string()}
    )
    table = csv.read_csv(source, convert_options=everything)
    parquet.write_table(table, target, compression="zstd", compression_level=19)


def read_ts(source: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the series `(T_i, I)` of a `.ts` file and their labels, counted from 0.

    A line holds the channels, `:` between them, then the label; a channel holds its values with
    commas.
    """
    series, labels, classes = [], [], []
    for line in source.read_text(encoding="utf-8").splitlines():
        if line.startswith("@classLabel"):
            classes = line.split()[2:]
        if not line or line[0] in "#@":
            continue
        *channels, label = line.split(":")
        values = [[np.float32(value) for value in channel.split(",")] for channel in channels]
        series.append(np.array(values, dtype=np.float32).T)  # (T_i, I)
        labels.append(classes.index(label))
    return series, np.array(labels, dtype=np.int64)


def pack_series(sources: dict[str, Path], target: Path) -> None:
    """Write each part's series end to end, with lengths and labels, as one compressed `.npz`."""
    arrays = {}
    for part, source in sources.items():
        series, labels = read_ts(source)
        arrays[f"{part}_x"] = np.concatenate(series)  # (sum of T_i, I)
        arrays[f"{part}_lengths"] = np.array([len(one) for one in series], dtype=np.int64)
        arrays[f"{part}_y"] = labels
    np.savez_compressed(target, **arrays)


def main() -> None:
    """Pack both sets."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    source = Path(sys.argv[1])
    target = Path(sys.argv[2]) if len(sys.argv) == 3 else PACKAGE_FOLDER
    pack_text(source / "verse_or_scripture.csv", target / "verse_or_scripture.parquet")
    parts = {"train": "TRAIN", "test": "TEST"}
    pack_series(
        {part: source / f"JapaneseVowels_{suffix}.ts" for part, suffix in parts.items()},
        target / "japanese_vowels.npz",
    )


if __name__ == "__main__":
    main()
