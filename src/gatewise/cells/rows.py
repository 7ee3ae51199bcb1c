"""What a step keeps for the way back, and what the way back leaves to the weights' gradients.

Each is one row of numbers for every step; here stands which columns hold what, for the equations
and the kernels alike (``native/scan.h`` says the same).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from gatewise.cells.specification import Specification

_STATISTICS = 16  # four are used; a cache line of float32, so that the rows after it stay aligned


class SavedRow(NamedTuple):
    """Where the parts of a row of ``saved`` stand, and how wide it is.

    ``main`` is an LSTM's c or, of a GRU that resets after the product, h U_h + b'_h. With layer
    normalization follow the normalized h U, x W and c', before their gains, and ``statistics``:
    the factors of h U and of x W, and of an LSTM's c'; of a GRU the first two for z and r, and
    again for the candidate.
    """

    main: slice
    recurrent: slice
    input: slice
    cell: slice
    statistics: slice
    width: int


class GradientRow(NamedTuple):
    """Where the parts of a row of ``grad_product`` stand, and how wide it is.

    ``product`` is dL/dP. ``recurrent`` and ``input`` are the cotangents of h U and of x W: dL/dP
    itself unless they are normalized. ``cell`` is that of the normalized c' that is shown, times
    its gain and with its bias. Of a projected LSTM ``hidden`` is all that reaches h after the step,
    and ``shown`` is o ⊙ tanh(c'), which the projection multiplied.
    """

    product: slice
    recurrent: slice
    cell: slice
    input: slice
    hidden: slice
    shown: slice
    width: int


@lru_cache(maxsize=256)
def saved_row(specification: Specification, units: int) -> SavedRow:
    """Return the columns of ``saved`` for a layer of so many units.

    >>> saved_row(Specification("lstm"), 4).width, saved_row(Specification("simple_rnn"), 4).width
    (4, 0)
    """
    columns = len(specification.gates) * units
    normal = columns if specification.layer_norm else 0
    cell = units if specification.layer_norm and "c" in specification.states else 0
    statistics = _STATISTICS if specification.layer_norm else 0
    main, recurrent, of_input, of_cell, statistic = _neighbours(
        units if specification.saves else 0, normal, normal, cell, statistics
    )
    return SavedRow(main, recurrent, of_input, of_cell, statistic, statistic.stop)


@lru_cache(maxsize=256)
def gradient_row(specification: Specification, units: int, hidden: int) -> GradientRow:
    """Return the columns of ``grad_product`` for so many units and an h of ``hidden`` numbers.

    >>> gradient_row(Specification("lstm", projection=True), 4, 2).hidden
    slice(16, 18, None)
    """
    columns = len(specification.gates) * units
    norm, projection = specification.layer_norm, specification.projection
    normal = columns if norm else 0
    cell = units if norm and "c" in specification.states else 0
    shown = (hidden, units) if projection else (0, 0)
    product, recurrent, of_cell, of_input, of_hidden, of_shown = _neighbours(
        columns, normal, cell, normal, *shown
    )
    if not norm:
        recurrent = of_input = product
    return GradientRow(product, recurrent, of_cell, of_input, of_hidden, of_shown, of_shown.stop)


def _neighbours(*widths: int) -> list[slice]:
    """Return slices of these widths, side by side."""
    slices, start = [], 0
    for width in widths:
        slices.append(slice(start, start + width))
        start += width
    return slices
