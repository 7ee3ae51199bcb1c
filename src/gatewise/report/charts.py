"""The page's charts: figures of `gatewise.plots` as SVG that follows the page's colours."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from gatewise import plots
from gatewise.inspect import GradientFlow
from gatewise.report.measure import Report
from gatewise.report.outcomes import Confusion, Residuals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETS_DRAWN = 6
"""Of how many weight sets the gradient flow is drawn: the first ones."""

_PROLOG = re.compile(r"^.*?(?=<svg )", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
# The style of an element; a name from data is text, where matplotlib escapes the quotes.
_COLOUR = re.compile(r"\b(stroke|fill): (#[0-9a-f]{6})\b")
_GREYS = ("#4d4d4d", "#666666", "#808080")  # of notes on a figure


def draw_charts(report: Report) -> dict[str, str]:
    """Return the charts of a report by name, each an SVG element."""
    figures = {"flow": plots.plot_gradient_flow(_first_sets(report))}
    if any(len(values) for values in report.history.values()):
        figures["curves"] = plots.plot_history(dict(report.history))
    if any(one.stuck_units for one in report.activity.sets):
        figures["saturation"] = plots.plot_saturation(report.activity)
    outcome = report.outcome
    if isinstance(outcome, Residuals):
        figures["outcome"] = plots.plot_residuals(outcome.truth, outcome.predicted, outcome.target)
    elif not isinstance(outcome, Confusion):
        windows = [(one.name, one.seen, one.truth, one.predicted) for one in outcome.windows]
        figures["outcome"] = plots.plot_forecast(windows, outcome.target)
    return {name: svg_of(figure, name) for name, figure in figures.items()}


def _first_sets(report: Report) -> GradientFlow:
    return replace(report.flow, sets=report.flow.sets[:SETS_DRAWN])


def svg_of(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element: text as text, ink and paper those of the page.

    Black, in which matplotlib writes and draws axes, becomes the page's own colour of text, and
    each colour of `gatewise.plots` a variable that the page sets for light and dark. Names from
    data are escaped by matplotlib, which writes the XML; ``name`` keeps the ids of charts apart.
    """
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator"))
        )
    svg = _METADATA.sub("", _PROLOG.sub("", file.getvalue(), count=1), count=1)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    return _COLOUR.sub(_on_page, svg)


def _on_page(found: re.Match[str]) -> str:
    from gatewise.plots.canvas import COLOURS

    what, colour = found.groups()
    if colour == "#000000":
        return f"{what}: currentColor"
    if colour in _GREYS:
        return f"{what}: var(--soft)"
    known = [one.lower() for one in COLOURS]
    return f"{what}: var(--line-{known.index(colour)})" if colour in known else found.group()
