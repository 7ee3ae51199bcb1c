"""A text coloured by the state of a unit.

After Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks" (arXiv
1506.02078).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gatewise.errors import InputError
from gatewise.inspect import GateActivity, SetActivity
from gatewise.plots.canvas import SIGNED, figure, require_measure, require_sets

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 78
"""How many characters a line holds."""


def plot_text(
    measure: GateActivity,
    tokens: Sequence[str],
    unit: int,
    *,
    name: str | None = None,
    signal: str = "h",
) -> Figure:
    """Return the tokens of the measured sample, each on the colour of one unit after it was read.

    ``tokens`` are those of the sample that `measure_gates` kept, one a real step; ``signal`` is the
    state or gate to colour by ("h", "c", "f" …), ``name`` a weight set (by default the first).
    Dark is -m (or 0 of a gate), bright m (or 1), m being the largest size that occurs.

    Raises:
        InputError: another number of tokens than steps, or a unit or signal that was not kept.
    """
    require_measure(measure, GateActivity, "plot_text", "measure_gates(model, x)")
    require_sets(measure.sets, "gate activity")
    one = measure.sets[0] if name is None else measure[name]
    values = _values(one, signal, unit)
    if len(values) != len(tokens):
        raise InputError(
            f"plot_text got {len(tokens)} tokens for {len(values)} real steps of sample "
            f"{one.sample}. Give one token a step, e.g. vocabulary.split(text)."
        )
    ends = one.signals[signal].ends
    gate = ends is not None and ends[0] > 0
    size = 1.0 if gate else float(np.abs(values).max(initial=0.0)) or 1.0
    low = 0.0 if gate else -size
    lines = _lines(tokens)
    drawn, (axes,) = figure(1, width=8.5, height=0.55 + 0.27 * len(lines))
    _draw(drawn, axes, lines, tokens, values, low, size)
    axes.set_title(
        f"{one.name}: {signal} of unit {unit} after each token", loc="left", fontsize=10,
        parse_math=False,
    )  # fmt: skip
    return drawn


def _values(one: SetActivity, signal: str, unit: int) -> np.ndarray:
    if one.sample is None:
        raise InputError("plot_text shows one sample. Call measure_gates with sample=0.")
    if signal not in one.signals:
        raise InputError(f"{one.name} has no signal {signal!r}. It has: {', '.join(one.signals)}.")
    kept = np.flatnonzero(one.units == unit)
    if not len(kept):
        raise InputError(
            f"Unit {unit} of {one.name} was not kept. Call measure_gates with units=[{unit}]."
        )
    return one.signals[signal].values[one.real, kept[0]]


def _lines(tokens: Sequence[str]) -> list[list[int]]:
    """Return which tokens stand on each line."""
    lines: list[list[int]] = [[]]
    width = 0
    for place, token in enumerate(tokens):
        length = len(token) + 1
        if width + length > LINE and lines[-1]:
            lines.append([])
            width = 0
        lines[-1].append(place)
        width += length
    return lines


def _draw(
    drawn: Figure,
    axes: Axes,
    lines: list[list[int]],
    tokens: Sequence[str],
    values: np.ndarray,
    low: float,
    high: float,
) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    shades = ScalarMappable(Normalize(low, high), colormaps[SIGNED])
    axes.set_axis_off()
    axes.set(xlim=(0, LINE), ylim=(len(lines), 0))
    for row, places in enumerate(lines):
        left = 0
        for place in places:
            token = tokens[place]
            colour = shades.to_rgba(values[place])
            axes.add_patch(Rectangle((left, row + 0.08), len(token) + 0.6, 0.84, facecolor=colour))
            light = np.dot(colour[:3], [0.299, 0.587, 0.114]) > 0.5
            axes.text(
                left + 0.3, row + 0.53, token, va="center", family="monospace", fontsize=9,
                color="black" if light else "white", parse_math=False,
            )  # fmt: skip
            left += len(token) + 1
    drawn.colorbar(shades, ax=axes, pad=0.01, aspect=12)
