"""Cells without a number: refused, filled from the step before, or left for the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gatewise.data.series_data import Missing, MissingReport
from gatewise.errors import InputError

LARGEST = float(np.finfo(np.float32).max)  # models compute in float32
_STEPS = 1 << 14  # that are looked at at once


def is_wrong(values: np.ndarray) -> np.ndarray:
    """Return where values are NaN, infinite or too large for float32."""
    return ~(np.abs(values) <= LARGEST)


def pieces_of(series: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the steps of a series in pieces, so that what is made of each takes little memory."""
    for start in range(0, len(series), _STEPS):
        yield series[start : start + _STEPS]


def handle_missing(
    x: list[np.ndarray],
    features: Sequence[str],
    handling: Missing,
    where: Callable[[int, int, int], str],
) -> tuple[list[np.ndarray], MissingReport]:
    """Return the series without gaps (or, for "mask", with NaN in them) and what was found.

    `where(series, step, channel)` names a cell for the error.

    >>> series = [np.array([[1.0], [np.nan], [3.0]])]
    >>> filled, report = handle_missing(series, ["a"], "forward-fill", lambda *cell: str(cell))
    >>> filled[0].ravel().tolist(), report.cells, report.first
    ([1.0, 1.0, 3.0], 1, '(0, 1, 0)')
    """
    counts = np.zeros(len(features), dtype=np.int64)
    first: str | None = None
    clean = []
    for index, series in enumerate(x):
        if not any(is_wrong(piece).any() for piece in pieces_of(series)):
            clean.append(series)
            continue
        wrong = is_wrong(series)
        counts += wrong.sum(axis=0)
        step, channel = (int(at) for at in np.argwhere(wrong)[0])
        place = where(index, step, channel)
        first = first or place
        if handling == "error":
            raise InputError(_refusal(x, index, place, float(series[step, channel])))
        series = np.where(wrong, np.nan, series)
        if handling == "forward-fill":
            if wrong[0].any():
                channel = int(wrong[0].argmax())
                raise InputError(
                    f"{where(index, 0, channel)}: the series begins with a gap, which has no value "
                    "before it to fill it with. Fill it, drop the row, or use missing='mask' "
                    "(--missing mask)."
                )
            series = _fill_forward(series, wrong)
        clean.append(series)
    by_feature = {name: int(count) for name, count in zip(features, counts, strict=True) if count}
    return clean, MissingReport(handling, int(counts.sum()), by_feature, first)


def _refusal(x: list[np.ndarray], index: int, place: str, value: float) -> str:
    cells = sum(int(is_wrong(one).sum()) for one in x)
    what = "a missing value" if np.isnan(value) else "infinity"
    if np.isfinite(value):
        what = f"{value:g}, beyond what float32 holds ({LARGEST:.1e})"
    return (
        f"{place}: {what} ({cells} such cells in all). Fill it, or choose missing='forward-fill' "
        "(the value of the step before) or missing='mask' (the model is told): "
        "--missing forward-fill or --missing mask."
    )


def _fill_forward(series: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    steps = np.where(wrong, 0, np.arange(len(series))[:, None])
    return np.take_along_axis(series, np.maximum.accumulate(steps, axis=0), axis=0)
