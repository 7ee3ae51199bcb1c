"""Labelled data that a trained model can be measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.errors import InputError

if TYPE_CHECKING:
    from gatewise.data import SeriesData, SeriesPreprocessor
    from gatewise.models import Sequential


def labelled_data(source: str, preprocessing: SeriesPreprocessor) -> SeriesData:
    """Return the data with their labels, or windows of them; `InputError` if there are none."""
    from gatewise.data import read_like
    from gatewise.data.windows import Cut, cut_windows

    data = read_like(source, preprocessing)
    if preprocessing.task == "forecasting":
        assert preprocessing.window is not None and preprocessing.horizon is not None
        cut = Cut(preprocessing.window, preprocessing.horizon, stride=1)
        whole = [(row, 0, int(length)) for row, length in enumerate(data.lengths)]
        return cut_windows(data, cut, whole, "whole")
    if data.y is None:
        target = ", ".join(preprocessing.columns.target) or "a label for each series"
        raise InputError(
            f"{source} has no labels ({target}), which this needs. To get them: gatewise predict."
        )
    return preprocessing.aligned(data)


def labelled_batch(model: Sequential, source: str, series: int) -> tuple[Any, Any, Any]:
    """Return the first series with labels, padded, their targets and the mask."""
    from gatewise.data.padded import padded_batch

    data = labelled_data(source, model.preprocessing)
    return padded_batch(model.preprocessing, data.take(range(min(series, len(data)))))
