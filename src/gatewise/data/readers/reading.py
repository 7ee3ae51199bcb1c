"""`read`: the one door to every reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatewise.data.readers.files import check_file
from gatewise.data.readers.named import names, read_named
from gatewise.data.readers.npz import read_npz
from gatewise.data.readers.options import Options
from gatewise.data.readers.series_tables import read_any_table
from gatewise.data.readers.ts import read_ts
from gatewise.data.series_data import Missing, SeriesData, Task
from gatewise.data.vocabulary import Unit
from gatewise.errors import InputError, unknown_name

if TYPE_CHECKING:
    from gatewise.data.series_preprocessor import SeriesPreprocessor

_READERS = {
    ".csv": read_any_table,
    ".tsv": read_any_table,
    ".txt": read_any_table,
    ".parquet": read_any_table,
    ".ts": read_ts,
    ".npz": read_npz,
}


def read(
    source: str | Path,
    *,
    series: str | None = None,
    time: str | None = None,
    target: str | Sequence[str] | None = None,
    text: str | None = None,
    part: str | None = None,
    task: Task | None = None,
    missing: Missing = "error",
    horizon: int | None = None,
    window: int | None = None,
    unit: Unit = "word",
) -> SeriesData:
    """Return the series or texts of a file, or of a data set by name, with their labels.

    `source` is a `.csv`, `.tsv`, `.txt` (also with `.gz`), `.parquet`, `.ts` or `.npz` file, or a
    name that `available` lists. In a table a row is a time step: `series` names the column that
    tells the series apart (without it the table is a single series), `time` the one they are sorted
    by, `target` the label: one a series (classification, or regression for numbers) or one a step
    (tagging). With `text` a row is a text. With `horizon` the `target` columns, or all, are to be
    forecast. `part` names a column of "train", "validation" and "test". All other columns are
    features: numbers, or categories if they hold texts.

    A role that is not given falls to a column with a usual name ("series", "time", "label",
    "text", "part" …); `notes` says so. `task` overrules what the labels suggest. `missing` says
    what becomes of NaN, infinity and empty cells: an error; `"forward-fill"`, the value of the
    step before; or `"mask"`, kept, so that the model is told.

    A table is read piece by piece. Numbers of more than half a gigabyte go to a temporary file and
    are mapped from there; `x` then holds views, as long as the rows of a series lie side by side.

    Raises `InputError` for whatever is wrong with the file, naming line and column.

    >>> data = read("japanese-vowels")
    >>> data.task, len(data), data.x[0].shape, data.labels[0]
    ('classification', 640, (20, 12), 'speaker 1')
    """
    targets = () if target is None else (target,) if isinstance(target, str) else tuple(target)
    options = Options(series, time, targets, text, part, task, missing, horizon, window, unit)
    options.check()
    return _read(source, options)


def read_like(source: str | Path, preprocessor: SeriesPreprocessor) -> SeriesData:
    """Return new data for a trained model: read as its training data were; labels may be absent.

    Raises `InputError` if a column is missing that the model was trained on, or if the channels are
    others.
    """
    columns = preprocessor.columns
    options = Options(
        series=columns.series,
        time=columns.time,
        target=columns.target,
        text=columns.text,
        part=columns.part,
        task=preprocessor.task,
        missing=preprocessor.missing,
        horizon=preprocessor.horizon,
        window=preprocessor.window,
        unit=preprocessor.unit or "word",
        new=True,
        features=preprocessor.features,
    )
    data = _read(source, options)
    preprocessor.check(data)
    return data


def _read(source: str | Path, options: Options) -> SeriesData:
    path = Path(source)
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    packed = suffixes[-1:] == [".gz"]
    kind = suffixes[-2 if packed else -1] if len(suffixes) > packed else ""
    reader = _READERS.get(kind)
    if packed and reader is not read_any_table and reader is not read_ts:
        reader = None
    if isinstance(source, str) and reader is None and not _exists(path):
        data = read_named(source, options)
        if data is not None:
            return data
        if not kind and path.name == source:
            raise unknown_name("file or data set", source, names())
    check_file(path)
    if reader is None:
        raise InputError(
            f"{path.name} ends in {path.suffix or 'nothing'}. Accepted: "
            f"{', '.join(_READERS)}, and .csv.gz. Rename or convert it."
        )
    if options.new and reader is read_any_table:
        options = _without_absent_columns(path, options)
    return reader(path, options)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _without_absent_columns(path: Path, options: Options) -> Options:
    """Return options without the label and the part column, where new data have none."""
    from gatewise.data.readers.tables import header_of

    header = header_of(path)
    if options.part not in header:
        options = replace(options, part=None)
    if options.forecasts:
        return options
    return replace(options, target=tuple(name for name in options.target if name in header))
