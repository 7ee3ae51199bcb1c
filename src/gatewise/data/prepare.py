"""What the training part teaches: scales, categories, a vocabulary, and if there is a trend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gatewise.data.linear_forecast import LinearForecast
from gatewise.data.missing import pieces_of
from gatewise.data.scaling import StandardScaler
from gatewise.data.series_data import SeriesData
from gatewise.data.series_preprocessor import (
    SeriesPreprocessor,
    last_values,
    relative_to_last,
)
from gatewise.data.vocabulary import Vocabulary
from gatewise.data.windows import seen_targets, target_channels
from gatewise.errors import InputError

_MOST_WINDOWS = 20_000  # that are looked at
_MOST_STEPS = 20_000  # of a series, when its trend is looked for
_TREND = 1.0  # deviations between the first and the last third of a series


def prepare(
    train: SeriesData, *, max_words: int = 20_000, max_one_hot: int | None = None
) -> SeriesPreprocessor:
    """Return the preprocessing of a training part: scales, names, vocabulary, from it alone.

    `max_words` bounds the ids of a vocabulary, padding and unknown included. A category of more
    than `max_one_hot` names comes as a number, for `EmbedColumns`; None: every one is one-hot.

    Raises `InputError` for forecasting data that are not cut into windows.
    """
    if train.task == "forecasting" and train.y is None:
        raise InputError("Cut the series into windows first: split(data), or make_windows(data).")
    basis = SeriesPreprocessor(
        task=train.task,
        features=train.features,
        labels=train.labels,
        columns=train.columns,
        missing=train.missing.handling,
        unit=train.unit,
        horizon=train.horizon,
        window=train.window,
    )
    if train.is_text:
        assert train.unit is not None
        vocabulary = Vocabulary.fit(train.x, max_size=max_words, unit=train.unit)
        basis = replace(basis, vocabulary=vocabulary)
        return replace(basis, target_scaler=_target_scaler(train, relative=False))
    relative = train.task == "forecasting" and _has_trend(train)
    seen = pieces = _pieces(train)
    if relative:
        step = max(len(train) // _MOST_WINDOWS, 1)
        seen = [relative_to_last(window, target_channels(train)) for window in train.x[::step]]
    categories = _categories(train)
    most = (
        len(max(categories.values(), key=len, default=())) if max_one_hot is None else max_one_hot
    )
    embedded = tuple(name for name, names in categories.items() if len(names) > most)
    basis = replace(basis, relative=relative, categories=categories, embedded=embedded)
    numeric = basis.numeric
    return replace(
        basis,
        gaps=tuple(
            train.features[at]
            for at in numeric
            if any(np.isnan(piece[:, at]).any() for piece in pieces)
        ),
        scaler=_scaler(seen, numeric) if numeric else None,
        target_scaler=_target_scaler(train, relative=relative),
        linear=_linear(train) if train.task == "forecasting" else None,
    )


def _linear(train: SeriesData) -> LinearForecast:
    every = max(len(train) // _MOST_WINDOWS, 1)
    seen = seen_targets(train.x[::every], target_channels(train))
    return LinearForecast.fit(seen, train.y[::every])


def _categories(train: SeriesData) -> dict[str, tuple[str, ...]]:
    """Return the names that occur in the training part."""
    found = {}
    for name, names in train.categories.items():
        at = train.features.index(name)
        used = {code for piece in _pieces(train) for code in np.unique(piece[:, at]).tolist()}
        found[name] = tuple(sorted(names[int(code)] for code in used if not np.isnan(code)))
    return found


def _pieces(train: SeriesData) -> list[np.ndarray]:
    """Return the steps of the training part, or of what its windows were cut from, in pieces."""
    return [piece for one in (train.source or train).x for piece in pieces_of(one)]


def _scaler(pieces: list[np.ndarray], channels: list[int]) -> StandardScaler:
    """Return the scaler of these channels of steps `(T, I)`; gaps are left out of the count."""
    with np.errstate(over="ignore", invalid="ignore"):
        count, total, largest = np.zeros(len(channels)), np.zeros(len(channels)), 0.0
        for piece in pieces:
            steps = piece[:, channels]
            known = np.where(np.isnan(steps), 0.0, steps)
            count += (~np.isnan(steps)).sum(axis=0)
            total += known.sum(axis=0)
            largest = np.maximum(largest, np.abs(known).max(axis=0))
        mean = total / np.maximum(count, 1)
        squares = np.zeros(len(channels))
        for piece in pieces:
            rest = piece[:, channels] - mean
            squares += np.square(np.where(np.isnan(rest), 0.0, rest)).sum(axis=0)
        deviation = np.sqrt(squares / np.maximum(count, 1))
        # Rounding leaves a constant channel a deviation of some ulp of its mean.
        return StandardScaler(mean, np.where(deviation <= 1e-12 * largest, 1.0, deviation))


def _target_scaler(train: SeriesData, *, relative: bool) -> StandardScaler | None:
    if train.y is None or train.task in ("classification", "tagging"):
        return None
    y = train.y[:, None, None] if train.task == "regression" else train.y
    if relative:
        y = y - last_values(train)[:, None]
    return _scaler([y.reshape(-1, y.shape[-1])], list(range(y.shape[-1])))


def _has_trend(train: SeriesData) -> bool:
    """Return whether the targets' last third typically lies far from their first."""
    channels = target_channels(train)
    shifts = []
    with np.errstate(over="ignore", invalid="ignore"):
        for series in (train.source or train).x:
            values = series[:: max(len(series) // _MOST_STEPS, 1), channels]
            third = len(values) // 3
            known = ~np.isnan(values).any(axis=1)
            first, last = values[:third][known[:third]], values[-third:][known[-third:]]
            if third == 0 or not len(first) or not len(last):
                continue
            spread = values[known].std(axis=0)
            spread[spread == 0] = np.inf
            shifts.append(np.abs(last.mean(axis=0) - first.mean(axis=0)) / spread)
    return bool(shifts) and bool(np.median(np.stack(shifts)) > _TREND)
