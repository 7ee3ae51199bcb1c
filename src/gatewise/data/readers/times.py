"""Rows put in order: grouped by series, sorted by time, refused when a time occurs twice."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np

from gatewise.data.readers.columns import Column
from gatewise.errors import InputError

_MONTH = re.compile(r"(\d{4})[-/](\d{1,2})")


@dataclass(frozen=True)
class Order:
    """The rows of each series, in order of time, and what was done to get there."""

    ids: list[str]
    rows: list[np.ndarray] = field(repr=False)
    times: list[np.ndarray] | None = field(repr=False)
    notes: tuple[str, ...] = ()


def order_rows(
    series: Column | None, time: Column | None, rows: int, where: Callable[[int, str], str]
) -> Order:
    """Return the order of a table's rows; `where(row, column)` names a cell for an error."""
    ids = ["series"]
    if series is None and time is None:
        return Order(ids, [np.arange(rows)], None)
    codes = np.zeros(rows, dtype=np.int64)
    if series is not None:
        assert series.codes is not None
        codes, ids = series.codes, list(series.names)
        if (codes < 0).any():
            place = where(int((codes < 0).argmax()), series.name)
            raise InputError(f"{place}: no series id. Every row needs one.")
    times = None if time is None else _times(time, where)
    order = np.lexsort((codes,) if times is None else (times, codes))
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    groups = np.split(order, bounds)
    if time is None or times is None:
        return Order(ids, groups, None)
    _refuse_twice(codes, times, order, ids, lambda row: where(row, time.name), time)
    disordered = sum(bool((np.diff(group) < 0).any()) for group in groups)
    notes = (
        (f"{disordered} of {len(groups)} series had times out of order; they were sorted.",)
        if disordered
        else ()
    )
    return Order(ids, groups, [times[group] for group in groups], notes)


def _refuse_twice(
    codes: np.ndarray,
    times: np.ndarray,
    order: np.ndarray,
    ids: list[str],
    where: Callable[[int], str],
    time: Column,
) -> None:
    same = (np.diff(codes[order]) == 0) & (np.diff(times[order]) == 0)
    if same.any():
        at = int(same.argmax())
        first, second = (int(row) for row in order[at : at + 2])
        text = f"{times[first]:g}" if time.codes is None else time.names[time.codes[first]]
        raise InputError(
            f"{where(second)}: the time {text} of series {ids[codes[first]]!r} occurs twice "
            f"(first: {where(first)}). Remove one, or give the column that tells the series apart "
            "(series=, --series)."
        )


def _times(time: Column, where: Callable[[int, str], str]) -> np.ndarray:
    """Return times as numbers: as they are, or seconds since 1970."""
    if time.numbers is not None:
        values = time.numbers
    else:
        assert time.codes is not None
        parsed = np.array([*(seconds(name) for name in time.names), np.nan])
        values = parsed[time.codes]
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(wrong.argmax())
        text = "" if time.codes is None or time.codes[row] < 0 else time.names[time.codes[row]]
        raise InputError(
            f"{where(row, time.name)}: {text!r} is not a time. Accepted are numbers and dates such "
            "as 2024-03-31 or 2024-03-31 23:59:59."
        )
    return values


def seconds(text: str) -> float:
    """Return a date or a number as a number; NaN for anything else.

    >>> seconds("1970-01-02"), seconds("1970-02"), seconds("soon")
    (86400.0, 2678400.0, nan)
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        month = _MONTH.fullmatch(text)
        if month is not None:
            moment = datetime.combine(date(int(month[1]), int(month[2]), 1), datetime.min.time())
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        return float("nan")
