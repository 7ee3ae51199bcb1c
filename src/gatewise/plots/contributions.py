"""What each time step adds to the gradient of the weights that all steps share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.inspect import SharingMeasure
from gatewise.inspect.weights import symbol
from gatewise.plots.canvas import (
    COLOURS,
    figure,
    require_measure,
    require_sets,
    styles,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_contributions(measure: SharingMeasure) -> Figure:
    """Return the size of each step's part of the gradient: a row for each use of a weight set.

    Bars are the whole set, lines W, U and b over all gates.
    """
    require_measure(measure, SharingMeasure, "plot_contributions", "measure_sharing(model, x, y)")
    uses = [(one, use) for one in measure.sets for use in one.uses]
    require_sets(uses, "contribution")
    drawn, axes = figure(len(uses), height=2.5)
    for place, (one, use) in zip(axes, uses, strict=True):
        steps = np.arange(use.steps)
        place.bar(steps, use.totals, color=COLOURS[4], width=0.85, label="all", alpha=0.5)
        for (name, gates), style in zip(use.norms.items(), styles(), strict=False):
            sizes = np.sqrt(sum(norm.astype(float) ** 2 for norm in gates.values()))
            place.plot(steps, sizes, label=symbol(name), **style)
        place.set_title(
            f"{one.name}: {len(use.contributing_steps)} of {use.steps} steps add to one gradient",
            loc="left", fontsize=10,
        )  # fmt: skip
        place.set_xlabel("time step t")
        whole_ticks(place)
        place.set_ylabel("norm of its part")
        place.legend(frameon=False, fontsize=8, ncols=4)
    return drawn
