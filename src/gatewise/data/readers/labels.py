"""Labels a series or a step: classes, tags or numbers, and which of these they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatewise.data.missing import is_wrong
from gatewise.data.readers.columns import Column, is_number
from gatewise.data.readers.options import Options
from gatewise.data.series_data import Task
from gatewise.errors import InputError

_MOST_INTEGER_CLASSES = 100


@dataclass(frozen=True)
class Labels:
    """Labels in the form of `SeriesData.y`, with the names of the classes."""

    task: Task
    y: Any
    names: tuple[str, ...] = ()


def labels_of(
    target: Column,
    series: Sequence[np.ndarray] | None,
    options: Options,
    where: Callable[[int], str],
    ids: Sequence[str] = (),
) -> Labels | None:
    """Return the labels in a column of texts; None if it is new data that has none.

    `series` holds the rows of each series, in order; None says that each row is one. `where(row)`
    names a row for an error.
    """
    codes = target.codes
    assert codes is not None
    if options.new and (codes < 0).all():
        return None
    if (codes < 0).any():
        raise InputError(
            f"{where(int((codes < 0).argmax()))}: no label. Every row needs one: fill it, or "
            "remove its series."
        )
    per_step = _is_per_step(codes, series, options.task, ids, where)
    used = np.unique(codes)
    numeric = all(is_number(target.names[code]) for code in used)
    task = options.task or _task(target.names, used, len(codes), series, per_step, numeric)
    if series is not None and not per_step:
        codes = codes[[rows[0] for rows in series]]
    if task == "regression":
        first_rows = None if series is None else [int(rows[0]) for rows in series]
        return Labels(task, _numbers(target.names, codes, first_rows, where))
    names = sorted(
        (target.names[code] for code in used),
        key=(lambda name: (float(name), name)) if numeric else str,
    )
    if len(names) == 1 and not options.new:
        raise InputError(
            f"{where(0)}: every label is {names[0]!r}. There must be two classes to tell apart: "
            "give data with both, or another target."
        )
    index = {name: at for at, name in enumerate(names)}
    table = np.array([index.get(name, -1) for name in target.names], dtype=np.int64)
    y = table[codes]
    if per_step:
        assert series is not None
        return Labels(task, [y[rows] for rows in series], tuple(names))
    return Labels(task, y, tuple(names))


def _is_per_step(
    codes: np.ndarray,
    series: Sequence[np.ndarray] | None,
    task: Task | None,
    ids: Sequence[str],
    where: Callable[[int], str],
) -> bool:
    if series is None:
        if task == "tagging":
            raise InputError(
                "task='tagging' needs a label a step, but there is one a series or text. "
                "Use task='classification'."
            )
        return False
    if task == "tagging":
        return True
    for index, rows in enumerate(series):
        changed = codes[rows] != codes[rows[0]]
        if changed.any():
            if task is not None:
                row = int(rows[int(changed.argmax())])
                raise InputError(
                    f"{where(row)}: the label of series {ids[index]!r} changes here, but "
                    f"task={task!r} needs one label a series. For a label a step use "
                    "task='tagging' (--task tagging)."
                )
            return True
    return False


def _task(
    names: tuple[str, ...],
    used: np.ndarray,
    rows: int,
    series: Sequence[np.ndarray] | None,
    per_step: bool,
    numeric: bool,
) -> Task:
    """Return the task that labels of this kind pose."""
    whole = numeric and all(float(names[code]).is_integer() for code in used)
    labels = rows if per_step or series is None else len(series)
    few = len(used) <= _MOST_INTEGER_CLASSES and 2 * len(used) <= labels
    if not numeric or (whole and few):
        return "tagging" if per_step else "classification"
    if per_step:
        raise InputError(
            "The target is a number that changes from step to step. To forecast it, give a "
            "horizon (--horizon); if its numbers are classes, use task='tagging' "
            "(--task tagging)."
        )
    return "regression"


def _numbers(
    names: tuple[str, ...],
    codes: np.ndarray,
    rows: list[int] | None,
    where: Callable[[int], str],
) -> np.ndarray:
    """Return labels as numbers; raise for one that is none or not finite."""
    values = np.array([float(name) if is_number(name) else np.nan for name in names])[codes]
    wrong = is_wrong(values)
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{where(rows[at] if rows is not None else at)}: the label {names[codes[at]]!r} is not "
            "a finite number, which regression needs. Correct it, or use task='classification'."
        )
    return values
