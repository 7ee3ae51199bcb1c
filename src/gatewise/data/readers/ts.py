"""The .ts files of the time series archives: a header of @directives, then a series a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gatewise.data.missing import handle_missing
from gatewise.data.readers.columns import Column, is_number
from gatewise.data.readers.files import check_file, head_of_text, open_bytes, wrong_encoding
from gatewise.data.readers.labels import labels_of
from gatewise.data.readers.options import Options
from gatewise.data.readers.ts_stamps import split_channels, stamped_values
from gatewise.data.series_data import Columns, SeriesData
from gatewise.errors import InputError


@dataclass
class _Lines:
    """What the lines of a file, or of two, hold."""

    x: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    times: list[np.ndarray] = field(default_factory=list)
    numeric_target: bool = False
    stamped: bool = False
    labelled: bool = True


def read_ts(path: Path, options: Options) -> SeriesData:
    """Return the series of a .ts file; `X_TRAIN.ts` brings `X_TEST.ts` beside it as test part."""
    lines = _Lines()
    _read_into(lines, path)
    parts, notes = None, ()
    test = path.with_name(path.name.replace("_TRAIN.ts", "_TEST.ts"))
    if not options.new and test != path and test.exists():
        count = len(lines.x)
        _read_into(lines, test)
        parts = ("train",) * count + ("test",) * (len(lines.x) - count)
        notes = (f"{test.name}, beside it, is the test part.",)
    return _as_data(path, lines, options, parts, notes)


def _as_data(
    path: Path,
    lines: _Lines,
    options: Options,
    parts: tuple[str, ...] | None,
    notes: tuple[str, ...],
) -> SeriesData:
    if options.forecasts:
        raise InputError(
            f"{path.name}: a .ts file holds labelled series, which are not forecast. "
            "Give a table with a column to forecast."
        )
    width = lines.x[0].shape[1]
    features = ("value",) if width == 1 else tuple(f"channel {i + 1}" for i in range(width))
    x, report = handle_missing(
        lines.x,
        features,
        options.missing,
        lambda series, step, channel: (
            f"{lines.places[series]}, step {step + 1}, {features[channel]}"
        ),
    )
    names = tuple(dict.fromkeys(lines.labels))
    codes = np.array([names.index(label) for label in lines.labels], dtype=np.int64)
    if lines.numeric_target and options.task is None:
        options = Options(task="regression", missing=options.missing, new=options.new)
    labels = None
    if lines.labelled:
        target = Column("label", codes=codes, names=names)
        labels = labels_of(target, None, options, lambda row: lines.places[row])
    elif not options.new:
        raise InputError(
            f"{path.name} has no labels (@classLabel false), which training needs. "
            "Give a file with labels."
        )
    return SeriesData(
        name=path.name,
        task=labels.task if labels else options.task or "classification",
        x=x,
        y=labels.y if labels else None,
        ids=[str(index + 1) for index in range(len(x))],
        features=features,
        columns=Columns(target=("label",) if labels else ()),
        labels=labels.names if labels else (),
        times=lines.times if lines.times else None,
        parts=parts,
        missing=report,
        notes=notes,
    )


def _read_into(lines: _Lines, path: Path) -> None:
    check_file(path)
    head_of_text(path)
    width = lines.x[0].shape[1] if lines.x else None
    count = len(lines.x)
    header: dict[str, str] | None = {}
    for number, line in _text_lines(path):
        if header is not None:
            if line.startswith("@"):
                name, _, value = line[1:].partition(" ")
                header[name.lower()] = value.strip().lower()
            else:
                raise InputError(
                    f"{path.name}, line {number}: data before the line @data, or no .ts file. "
                    "A .ts file begins with lines such as @classLabel true a b."
                )
            if line.lower().startswith("@data"):
                _take_header(lines, path, header)
                header = None
            continue
        series, label = _series(line, f"{path.name}, line {number}", lines)
        width = series.shape[1] if width is None else width
        if series.shape[1] != width:
            raise InputError(
                f"{path.name}, line {number}: {series.shape[1]} channels, but the series before "
                f"have {width}. Channels are separated by ':'; perhaps the file was cut off."
            )
        lines.x.append(series)
        lines.labels.append(label)
        lines.places.append(f"{path.name}, line {number}")
    if len(lines.x) == count:
        raise InputError(
            f"{path.name} holds no series after @data. Perhaps it was cut off: get it again."
        )


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line that is neither blank nor a comment, with its number."""
    with open_bytes(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                raise wrong_encoding(path) from None
            if line and not line.startswith(("#", "%")):
                yield number, line


def _take_header(lines: _Lines, path: Path, header: dict[str, str]) -> None:
    stamped = header.get("timestamps", "false") == "true"
    if lines.x and stamped != lines.stamped:
        raise InputError(
            f"{path.name}: one of the two files has time stamps (@timeStamps true), the other has "
            "none. Save both alike."
        )
    lines.stamped = stamped
    numeric = header.get("targetlabel", "false").startswith("true")
    lines.numeric_target |= numeric
    lines.labelled = numeric or not header.get("classlabel", "true").startswith("false")


def _series(line: str, place: str, lines: _Lines) -> tuple[np.ndarray, str]:
    """Return a series and its label; its times, if it has some, go to `lines`."""
    fields = split_channels(line) if lines.stamped else line.split(":")
    label = fields.pop().strip() if lines.labelled else ""
    if lines.labelled and (not fields or not label):
        raise InputError(
            f"{place}: a series and its label are separated by ':', and one of the two is missing. "
            "Perhaps the line was cut off."
        )
    if lines.stamped:
        pairs = [stamped_values(text, place) for text in fields]
        channels = [values for _, values in pairs]
        lines.times.append(pairs[0][0])
        if any(not np.array_equal(times, pairs[0][0]) for times, _ in pairs):
            raise InputError(
                f"{place}: the channels have different times. All need the same: write '?' where "
                "a value is missing."
            )
    else:
        channels = [_values(text, place) for text in fields]
    lengths = {len(channel) for channel in channels}
    if len(lengths) > 1:
        raise InputError(
            f"{place}: channels of {', '.join(map(str, sorted(lengths)))} steps in one series. "
            "All need the same steps: write '?' where a value is missing."
        )
    return np.stack(channels, axis=1), label


def _values(text: str, place: str) -> np.ndarray:
    if not text.strip():
        raise InputError(f"{place}: a series of length 0. Remove the line.")
    fields = text.split(",")
    try:
        return np.array([float(field) for field in fields])
    except ValueError:
        pass
    values = np.full(len(fields), np.nan)
    for step, field_text in enumerate(fields):
        field_text = field_text.strip()
        if is_number(field_text):
            values[step] = float(field_text)
        elif field_text not in ("?", "NaN", "nan"):
            raise InputError(
                f"{place}, step {step + 1}: {field_text[:40]!r} is not a number. Accepted are "
                "numbers, and '?' for a missing value."
            )
    return values
