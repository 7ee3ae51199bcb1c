"""The gates over time as heat maps, and how often each of them is saturated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.errors import InputError
from gatewise.inspect import GateActivity, SetActivity, Signal
from gatewise.plots.canvas import (
    COLOURS,
    HEAT,
    SIGNED,
    figure,
    require_measure,
    require_sets,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = "osD^vP"


def plot_gates(measure: GateActivity, name: str | None = None) -> Figure:
    """Return a heat map of each gate and state: units (rows) over time, padding left blank.

    Drawn are the units and the sample that `measure_gates` kept; ``name`` chooses a weight set (by
    default the first). Gates run dark to light from 0 to 1, values of either sign from -m to m,
    with zero halfway.
    """
    require_measure(measure, GateActivity, "plot_gates", "measure_gates(model, x)")
    require_sets(measure.sets, "gate activity")
    one = measure.sets[0] if name is None else measure[name]
    if one.sample is None or not len(one.units):
        raise InputError(
            "A heat map shows one sample and at least one unit, but this measure kept "
            f"{'all samples' if one.sample is None else 'no unit'}. Call measure_gates with "
            "sample=0 and units=None."
        )
    signals = list(one.signals.values())
    rows = (len(signals) + 1) // 2
    drawn, axes = figure(rows, 2, width=9.0, height=2.2, sharex=True)
    for place, signal in zip(axes, signals, strict=False):
        image = place.imshow(
            np.ma.masked_invalid(np.where(one.real[:, None], signal.values, np.nan).T),
            aspect="auto", interpolation="nearest", **_scale(signal),
        )  # fmt: skip
        place.set_title(signal.name, loc="left", fontsize=10)
        ticks = np.unique(np.linspace(0, len(one.units) - 1, min(5, len(one.units))).astype(int))
        place.set_yticks(ticks, [str(one.units[tick]) for tick in ticks])
        place.set_ylabel("unit")
        drawn.colorbar(image, ax=place, pad=0.01)
    for place in axes[len(signals) :]:
        place.set_visible(False)
    for place in axes[max(0, len(signals) - 2) : len(signals)]:
        place.set_xlabel("time step t")
        place.tick_params(labelbottom=True)
        whole_ticks(place)
    drawn.suptitle(f"{one.name}, sample {one.sample}", fontsize=11)
    return drawn


def _scale(signal: Signal) -> dict[str, Any]:
    if signal.ends is not None and signal.ends[0] > 0:
        return {"cmap": HEAT, "vmin": 0.0, "vmax": 1.0}
    size = float(np.nanmax(np.abs(signal.values), initial=0.0)) or 1.0
    return {"cmap": SIGNED, "vmin": -size, "vmax": size}


def plot_saturation(measure: GateActivity) -> Figure:
    """Return a point for each unit's gate: how often it is below 0.1, how often above 0.9.

    After Karpathy, Johnson and Fei-Fei 2015: a forget gate at the right end remembers for long; a
    point near the diagonal switches between the ends; one at the origin is never saturated.
    """
    require_measure(measure, GateActivity, "plot_saturation", "measure_gates(model, x)")
    require_sets(measure.sets, "gate activity")
    gated = [one for one in measure.sets if _gates(one)]
    if not gated:
        raise InputError(
            "No layer of this model has gates that saturate: a simple RNN has none. Measure an "
            "LSTM or GRU."
        )
    drawn, axes = figure(1, len(gated), width=3.6 * len(gated), height=3.6)
    for place, one in zip(axes, gated, strict=True):
        for signal, colour, marker in zip(_gates(one), COLOURS, _MARKERS, strict=False):
            assert signal.below is not None and signal.above is not None
            place.plot(
                signal.above, signal.below, marker, color=colour, markersize=4, alpha=0.6,
                label=signal.name, markeredgewidth=0, clip_on=False,
            )  # fmt: skip
        place.plot([0, 1], [1, 0], color="0.7", linewidth=0.8, zorder=0)
        place.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        place.set_xlabel("share of steps above 0.9")
        place.set_ylabel("share of steps below 0.1")
        place.set_title(one.name, loc="left", fontsize=10)
        place.legend(frameon=False, fontsize=8, title="gate")
    return drawn


def _gates(one: SetActivity) -> list[Signal]:
    return [s for s in one.signals.values() if s.ends is not None and s.ends[0] > 0]
