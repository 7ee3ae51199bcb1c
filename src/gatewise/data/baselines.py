"""Answers that need no training: what a model must beat to be worth its while."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewise.data.season import season
from gatewise.data.series_data import SeriesData
from gatewise.data.windows import seen_targets, target_channels

_MOST_WINDOWS = 20_000


def baselines(train: SeriesData, evaluated: SeriesData) -> dict[str, Any]:
    """Return by name what simple rules, taken from `train`, say about `evaluated`.

    The answers have the form and the units of `evaluated.y`: the most frequent class
    ("majority"), the mean of the labels ("mean"), and for forecasts the last value seen, the value
    one period before ("seasonal (12)") and a linear regression on the window.

    >>> data = SeriesData("three", "regression", [np.ones((2, 1))] * 3, np.array([1.0, 2.0, 6.0]),
    ...                   ["a", "b", "c"], ("level",))
    >>> baselines(data, data)
    {'mean': array([3., 3., 3.])}
    """
    if train.task == "regression":
        return {"mean": np.full(len(evaluated), np.mean(train.y))}
    if train.task == "forecasting":
        return _forecasts(train, evaluated)
    counts = train.class_counts()
    most = list(counts.values()).index(max(counts.values()))
    if train.task == "tagging":
        return {"majority": [np.full(len(one), most) for one in evaluated.x]}
    return {"majority": np.full(len(evaluated), most)}


def _forecasts(train: SeriesData, evaluated: SeriesData) -> dict[str, np.ndarray]:
    channels = target_channels(train)
    horizon = train.horizon or 1
    seen = seen_targets(evaluated.x, channels)  # (N, window, K)
    answers = {"last value": np.repeat(seen[:, -1:], horizon, axis=1)}
    source = train.source or train
    period = season([one[:, channels[0]] for one in source.x])
    if period is not None and period <= seen.shape[1]:
        back = [step % period - period for step in range(horizon)]
        answers[f"seasonal ({period})"] = seen[:, back]
    answers["linear"] = _linear(train, channels, seen)
    return answers


def _linear(train: SeriesData, channels: list[int], seen: np.ndarray) -> np.ndarray:
    """Return forecasts of least squares, each target on its own window, from its last value."""
    keep = slice(None, None, max(len(train) // _MOST_WINDOWS, 1))
    x, y = seen_targets(train.x[keep], channels), train.y[keep]
    answers = np.empty((len(seen), y.shape[1], len(channels)))
    for at in range(len(channels)):
        last = x[:, -1:, at]
        spread = np.abs(x[:, :, at] - last).max() or 1.0
        design = _design((x[:, :, at] - last) / spread)
        # A touch of ridge: windows of a short series leave directions unseen.
        gram = design.T @ design + 1e-6 * len(design) * np.eye(design.shape[1])
        weights = np.linalg.solve(gram, design.T @ ((y[:, :, at] - last) / spread))
        now = seen[:, -1:, at]
        answers[:, :, at] = _design((seen[:, :, at] - now) / spread) @ weights * spread + now
    return answers


def _design(windows: np.ndarray) -> np.ndarray:
    return np.concatenate([windows[:, :-1], np.ones((len(windows), 1))], axis=1)
