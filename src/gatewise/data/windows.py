"""Windows for forecasting: what is seen and what comes after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gatewise.data.season import season
from gatewise.data.series_data import SeriesData
from gatewise.errors import InputError

Span = tuple[int, int, int]  # a series, and the steps of it that a part may tell
_SHORTEST_DEFAULT = 16
_MOST_WINDOWS = 50_000  # to train on; more that overlap say little more


@dataclass(frozen=True)
class Cut:
    """How windows are cut, the same for all parts."""

    window: int
    horizon: int
    stride: int

    @classmethod
    def of(
        cls,
        data: SeriesData,
        spans: Sequence[Span],
        window: int | None,
        horizon: int,
        stride: int | None,
    ) -> Cut:
        """Return the cut, its window by default from the period of the training part."""
        channel = target_channels(data)[0]
        trained = [data.x[index][start:stop, channel] for index, start, stop in spans]
        lengths = [len(one) for one in trained]
        period = season(trained) if window is None or stride is None else None
        if window is None:
            wanted = max(2 * (period or 0), 2 * horizon, _SHORTEST_DEFAULT)
            longest = max(lengths, default=0)
            window = max(min(wanted, longest // 3, longest - horizon), 1)
        if stride is None:
            count = sum(max(length - window - horizon + 1, 0) for length in lengths)
            stride = max(-(-count // _MOST_WINDOWS), 1)
            while stride > 1 and period is not None and math.gcd(stride, period) > 1:
                stride += 1  # or windows would begin at the same few points of the period
        return cls(window, horizon, stride)


def target_channels(data: SeriesData) -> list[int]:
    """Return which channels are forecast: those of the target columns, or all."""
    names = data.columns.target or data.features
    return [data.features.index(name) for name in names]


def seen_targets(x: Sequence[np.ndarray], channels: list[int]) -> np.ndarray:
    """Return the target channels of windows `(N, window, K)`; a gap holds the value before it."""
    seen = np.stack([window[:, channels] for window in x])
    gaps = np.isnan(seen)
    if not gaps.any():
        return seen
    steps = np.where(gaps, 0, np.arange(seen.shape[1])[None, :, None])
    filled = np.take_along_axis(seen, np.maximum.accumulate(steps, axis=1), axis=1)
    return np.nan_to_num(filled)


def cut_windows(data: SeriesData, cut: Cut, spans: Sequence[Span], part: str) -> SeriesData:
    """Return the windows whose horizon lies within the spans, as data of their own."""
    channels = target_channels(data)
    x: list[np.ndarray] = []
    y: list[np.ndarray] = []
    ids: list[str] = []
    sources: list[np.ndarray] = []
    short = gaps = 0
    for index, start, stop in spans:
        series = data.x[index]
        first = max(start - cut.window, 0)
        seen = series[first:stop]
        sources.append(series[start:stop])
        if len(seen) < cut.window + cut.horizon:
            short += 1
            continue
        whole = sliding_window_view(seen, cut.window + cut.horizon, axis=0)[:: cut.stride]
        whole = whole.transpose(0, 2, 1)  # (N, window + horizon, I)
        targets = whole[:, cut.window :, channels]
        complete = np.isfinite(targets).all(axis=(1, 2))
        gaps += int((~complete).sum())
        x += list(whole[complete, : cut.window] if not complete.all() else whole[:, : cut.window])
        y.append(targets[complete])
        steps = first + cut.window + cut.stride * np.flatnonzero(complete)
        ids += [f"{data.ids[index]}, from step {step + 1}" for step in steps]
    if not x:
        longest = max((stop - start for _, start, stop in spans), default=0)
        raise InputError(
            f"{data.name}: the {part} part holds no window of {cut.window} steps and {cut.horizon} "
            f"to forecast; its longest series has {longest} steps. Use a smaller window or "
            "horizon (--window, --horizon), larger parts, or longer series."
        )
    notes = list(data.notes)
    if short:
        notes.append(f"{short} of {len(spans)} series are too short for the {part} part.")
    if gaps:
        notes.append(f"{gaps} {part} windows with gaps in what they tell were left out.")
    source = replace(
        data,
        x=[one for one in sources if len(one)],
        ids=[data.ids[span[0]] for span, one in zip(spans, sources, strict=True) if len(one)],
        times=None,
        parts=None,
    )
    return replace(
        data,
        x=x,
        y=np.concatenate(y),
        ids=ids,
        times=None,
        parts=None,
        window=cut.window,
        horizon=cut.horizon,
        notes=tuple(notes),
        source=source,
    )
