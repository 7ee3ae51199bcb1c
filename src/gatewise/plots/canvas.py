"""The paper that figures are drawn on: the one place that imports matplotlib, and the look."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from gatewise.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours for the colour-blind, without the yellow that white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
HEAT = "viridis"
SIGNED = "cividis"


def figure(
    rows: int, columns: int = 1, *, width: float = 7.0, height: float = 2.4, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of rows × columns axes; the sizes are inches of one row."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnsupportedError(
            "Figures need matplotlib, which is not installed. Run pip install 'gatewise[plot]'; "
            "the render_* functions of gatewise.inspect show the same as text."
        ) from error
    # A Figure of its own, not pyplot's: nothing is kept alive, and no window is opened.
    drawn = Figure(figsize=(width, height * rows), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return drawn, axes


def whole_ticks(axes: Axes) -> None:
    """Mark the x axis at whole numbers: there is no half step."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def styles() -> Any:
    """Yield the colour and dash of one line after the other."""
    return cycle({"color": c, "linestyle": d} for c, d in zip(COLOURS, DASHES, strict=True))


def require_sets(sets: Sequence[Any], what: str) -> None:
    """Raise `InputError` where a measure holds nothing to draw."""
    if not sets:
        raise InputError(
            f"There is no {what} to draw: the forward pass runs no recurrent layer. Measure a "
            "model that calls one."
        )


def require_measure(measure: object, kind: type, plot: str, call: str) -> None:
    """Raise `InputError` where a plot was given anything but the measure that ``call`` returns."""
    if not isinstance(measure, kind):
        raise InputError(
            f"{plot} draws what {call} returns, a {kind.__name__}, but got a "
            f"{type(measure).__name__}. Measure first: {plot}({call})."
        )
