"""Data sets by name: those that come with this package, and those of an installed aeon."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.data.datasets import Dataset, load_japanese_vowels, load_verse_or_scripture
from gatewise.data.readers.options import Options
from gatewise.data.readers.ts import read_ts
from gatewise.data.series_data import Columns, SeriesData
from gatewise.errors import InputError

_BUNDLED = {
    "japanese-vowels": load_japanese_vowels,
    "verse-or-scripture": load_verse_or_scripture,
}


@dataclass(frozen=True)
class Available:
    """A data set that `read` knows by name."""

    name: str
    origin: str
    description: str = ""
    licence: str = ""


def available() -> list[Available]:
    """Return the data sets that `read` knows by name.

    >>> [one.name for one in available() if one.origin == "bundled"]
    ['japanese-vowels', 'verse-or-scripture']
    """
    bundled = []
    for name, load in _BUNDLED.items():
        data = load()
        bundled.append(Available(name, "bundled", data.description, data.licence))
    return bundled + [Available(name, "aeon") for name in sorted(_aeon())]


def names() -> list[str]:
    """Return the names that `read_named` knows."""
    return [*_BUNDLED, *sorted(_aeon())]


def read_named(name: str, options: Options) -> SeriesData | None:
    """Return the data set of this name; None if there is none."""
    key = re.sub(r"[\s_]+", "-", name.strip().lower())
    if key in _BUNDLED:
        return _bundled(_BUNDLED[key](), options)
    path = _aeon().get(name)
    if path is None:
        return None
    return replace(read_ts(path, options), name=name)


def _aeon() -> dict[str, Path]:
    """Return the .ts files of an installed aeon, found without importing it."""
    try:
        found = util.find_spec("aeon")
    except (ImportError, ValueError):
        return {}
    if found is None or not found.submodule_search_locations:
        return {}
    folder = Path(next(iter(found.submodule_search_locations))) / "datasets" / "data"
    return {
        path.name.removesuffix("_TRAIN.ts"): path
        for path in sorted(folder.glob("*/*_TRAIN.ts"))
        if path.parent.name == path.name.removesuffix("_TRAIN.ts")
    }


def _bundled(data: Dataset[Any], options: Options) -> SeriesData:
    if options.task not in (None, "classification") or options.horizon is not None:
        raise InputError(f"{data.name} is a classification set. Leave task and horizon out.")
    text = isinstance(data.train.x[0], str)
    x = [*data.train.x, *data.test.x]
    if not text:
        x = [series.astype(np.float64) for series in x]
    width = 0 if text else x[0].shape[1]
    return SeriesData(
        name=data.name,
        task="classification",
        x=x,
        y=np.concatenate([data.train.y, data.test.y]).astype(np.int64),
        ids=[str(index + 1) for index in range(len(x))],
        features=tuple(f"channel {index + 1}" for index in range(width)),
        columns=Columns(target=("label",), text="text" if text else None),
        labels=data.label_names,
        parts=("train",) * len(data.train) + ("test",) * len(data.test),
        unit=options.unit if text else None,
        notes=("The data set's own test part is kept for the test.",),
    )
