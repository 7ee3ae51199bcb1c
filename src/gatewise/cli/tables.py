"""Predictions as a table: a row a series, a step of it (tagging), or a step ahead (forecasting)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow

if TYPE_CHECKING:
    from gatewise.cli.outputs import Outputs
    from gatewise.data import SeriesData, SeriesPreprocessor


def prediction_table(
    preprocessing: SeriesPreprocessor, data: SeriesData, outputs: Outputs
) -> pyarrow.Table:
    """Return the table of a task's outputs; its first column names the series.

    Columns: `predicted` and a `probability of …` for each class; one column for each number that
    is predicted; `step` counts from 1, within the series or ahead of its end.
    """
    series = preprocessing.columns.series or "series"
    if preprocessing.task == "forecasting":
        return pyarrow.table(_forecasts(preprocessing, data, outputs, series))
    if preprocessing.task == "regression":
        name = ", ".join(preprocessing.columns.target) or "predicted"
        return pyarrow.table({series: data.ids, _free(name, series): outputs.predictions})
    if preprocessing.task == "tagging":
        steps = [np.arange(1, len(one) + 1) for one in outputs.predictions]
        ids = [name for name, one in zip(data.ids, steps, strict=True) for _ in one]
        columns: dict[str, Any] = {series: ids, "step": np.concatenate(steps)}
        predicted = np.concatenate(outputs.predictions)
        probabilities = np.concatenate(outputs.probabilities)
    else:
        columns = {series: data.ids}
        predicted, probabilities = outputs.predictions, outputs.probabilities
    columns["predicted"] = preprocessing.class_names(predicted)
    for place, label in enumerate(preprocessing.labels):
        columns[f"probability of {label}"] = probabilities[:, place].astype(np.float64)
    return pyarrow.table(columns)


def _forecasts(
    preprocessing: SeriesPreprocessor, data: SeriesData, outputs: Outputs, series: str
) -> dict[str, Any]:
    predictions = outputs.predictions  # (N, horizon, K)
    count, horizon, targets = predictions.shape
    names = preprocessing.columns.target or tuple(f"value {k + 1}" for k in range(targets))
    columns: dict[str, Any] = {
        series: np.repeat(np.array(data.ids, dtype=object), horizon),
        "step": np.tile(np.arange(1, horizon + 1), count),
    }
    for place, name in enumerate(names):
        columns[_free(name, *columns)] = predictions[:, :, place].reshape(-1)
    return columns


def _free(name: str, *taken: str) -> str:
    """Return the name, changed if another column has it."""
    return f"predicted {name}" if name in taken else name
