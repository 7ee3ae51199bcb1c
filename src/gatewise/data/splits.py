"""Training, validation and test parts: whole series, or whole stretches of time, never rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from gatewise.data.series_data import PARTS, SeriesData
from gatewise.data.windows import Cut, cut_windows
from gatewise.errors import InputError

_SEGMENT = 100  # steps, of a single tagged series that is split by time


@dataclass(frozen=True)
class Split:
    """The parts of a data set; `how` says in a sentence how they came about."""

    train: SeriesData = field(repr=False)
    validation: SeriesData = field(repr=False)
    test: SeriesData | None = field(repr=False)
    how: str


def split(
    data: SeriesData, *, validation: float = 0.2, test: float | None = None, seed: int = 0
) -> Split:
    """Return the parts of `data`, with the same classes numbered alike in all.

    Series are drawn as a whole, for classification from each class in equal shares. Parts that the
    data name themselves (a part column, an official test file) are kept, and validation series are
    drawn from the training part if none are named. `test` is a share of the series, by default none
    (of a forecast, the last fifth of the time). Forecasting data are split by time, then cut into
    windows, as `make_windows` does; a single series with tags is cut by time.

    Raises `InputError` if there are fewer series than parts need, or if another part has a class
    that training never saw.

    >>> data = SeriesData("ten", "classification", [np.ones((2, 1))] * 10, np.arange(10) % 2,
    ...                   list("abcdefghij"), ("level",), labels=("low", "high"))
    >>> parts = split(data, validation=0.2)
    >>> parts.train.class_counts(), parts.validation.class_counts()
    ({'low': 4, 'high': 4}, {'low': 1, 'high': 1})
    """
    _check_share("validation", validation, positive=True)
    _check_share("test", 0.0 if test is None else test, positive=False)
    if data.task == "forecasting":
        by = "series" if data.parts is not None else "time"
        share = 0.2 if test is None else test
        return make_windows(data, validation=validation, test=share, by=by, seed=seed)
    if data.y is None:
        raise InputError(f"{data.name} has no labels, so there is nothing to train for.")
    if data.task == "tagging" and len(data) == 1:
        return _tags_by_time(data, validation, test or 0.0)
    chosen, how = _choose(data, validation, test, seed)
    parts = Split(
        data.take(chosen["train"]),
        data.take(chosen["validation"]),
        data.take(chosen["test"]) if len(chosen["test"]) else None,
        how,
    )
    _check_classes(parts)
    return parts


def make_windows(
    data: SeriesData,
    *,
    window: int | None = None,
    horizon: int | None = None,
    validation: float = 0.2,
    test: float = 0.2,
    by: str = "time",
    stride: int | None = None,
    seed: int = 0,
) -> Split:
    """Return forecasting windows: `window` steps to see, the next `horizon` steps to tell.

    The split comes first. `by="time"` keeps the last steps of each series for the test and those
    before for the validation: a window may look back across the border, but no part tells a step of
    another. `by="series"` keeps whole series apart. `x` becomes arrays `(window, I)`, views of the
    series, and `y` `(N, horizon, K)` for K target columns. `window` is by default two periods of
    the training part, or two horizons. A window begins every `stride` steps: by default at every
    one, and at fewer where that would make more than 50,000 training windows.

    Raises `InputError` for series too short for the parts.

    >>> data = SeriesData("one", "forecasting", [np.arange(20.0)[:, None]], None, ["series"],
    ...                   ("level",), horizon=2)
    >>> parts = make_windows(data, window=3)
    >>> len(parts.train), len(parts.validation), len(parts.test)
    (8, 3, 3)
    >>> parts.test.x[0].ravel().tolist(), parts.test.y[0].ravel().tolist()
    ([13.0, 14.0, 15.0], [16.0, 17.0])
    """
    _check_share("validation", validation, positive=True)
    _check_share("test", test, positive=False)
    if by not in ("time", "series"):
        raise InputError(f"by={by!r} is not known. Use 'time' or 'series'.")
    if data.is_text:
        raise InputError(f"{data.name} holds texts, which are not forecast.")
    horizon = data.horizon or 1 if horizon is None else horizon
    window = data.window if window is None else window
    for name, value in (("horizon", horizon), ("window", window), ("stride", stride)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise InputError(f"{name}={value!r} is not a number of steps. Use 1 or more.")
    if by == "time":
        spans, how = _spans(data, validation, test)
    else:
        chosen, how = _choose(data, validation, test, seed)
        spans = {
            part: [(int(row), 0, len(data.x[row])) for row in rows] for part, rows in chosen.items()
        }
    cut = Cut.of(data, spans["train"], window, horizon, stride)
    parts = {part: cut_windows(data, cut, spans[part], part) for part in PARTS if spans[part]}
    every = f", one every {cut.stride} steps" if cut.stride > 1 else ""
    how += f"; windows of {cut.window} steps, {cut.horizon} ahead{every}"
    return Split(parts["train"], parts["validation"], parts.get("test"), how)


def _check_share(name: str, share: float, *, positive: bool) -> None:
    if not (0 < share < 1 if positive else 0 <= share < 1):
        raise InputError(f"{name}={share!r} is not a share. Use a number between 0 and 1.")


def _spans(
    data: SeriesData, validation: float, test: float
) -> tuple[dict[str, list[tuple[int, int, int]]], str]:
    """Return the stretches (series, start, stop) whose steps each part tells."""
    if validation + test >= 1:
        raise InputError(
            f"validation={validation} and test={test} leave nothing to train on. Use less."
        )
    spans: dict[str, list[tuple[int, int, int]]] = {part: [] for part in PARTS}
    for index, length in enumerate(data.lengths.tolist()):
        stop = length - round(test * length)
        start = stop - round(validation * length)
        spans["train"].append((index, 0, start))
        spans["validation"].append((index, start, stop))
        if test:
            spans["test"].append((index, stop, length))
    shares = f"the last {test:.0%} of each series to test, " if test else ""
    return spans, f"by time: {shares}the {validation:.0%} before to validate"


def _choose(
    data: SeriesData, validation: float, test: float | None, seed: int
) -> tuple[dict[str, np.ndarray], str]:
    """Return the indices of each part."""
    generator = np.random.default_rng(seed)
    if data.parts is None:
        rows = np.arange(len(data))
        rest, held = _draw(data, rows, test, generator) if test else (rows, rows[:0])
        train, valid = _draw(data, rest, validation / (1 - (test or 0)), generator)
        stratified = ", classes in equal shares" if data.task == "classification" else ""
        how = f"by series{stratified}, seed {seed}"
    else:
        of = np.array(data.parts)
        train, valid, held = (np.flatnonzero(of == part) for part in PARTS)
        how = "the data's own parts"
        if not len(train):
            raise InputError(f"{data.name} has no series in its part 'train'. Mark some as train.")
        if not len(valid):
            train, valid = _draw(data, train, validation, generator)
            how += f", {validation:.0%} of the training series to validate, seed {seed}"
    return {"train": train, "validation": valid, "test": held}, how


def _draw(
    data: SeriesData, rows: np.ndarray, share: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that stay and those that are drawn, each class giving its share."""
    drawn: list[int] = []
    classes = data.y[rows] if data.task == "classification" else np.zeros(len(rows), dtype=int)
    for one in np.unique(classes):
        members = generator.permutation(rows[classes == one])
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        drawn += members[:count].tolist()
    if data.task == "tagging":
        drawn = _without_only_tags(data, rows, drawn)
    if not drawn:
        unit = "text" if data.is_text else "series"
        each = "two of some class are" if data.task == "classification" else "two are"
        raise InputError(
            f"{data.name}: {len(rows)} {unit} cannot be split into training and other parts: "
            f"{each} needed at least. Give more, or name the parts in a column (--part)."
        )
    held = np.sort(np.array(drawn, dtype=np.int64))
    return np.setdiff1d(rows, held), held


def _without_only_tags(data: SeriesData, rows: np.ndarray, drawn: list[int]) -> list[int]:
    """Return the drawn series but for those with a tag that no series that stays has."""
    seen = {int(tag) for row in np.setdiff1d(rows, drawn) for tag in data.y[row]}
    kept = []
    for row in drawn:
        tags = {int(tag) for tag in data.y[row]}
        if tags <= seen:
            kept.append(row)
        else:
            seen |= tags  # it stays, and so may others with its tags be drawn
    return kept


def _check_classes(parts: Split) -> None:
    """Raise for a class that training never saw, and for training on one class alone."""
    train = parts.train
    if not train.labels:
        return
    counts = train.class_counts()
    seen = [name for name, count in counts.items() if count]
    if len(seen) < 2:
        raise InputError(
            f"{train.name}: the training part holds the class {seen[0]!r} alone. There must be two "
            "to tell apart: give more series of the others."
        )
    for name, part in (("validation", parts.validation), ("test", parts.test)):
        if part is None:
            continue
        for label, count in part.class_counts().items():
            if count and not counts[label]:
                code = part.labels.index(label)
                index = next(i for i, labels in enumerate(part.y) if np.any(labels == code))
                raise InputError(
                    f"{train.name}: series {part.ids[index]!r} of the {name} part has the class "
                    f"{label!r}, which training never saw. It knows: {', '.join(seen)}. "
                    "Remove the series, or move one into the training part."
                )


def _tags_by_time(data: SeriesData, validation: float, test: float) -> Split:
    """Split a single tagged series by time, and cut each part into segments."""
    length = len(data.x[0])
    stop = length - round(test * length)
    start = stop - round(validation * length)
    if not 0 < start < stop:
        raise InputError(
            f"{data.name}: one series of {length} steps cannot be split by time. Give more steps, "
            "or the column that tells the series apart (series=, --series)."
        )
    size = data.window or _SEGMENT
    spans = ((0, start), (start, stop), (stop, length))
    train, valid, held = (_segments(data, *span, size) for span in spans)
    how = f"a single series by time, in segments of {size} steps"
    parts = Split(train, valid, held if len(held) else None, how)
    _check_classes(parts)
    return parts


def _segments(data: SeriesData, start: int, stop: int, size: int) -> SeriesData:
    ends = [(at, min(at + size, stop)) for at in range(start, stop, size)]
    return replace(
        data,
        x=[data.x[0][a:b] for a, b in ends],
        y=[data.y[0][a:b] for a, b in ends],
        times=None if data.times is None else [data.times[0][a:b] for a, b in ends],
        ids=[f"{data.ids[0]}, steps {a + 1} to {b}" for a, b in ends],
        parts=None,
    )
