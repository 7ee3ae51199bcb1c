"""Long tables, one row a step, and wide tables of a single series."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gatewise.data.missing import handle_missing
from gatewise.data.readers.columns import Column, Table
from gatewise.data.readers.labels import labels_of
from gatewise.data.readers.options import Options
from gatewise.data.readers.parts import part_names
from gatewise.data.readers.roles import Roles, roles_of
from gatewise.data.readers.spool import side_by_side
from gatewise.data.readers.tables import header_of, read_table
from gatewise.data.readers.text_tables import read_texts
from gatewise.data.readers.times import Order, order_rows
from gatewise.data.series_data import Columns, SeriesData, Task
from gatewise.errors import InputError

_MOST_CATEGORIES = 200


def read_any_table(path: Path, options: Options) -> SeriesData:
    """Return the series or the texts of a CSV or Parquet table."""
    roles = roles_of(path.name, header_of(path), options)
    if roles.columns.text is not None:
        return read_texts(path, roles, options)
    return _read_series(path, roles, options)


def _read_series(path: Path, roles: Roles, options: Options) -> SeriesData:
    columns = roles.columns
    target = () if options.forecasts else columns.target
    texts = {name for name in (columns.series, columns.part, *target) if name is not None}
    times = () if columns.time is None else (columns.time,)
    table = read_table(path, dict.fromkeys((*roles.features, *times, *texts)), texts)
    if options.forecasts and not columns.target:
        columns, roles = _all_forecast(table, roles)
    order = order_rows(
        _maybe(table, columns.series), _maybe(table, columns.time), table.rows, table.where
    )
    matrix = side_by_side([table.columns[name].values() for name in roles.features])
    categories = _categories(table, roles, columns if options.forecasts else Columns())

    def where(series: int, step: int, channel: int) -> str:
        cell = table.where(int(order.rows[series][step]), roles.features[channel])
        return cell if columns.series is None else f"{cell}, series {order.ids[series]!r}"

    x, report = handle_missing(
        [_steps(matrix, rows) for rows in order.rows], roles.features, options.missing, where
    )
    task, y, names = _labels(table, order, columns, options)
    return SeriesData(
        name=table.name,
        task=task,
        x=x,
        y=y,
        ids=order.ids,
        features=roles.features,
        columns=columns,
        labels=names,
        categories=categories,
        times=order.times,
        parts=_parts(table, order, columns.part),
        horizon=options.horizon or 1 if task == "forecasting" else None,
        window=options.window,
        missing=report,
        notes=(*roles.notes, *order.notes, *_shape_notes(order, columns, task, table.rows)),
    )


def _shape_notes(order: Order, columns: Columns, task: Task, rows: int) -> tuple[str, ...]:
    """Return what the user should know of how rows became series."""
    if task != "forecasting":
        if columns.series is not None:
            return ()
        return (f"No series column was given: the {rows} rows are the steps of a single series.",)
    gaps = [np.diff(times) for times in order.times or [] if len(times) > 1]
    # Months differ by a tenth; a row that is missing makes a gap of twice the usual.
    uneven = sum(bool(one.max() > 1.5 * one.min()) for one in gaps)
    if not uneven:
        return ()
    return (
        f"{uneven} of {len(order.rows)} series have uneven times; rows count as steps in a row.",
    )


def _steps(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the rows of a matrix; without a copy, if they lie side by side."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows) and bool((np.diff(rows) == 1).all()):
        return matrix[first : last + 1]
    return matrix[rows]


def _maybe(table: Table, name: str | None) -> Column | None:
    return None if name is None else table.columns[name]


def _all_forecast(table: Table, roles: Roles) -> tuple[Columns, Roles]:
    """Make every numeric column a target, since none was named."""
    numeric = tuple(name for name in roles.features if table.columns[name].codes is None)
    if not numeric:
        raise InputError(f"{table.name}: no column of numbers is left to forecast.")
    note = f"No target was given: all of {', '.join(numeric)} will be forecast."
    was = roles.columns
    columns = Columns(was.series, was.time, numeric, None, was.part)
    return columns, Roles(columns, roles.features, (*roles.notes, note))


def _categories(table: Table, roles: Roles, columns: Columns) -> dict[str, tuple[str, ...]]:
    categories = {}
    for name in roles.features:
        column = table.columns[name]
        if column.codes is None:
            continue
        example = repr(min(column.names, default=""))
        if name in columns.target:
            raise InputError(
                f"{table.name}, column {name!r}: texts such as {example} cannot be forecast. "
                "Give a column of numbers as the target."
            )
        if len(column.names) > _MOST_CATEGORIES:
            raise InputError(
                f"{table.name}, column {name!r}: {len(column.names)} different texts such as "
                f"{example}, but a category has at most {_MOST_CATEGORIES}. If it is the time, "
                "the series or a text, say so (--time, --series, --text); otherwise remove it."
            )
        categories[name] = column.names
    return categories


def _labels(
    table: Table, order: Order, columns: Columns, options: Options
) -> tuple[Task, np.ndarray | list[np.ndarray] | None, tuple[str, ...]]:
    if options.forecasts:
        return "forecasting", None, ()
    if not columns.target:  # new data without labels
        return options.task or "classification", None, ()
    name, *others = columns.target
    if others:
        raise InputError(
            f"{len(columns.target)} targets were given, but a label is one column. "
            "Several targets can only be forecast: give a horizon (--horizon)."
        )
    labels = labels_of(
        table.columns[name], order.rows, options, lambda row: table.where(row, name), order.ids
    )
    if labels is None:
        return options.task or "classification", None, ()
    return labels.task, labels.y, labels.names


def _parts(table: Table, order: Order, part: str | None) -> tuple[str, ...] | None:
    if part is None:
        return None
    names = part_names(table, part)
    for index, rows in enumerate(order.rows):
        if (names[rows] != names[rows[0]]).any():
            raise InputError(
                f"{table.where(int(rows[0]), part)}: series {order.ids[index]!r} lies in several "
                "parts. A series belongs to one part as a whole."
            )
    return tuple(str(names[rows[0]]) for rows in order.rows)
