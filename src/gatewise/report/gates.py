"""The gates of chosen series as small pictures, a row a unit and a column a step."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from gatewise.inspect import GateActivity, SetActivity, Signal
from gatewise.inspect.layout import number

UNITS_DRAWN = 24
"""How many units are drawn: those whose memory lasts longest."""

COLUMNS_DRAWN = 200
"""How many steps are drawn at most; of a longer series, as many evenly spread ones."""

SETS_DRAWN = 4
"""Of how many weight sets the gates are drawn: the first ones."""


@dataclass(frozen=True)
class GatePicture:
    """One gate or state of one series: a PNG as a data URI, and what its ends stand for."""

    name: str
    source: str
    low: str
    high: str
    mean: str
    signed: bool


@dataclass(frozen=True)
class SeriesGates:
    """The pictures of one weight set on one series; ``steps`` are its real ones."""

    set: str
    kind: str
    series: int
    steps: int
    units: int
    of_units: int
    pictures: tuple[GatePicture, ...]


def draw_gates(measure: GateActivity) -> tuple[SeriesGates, ...]:
    """Return the pictures for every series of a measure that kept all samples (sample=None)."""
    return tuple(
        _of_series(one, series)
        for one in measure.sets[:SETS_DRAWN]
        for series in range(measure.batch)
    )


def _of_series(one: SetActivity, series: int) -> SeriesGates:
    order = np.arange(one.size) if one.memory is None else np.argsort(-one.memory, kind="stable")
    units = np.sort(order[:UNITS_DRAWN])
    real = np.flatnonzero(one.real[series])
    columns = real[np.unique(np.linspace(0, len(real) - 1, COLUMNS_DRAWN).astype(int))]
    columns = columns if len(real) else real
    return SeriesGates(
        set=one.name,
        kind=one.kind,
        series=series,
        steps=len(real),
        units=len(units),
        of_units=one.size,
        pictures=tuple(
            _picture(signal, signal.values[series][np.ix_(columns, units)], real, series)
            for signal in one.signals.values()
        ),
    )


def _picture(signal: Signal, values: np.ndarray, real: np.ndarray, series: int) -> GatePicture:
    gate = signal.ends is not None and signal.ends[0] > 0
    size = 1.0 if gate else float(np.abs(values).max(initial=0.0)) or 1.0
    low = 0.0 if gate else -size
    mean = float(signal.values[series][real].mean()) if len(real) else 0.0
    source = _png((values.T - low) / (size - low), signed=not gate)
    return GatePicture(signal.name, source, number(low), number(size), number(mean), not gate)


def _png(shares: np.ndarray, *, signed: bool) -> str:
    """Return values from 0 to 1 as a picture in the maps that `gatewise.plots` draws with."""
    from matplotlib import colormaps
    from matplotlib.image import imsave

    from gatewise.plots.canvas import HEAT, SIGNED

    if not shares.size:
        shares = np.zeros((1, 1))
    file = io.BytesIO()
    colours = colormaps[SIGNED if signed else HEAT](shares, bytes=True)[..., :3]
    imsave(file, np.ascontiguousarray(colours), format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
