"""How the gradient flows back through time, over t and against lag."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.inspect import GradientFlow, SetFlow
from gatewise.plots.canvas import figure, require_measure, require_sets, styles, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_gradient_flow(measure: GradientFlow) -> Figure:
    """Return ‖dL/dh_t‖ and ‖dL/dc_t‖ over t, and against lag, a row for each weight set.

    Both axes of size are logarithmic; the dotted line is the truncation that `suggested_k2` names.
    """
    require_measure(
        measure, GradientFlow, "plot_gradient_flow", "measure_gradient_flow(model, x, y)"
    )
    require_sets(measure.sets, "gradient flow")
    drawn, axes = figure(len(measure.sets), 2, width=9.0, height=2.8)
    for row, one in enumerate(measure.sets):
        _over_time(axes[2 * row], one)
        _over_lag(axes[2 * row + 1], one)
    return drawn


def _over_time(axes: Axes, one: SetFlow) -> None:
    for (name, state), style in zip(one.states.items(), styles(), strict=False):
        axes.plot(_positive(state.by_step), label=f"‖dL/d{name}‖", **style)
    _dress(axes, one, "time step t")
    axes.set_title(f"{one.name}: {one.verdict}", loc="left", fontsize=10)


def _over_lag(axes: Axes, one: SetFlow) -> None:
    for (name, state), style in zip(one.states.items(), styles(), strict=False):
        axes.plot(_positive(state.by_lag), label=f"‖∂L/∂{name}‖", **style)
    if one.suggested_k2 and one.verdict != "no gradient":
        axes.axvline(one.suggested_k2, color="0.4", linestyle=":", linewidth=1)
        axes.annotate(
            f"k2 = {one.suggested_k2}", (one.suggested_k2, 0.98), xytext=(3, 0),
            xycoords=axes.get_xaxis_transform(), textcoords="offset points", va="top", fontsize=8,
            color="0.3",
        )  # fmt: skip
    _dress(axes, one, "lag k, steps back")
    axes.set_title("against lag", loc="left", fontsize=10)


def _dress(axes: Axes, one: SetFlow, label: str) -> None:
    axes.set_xlabel(label)
    whole_ticks(axes)
    axes.set_ylabel("size of the gradient")
    if one.verdict == "no gradient":
        axes.text(0.5, 0.5, "no gradient", transform=axes.transAxes, ha="center", color="0.4")
        return
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)


def _positive(values: np.ndarray) -> np.ndarray:
    """Return the values with gaps where a logarithm has none."""
    return np.where(values > 0, values, np.nan)
