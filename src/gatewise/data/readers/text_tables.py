"""Tables with a text a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gatewise.data.readers.labels import labels_of
from gatewise.data.readers.options import Options
from gatewise.data.readers.parts import part_names
from gatewise.data.readers.roles import Roles
from gatewise.data.readers.tables import read_table
from gatewise.data.series_data import SeriesData
from gatewise.data.vocabulary import Vocabulary
from gatewise.errors import InputError


def read_texts(path: Path, roles: Roles, options: Options) -> SeriesData:
    """Return the texts of a table with their labels."""
    columns = roles.columns
    assert columns.text is not None
    wanted = [name for name in (columns.text, *columns.target, columns.part) if name is not None]
    table = read_table(path, wanted, wanted)
    texts = table.columns[columns.text]
    assert texts.codes is not None
    split = Vocabulary((), unit=options.unit).split
    # Index -1, a gap, finds the last entry.
    usable = np.array([*(bool(split(name)) for name in texts.names), False])
    bad = ~usable[texts.codes]
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"{table.where(row, columns.text)}: no {options.unit} in the text. Remove the row, or "
            "give it a text."
        )
    if len(columns.target) > 1:
        raise InputError("A text has one label: give one target.")
    labels = None
    if columns.target:
        name = columns.target[0]
        labels = labels_of(table.columns[name], None, options, lambda row: table.where(row, name))
    return SeriesData(
        name=table.name,
        task=labels.task if labels else options.task or "classification",
        x=[texts.names[code] for code in texts.codes],
        y=labels.y if labels else None,
        ids=[str(row + 1) for row in range(table.rows)],
        features=(),
        columns=columns,
        labels=labels.names if labels else (),
        parts=None if columns.part is None else tuple(part_names(table, columns.part).tolist()),
        unit=options.unit,
        notes=roles.notes,
    )
