"""How good predictions are, in figures that mean the same for a model and for a baseline."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewise.data.series_data import SeriesData
from gatewise.errors import InputError


def score(data: SeriesData, predictions: Any) -> dict[str, float]:
    """Return the figures of predictions in the form and the units of `data.y`.

    Classes and tags: accuracy, and macro-F1, the mean over the classes that occur of
    `2 tp / (2 tp + fp + fn)`. Numbers: MAE and RMSE, for forecasts also by step of the horizon
    ("mae_1" …).

    >>> data = SeriesData("three", "classification", [np.ones((2, 1))] * 3, np.array([0, 0, 1]),
    ...                   ["a", "b", "c"], ("level",), labels=("low", "high"))
    >>> {name: round(value, 3) for name, value in score(data, np.array([0, 0, 0])).items()}
    {'accuracy': 0.667, 'macro_f1': 0.4}
    """
    if data.y is None:
        raise InputError(f"{data.name} has no labels to compare the predictions with.")
    if data.task in ("classification", "tagging"):
        return _of_classes(_flat(data.y), _flat(predictions))
    y, found = np.asarray(data.y), np.asarray(predictions, dtype=np.float64)
    if y.shape != found.shape:
        raise InputError(f"The predictions have shape {found.shape}, but the labels {y.shape}.")
    scores = _of_numbers(found - y)
    if data.task == "forecasting":
        for step in range(y.shape[1]):
            for name, value in _of_numbers(found[:, step] - y[:, step]).items():
                scores[f"{name}_{step + 1}"] = value
    return scores


def _flat(labels: Any) -> np.ndarray:
    return np.concatenate(labels) if isinstance(labels, list) else np.asarray(labels)


def _of_classes(y: np.ndarray, found: np.ndarray) -> dict[str, float]:
    if y.shape != found.shape:
        raise InputError(f"The predictions have shape {found.shape}, but the labels {y.shape}.")
    parts = []
    for one in np.union1d(y, found):
        right = np.sum((y == one) & (found == one))
        parts.append(2 * right / (np.sum(y == one) + np.sum(found == one)))
    return {"accuracy": float(np.mean(y == found)), "macro_f1": float(np.mean(parts))}


def _of_numbers(error: np.ndarray) -> dict[str, float]:
    return {"mae": float(np.mean(np.abs(error))), "rmse": float(np.sqrt(np.mean(error**2)))}
