"""How good predictions are: numbers against the truth, and forecasts beside what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gatewise.errors import InputError
from gatewise.plots.canvas import COLOURS, figure, whole_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_residuals(truth: np.ndarray, predicted: np.ndarray, target: str = "target") -> Figure:
    """Return what was predicted against what is true, and how the errors are distributed."""
    truth, predicted = np.asarray(truth, float), np.asarray(predicted, float)
    if truth.shape != predicted.shape or truth.ndim != 1 or not len(truth):
        raise InputError(
            f"plot_residuals takes two arrays (N,) of one length but got {truth.shape} and "
            f"{predicted.shape}."
        )
    drawn, (left, right) = figure(1, 2, width=8.0, height=3.2)
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    left.plot(ends, ends, color="0.6", linewidth=1)
    left.plot(truth, predicted, "o", color=COLOURS[0], markersize=4, alpha=0.7, markeredgewidth=0)
    left.set_title("predicted against true; on the line is right", loc="left", fontsize=10)
    left.set_xlabel(f"true {target}", parse_math=False)
    left.set_ylabel(f"predicted {target}", parse_math=False)
    right.hist(predicted - truth, bins=min(30, max(5, len(truth) // 4)), color=COLOURS[4])
    right.axvline(0, color="0.5", linestyle="--", linewidth=1)
    right.set_title("residuals", loc="left", fontsize=10)
    right.set_xlabel("predicted minus true")
    right.set_ylabel("series")
    return drawn


def plot_forecast(
    windows: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]], target: str = "target"
) -> Figure:
    """Return a panel for each window (name, seen (W,), what came (horizon,), forecast (horizon,)).

    Step 0 is the first one that is forecast.
    """
    if not windows:
        raise InputError("plot_forecast takes at least one window (name, seen, truth, forecast).")
    drawn, axes = figure(len(windows), width=8.0, height=2.0)
    for place, (name, seen, truth, told) in zip(axes, windows, strict=True):
        horizon = np.arange(len(truth))
        place.plot(np.arange(-len(seen), 0), seen, color=COLOURS[5], linewidth=1, label="seen")
        place.plot(horizon, truth, "o-", color=COLOURS[0], markersize=3, label="what came")
        place.plot(horizon, told, "s--", color=COLOURS[1], markersize=3, label="forecast")
        place.axvline(-0.5, color="0.6", linewidth=0.8)
        place.set_title(name, loc="left", fontsize=10, parse_math=False)
        place.set_ylabel(target, parse_math=False)
        whole_ticks(place)
    axes[0].legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.97))
    axes[-1].set_xlabel("step")
    return drawn
