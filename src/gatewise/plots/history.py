"""A training run: the loss and every metric by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.errors import InputError
from gatewise.plots.canvas import figure, styles, whole_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_history(history: Any) -> Figure:
    """Return a panel for each value of a `History` (or of its dict), with its validation beside it.

    Values of `Diagnose`, whose names hold a slash, are left out; the dot is a validation's best
    epoch for a loss.
    """
    values: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    names = [name for name in values if not name.startswith("val_") and "/" not in name]
    if not names or not len(values[names[0]]):
        raise InputError(
            "This history holds no epoch. Pass what model.fit returned, after at least one epoch."
        )
    epochs = [epoch + 1 for epoch in getattr(history, "epoch", range(len(values[names[0]])))]
    drawn, axes = figure(1, len(names), width=3.6 * len(names), height=2.8)
    for place, name in zip(axes, names, strict=True):
        style = styles()
        place.plot(epochs, values[name], label="training", **next(style))
        held_out = values.get(f"val_{name}")
        if held_out is not None:
            last = epochs[-len(held_out) :]
            look = next(style)
            place.plot(last, held_out, label="validation", **look)
            if name == "loss" and np.isfinite(held_out).any():
                best = int(np.nanargmin(held_out))
                place.plot(last[best], held_out[best], "o", color=look["color"])
        place.set_title(name, loc="left", fontsize=10)
        place.set_xlabel("epoch")
        whole_ticks(place)
        place.legend(frameon=False, fontsize=8)
    return drawn
