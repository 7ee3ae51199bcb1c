"""Which column of a table plays which role: as the user said, or by its name."""

from __future__ import annotations

from dataclasses import dataclass, field

from gatewise.data.readers.options import Options
from gatewise.data.series_data import Columns
from gatewise.errors import InputError, unknown_name

# Names that are understood without being asked about, in order of preference.
_USUAL = {
    "series": ("series", "series_id"),
    "time": ("time", "timestamp", "datetime", "date"),
    "target": ("label", "class", "target"),
    "text": ("text",),
    "part": ("part", "split"),
}


@dataclass(frozen=True)
class Roles:
    """The role of each column; what was taken by its name alone is said in `notes`."""

    columns: Columns
    features: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def roles_of(name: str, header: list[str], options: Options) -> Roles:
    """Return the roles of the columns of a table."""
    asked = (options.series, options.time, *options.target, options.text, options.part)
    for column in asked:
        if column is not None and column not in header:
            raise _no_column(name, column, header)
    if options.new:
        return _roles_of_new(name, header, options)
    _refuse_two_roles(asked)
    free = [column for column in header if column not in asked]
    notes: list[str] = []

    def usual(role: str) -> str | None:
        for candidate in _USUAL[role]:
            for column in free:
                if column.lower() == candidate:
                    free.remove(column)
                    notes.append(f"Column {column!r} was taken as the {role}.")
                    return column
        return None

    series, time, text = options.series, options.time, options.text
    if text is None and series is None and time is None and not options.forecasts:
        text = usual("text")
    if text is None:
        series = series or usual("series")
        time = time or usual("time")
    target = options.target
    if not target and not options.forecasts:
        found = usual("target")
        target = (found,) if found else ()
    columns = Columns(series, time, target, text, options.part or usual("part"))
    if not target and not options.forecasts:
        raise InputError(
            f"{name}: which column is the label? Give target (--target), or a horizon (--horizon) "
            f"to forecast. Columns: {', '.join(header)}."
        )
    features = _features(header, columns, options)
    if text is not None and features:
        notes.append(f"Columns not used: {', '.join(features)}.")
    if text is None and not features:
        raise InputError(
            f"{name}: no column is left to learn from. Columns: {', '.join(header)}, of which "
            "each already is the series, the time, the label or the part."
        )
    return Roles(columns, () if text is not None else features, tuple(notes))


def _features(header: list[str], columns: Columns, options: Options) -> tuple[str, ...]:
    taken = {columns.series, columns.time, columns.text, columns.part}
    if not options.forecasts:
        taken |= set(columns.target)
    return tuple(column for column in header if column not in taken)


def _roles_of_new(name: str, header: list[str], options: Options) -> Roles:
    """Return the roles in new data: those of the training data, which all must be there."""
    features = options.features or ()
    for column in features:
        if column not in header:
            raise _no_column(name, column, header, " The model was trained on it.")
    columns = Columns(options.series, options.time, options.target, options.text, options.part)
    known = {*features, columns.series, columns.time, columns.text, columns.part, *columns.target}
    unused = [column for column in header if column not in known]
    notes = (f"Columns not used: {', '.join(unused)}.",) if unused else ()
    return Roles(columns, features, notes)


def _refuse_two_roles(asked: tuple[str | None, ...]) -> None:
    given = [column for column in asked if column is not None]
    for at, column in enumerate(given):
        if column in given[:at]:
            raise InputError(
                f"Column {column!r} was given two roles. Series, time, target, text and part are "
                "different columns."
            )


def _no_column(name: str, column: str, header: list[str], reason: str = "") -> InputError:
    nearest = str(unknown_name("column", column, header)).removeprefix("Unknown column")
    hint = nearest.split(" Known:")[0].split(".", 1)[-1]
    return InputError(
        f"{name} has no column {column!r}.{reason}{hint} It has: {', '.join(header)}."
    )
