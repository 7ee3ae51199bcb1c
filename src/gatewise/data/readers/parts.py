"""The part column: which row belongs to training, validation or test."""

from __future__ import annotations

import numpy as np

from gatewise.data.readers.columns import Table
from gatewise.data.series_data import PARTS
from gatewise.errors import InputError

_ALIASES = {
    **{part: part for part in PARTS},
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}


def part_names(table: Table, column: str) -> np.ndarray:
    """Return "train", "validation" or "test" for every row, as objects `(rows,)`."""
    found = table.columns[column]
    assert found.codes is not None
    # Code -1, a gap, finds the last entry.
    meaning = np.array([*(_ALIASES.get(name.lower(), "") for name in found.names), ""], object)
    parts = meaning[found.codes]
    unknown = parts == ""
    if unknown.any():
        row = int(unknown.argmax())
        given = "" if found.codes[row] < 0 else found.names[found.codes[row]]
        raise InputError(
            f"{table.where(row, column)}: the part {given!r} is not known. Accepted: "
            f"{', '.join(PARTS)}. If the column means something else, rename it."
        )
    return parts
