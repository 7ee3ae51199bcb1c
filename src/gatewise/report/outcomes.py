"""What a model got right and wrong: a confusion matrix, residuals, or forecasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gatewise.data import SeriesData
from gatewise.data.windows import target_channels

FORECASTS = 3
"""How many windows are drawn."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """``counts[truth, predicted]``; what is counted is a series, or of tags a step."""

    labels: tuple[str, ...]
    counts: np.ndarray
    counted: str

    @property
    def shares(self) -> np.ndarray:
        """Each row's counts relative to its sum; 0 where a class does not occur."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)

    @property
    def never_predicted(self) -> tuple[str, ...]:
        """The classes that occur and are never predicted."""
        missed = (self.counts.sum(axis=1) > 0) & (self.counts.sum(axis=0) == 0)
        return tuple(label for label, one in zip(self.labels, missed, strict=True) if one)


@dataclass(frozen=True, eq=False)
class Residuals:
    """The true and the predicted number of each series, in the data's own units."""

    target: str
    truth: np.ndarray
    predicted: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """What was predicted minus what is true."""
        return self.predicted - self.truth


@dataclass(frozen=True, eq=False)
class Forecast:
    """One window of one target: what was seen (W,), what came (horizon,) and what was told."""

    name: str
    seen: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Some windows of the first target, and the mean absolute error by step of the horizon."""

    target: str
    windows: tuple[Forecast, ...]
    error_by_step: np.ndarray


Outcome = Confusion | Residuals | Forecasts


def measure_outcome(data: SeriesData, predictions: Any) -> Outcome:
    """Compare labelled data with predictions in the form that `gatewise.data.score` takes.

    >>> data = SeriesData("three", "classification", [np.ones((2, 1))] * 3, np.array([0, 0, 1]),
    ...                   ["a", "b", "c"], ("level",), labels=("low", "high"))
    >>> measure_outcome(data, np.array([0, 1, 1])).counts.tolist()
    [[1, 1], [0, 1]]
    """
    if data.task in ("classification", "tagging"):
        return _confusion(data, predictions)
    if data.task == "regression":
        target = ", ".join(data.columns.target) or "target"
        return Residuals(target, np.asarray(data.y, float), np.asarray(predictions, float))
    return _forecasts(data, np.asarray(predictions, dtype=np.float64))


def _confusion(data: SeriesData, predictions: Any) -> Confusion:
    tagged = data.task == "tagging"
    truth = np.concatenate(data.y) if tagged else np.asarray(data.y)
    found = np.concatenate(predictions) if tagged else np.asarray(predictions)
    size = len(data.labels)
    counts = np.bincount(truth * size + found, minlength=size * size).reshape(size, size)
    return Confusion(data.labels, counts, "steps" if tagged else "series")


def _forecasts(data: SeriesData, predictions: np.ndarray) -> Forecasts:
    names, channel = data.columns.target or data.features, target_channels(data)[0]
    rows = np.unique(np.linspace(0, len(data) - 1, FORECASTS).round().astype(int))
    windows = tuple(
        Forecast(data.ids[row], data.x[row][:, channel], data.y[row, :, 0], predictions[row, :, 0])
        for row in rows
    )
    errors = np.abs(predictions[..., 0] - data.y[..., 0]).mean(axis=0)
    return Forecasts(names[0], windows, errors)
