"""The unrolled network as a diagram: the shared weights once, every step, and what it adds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatewise.inspect import SetSharing, SharingMeasure, Use
from gatewise.inspect.layout import number
from gatewise.inspect.passes import use_name
from gatewise.inspect.weights import symbol

STEPS_DRAWN = 48
"""How many steps are drawn at most; of a longer series, as many evenly spread ones."""


@dataclass(frozen=True)
class Step:
    """One time step: the norm of its part of the gradient, and of the parts by gate and weight.

    ``share`` is ``total`` relative to the sum of all steps' totals, ``height`` relative to the
    largest. ``cells[gate][weight]`` are numbers as they are shown.
    """

    t: int
    total: float
    shown: str
    share: float
    height: float
    cells: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Unrolled:
    """One use of a weight set over time; ``steps`` in time order, ``of`` how many there are."""

    name: str
    kind: str
    gates: tuple[str, ...]
    weights: tuple[str, ...]
    count: int
    steps: tuple[Step, ...]
    of: int
    reverse: bool
    largest: int


def unroll(measure: SharingMeasure, drawn: int = STEPS_DRAWN) -> tuple[Unrolled, ...]:
    """Return a diagram for each use of each weight set."""
    return tuple(
        _unrolled(one, use, position, drawn)
        for one in measure.sets
        for position, use in enumerate(one.uses, start=1)
    )


def _unrolled(one: SetSharing, use: Use, position: int, drawn: int) -> Unrolled:
    count = min(drawn, use.steps)
    times = np.unique(np.linspace(0, use.steps - 1, count).round().astype(int))
    whole, top = float(use.totals.sum()) or 1.0, float(use.totals.max(initial=0.0)) or 1.0
    return Unrolled(
        name=use_name(one.layer, one.label, position, len(one.uses)),
        kind=one.kind,
        gates=one.gates,
        weights=tuple(symbol(name) for name in use.norms),
        count=sum(gradient.size for gradient in one.gradients.values()),
        steps=tuple(_step(use, int(t), whole, top) for t in times),
        of=use.steps,
        reverse=one.reverse,
        largest=int(use.totals.argmax()),
    )


def _step(use: Use, t: int, whole: float, top: float) -> Step:
    total = float(use.totals[t])
    gates = next(iter(use.norms.values()))
    return Step(
        t=t,
        total=total,
        shown=number(total),
        share=total / whole,
        height=total / top,
        cells={
            gate: {
                symbol(name): number(float(norms[gate][t]))
                for name, norms in use.norms.items()
                if gate in norms
            }
            for gate in gates
        },
    )
