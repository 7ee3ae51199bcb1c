"""The ledger as a diagram: the network unrolled over time, its shared weights drawn once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.inspect import SetSharing, SharingMeasure
from gatewise.inspect.layout import number
from gatewise.inspect.weights import SYMBOLS
from gatewise.plots.canvas import COLOURS, figure, require_measure, require_sets

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEPS_DRAWN = 16
"""How many steps are drawn at most; of a longer series, as many evenly spread ones."""


def plot_unrolled(measure: SharingMeasure, name: str | None = None) -> Figure:
    """Return a weight set's unrolled network: one box of weights, a line to every step, its part.

    The box stands once because the weights do; the bar below a step is the size of its part of
    their gradient, in its first use. ``name`` chooses a weight set (by default the first).
    """
    require_measure(measure, SharingMeasure, "plot_unrolled", "measure_sharing(model, x, y)")
    require_sets(measure.sets, "unrolled network")
    one = measure.sets[0] if name is None else measure[name]
    require_sets(one.uses, "unrolled network")
    totals = one.uses[0].totals
    times = np.unique(np.linspace(0, len(totals) - 1, STEPS_DRAWN).round().astype(int))
    drawn, (axes,) = figure(1, width=max(5.0, 0.62 * len(times) + 1.2), height=3.4)
    axes.set_axis_off()
    axes.set(xlim=(-0.8, len(times) - 0.2), ylim=(-2.7, 2.5))
    _weights(axes, one, len(times), len(totals))
    top = float(totals.max()) or 1.0
    for place, t in enumerate(times):
        _step(axes, place, int(t), float(totals[t]), 1.55 * float(totals[t]) / top)
        if place:
            ends = ((place - 0.36, 0), (place - 0.64, 0))
            tip, tail = ends[::-1] if one.reverse else ends
            axes.annotate("", tip, tail, arrowprops={"arrowstyle": "->", "color": "0.4"})
    axes.text(-0.75, -2.62, "norm of each step's part of the gradient", fontsize=8, color="0.3")
    if len(times) < len(totals):
        axes.text(
            len(times) - 0.3, -2.62, f"{len(times)} of {len(totals):,} steps", fontsize=8,
            color="0.3", ha="right",
        )  # fmt: skip
    return drawn


def _weights(axes: Axes, one: SetSharing, drawn: int, steps: int) -> None:
    from matplotlib.patches import FancyBboxPatch

    box = FancyBboxPatch(
        (-0.45, 1.35), drawn - 0.1, 0.8, boxstyle="round,pad=0.05,rounding_size=0.15",
        facecolor="#dcecf7", edgecolor=COLOURS[0], linewidth=1.5,
    )  # fmt: skip
    axes.add_patch(box)
    symbols = " ".join(SYMBOLS[weight] for weight in one.gradients)
    count = sum(gradient.size for gradient in one.gradients.values())
    axes.text(
        (drawn - 1) / 2, 1.75, f"{symbols}: one set, {count:,} numbers, for all {steps:,} steps",
        ha="center", va="center", fontsize=10, color="black",
    )  # fmt: skip
    axes.set_title(one.name, loc="left", fontsize=10, parse_math=False)


def _step(axes: Axes, place: int, t: int, total: float, height: float) -> None:
    from matplotlib.patches import FancyBboxPatch, Rectangle

    axes.annotate(
        "", (place, 0.33), (place, 1.28), arrowprops={"arrowstyle": "->", "color": COLOURS[0]}
    )
    cell = FancyBboxPatch(
        (place - 0.24, -0.22), 0.48, 0.44, boxstyle="round,pad=0.05,rounding_size=0.1",
        facecolor="white", edgecolor="0.3",
    )  # fmt: skip
    axes.add_patch(cell)
    axes.text(place, 0, f"{t}", ha="center", va="center", fontsize=9)
    axes.add_patch(Rectangle((place - 0.25, -2.05), 0.5, height, facecolor=COLOURS[1]))
    axes.text(place, -2.32, number(total), ha="center", fontsize=6.5)
