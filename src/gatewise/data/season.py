"""The period of series, by autocorrelation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LEAST_CORRELATION = 0.2
_MOST_SERIES = 50
_MOST_STEPS = 50_000


def season(series: Sequence[np.ndarray]) -> int | None:
    """Return the number of steps after which series repeat themselves best; None if they do not.

    `series` holds arrays `(T_i,)`. A straight line is taken from each; the period is the highest
    peak of their mean autocorrelation, between 2 steps and a third of the longest series, if it
    reaches 0.2. Of a long series the last 50,000 steps are looked at.

    >>> steps = np.arange(100)
    >>> season([np.sin(2 * np.pi * steps / 12) + 0.1 * steps]), season([0.1 * steps])
    (12, None)
    """
    series = [one[-_MOST_STEPS:] for one in list(series)[:_MOST_SERIES]]
    longest = max((len(one) for one in series), default=0)
    lags = longest // 3
    total = np.zeros(lags + 1)
    for one in series:
        if len(one) > 2 and len(one) // 3 >= lags // 2:
            total += _autocorrelation(one, lags)
    if lags < 3 or not total[0] > 0:
        return None
    correlation = total / total[0]
    inner = correlation[1:-1]
    peaks = np.flatnonzero((inner > correlation[:-2]) & (inner >= correlation[2:])) + 1
    peaks = peaks[(peaks >= 2) & (correlation[peaks] >= _LEAST_CORRELATION)]
    return int(peaks[correlation[peaks].argmax()]) if len(peaks) else None


def _autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """Return the autocorrelation at lags 0 to `lags` of values without their straight line."""
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    if known.sum() < 3:
        return np.zeros(lags + 1)
    scale = np.abs(values[known]).max() or 1.0
    steps = np.linspace(-1, 1, len(values))
    values = np.interp(steps, steps[known], values[known] / scale)
    line = np.array([np.ones_like(steps), steps]).T
    rest = values - line @ np.linalg.lstsq(line, values, rcond=None)[0]
    if np.abs(rest).max() <= 1e-9:
        return np.zeros(lags + 1)
    power = np.abs(np.fft.rfft(rest, 2 * len(rest))) ** 2
    products = np.fft.irfft(power)[: lags + 1]
    found = np.zeros(lags + 1)
    found[: len(products)] = products / products[0]
    return found
