"""Figures of what the inspector measured; each function takes a measure and returns a Figure.

matplotlib is imported when the first figure is drawn (``pip install 'gatewise[plot]'``). Colours
are those of Okabe and Ito, which colour-blind people tell apart; lines also differ in dash, and
heat maps grow evenly in lightness, so that a figure survives a greyscale print.
"""

from gatewise.plots.activity import plot_gates, plot_saturation
from gatewise.plots.attention import plot_attention
from gatewise.plots.contributions import plot_contributions
from gatewise.plots.flow import plot_gradient_flow
from gatewise.plots.history import plot_history
from gatewise.plots.outcome import plot_forecast, plot_residuals
from gatewise.plots.text import plot_text
from gatewise.plots.unrolled import plot_unrolled

__all__ = [
    "plot_attention",
    "plot_contributions",
    "plot_forecast",
    "plot_gates",
    "plot_gradient_flow",
    "plot_history",
    "plot_residuals",
    "plot_saturation",
    "plot_text",
    "plot_unrolled",
]
