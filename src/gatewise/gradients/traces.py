"""Traces: the part of the past's influence that each unit has on itself.

The influence J = ds/dθ of all weights on all states is large: 2H·4H(I + H + 1) numbers a series.
Where the path is "diagonal" or "cell", the units do not mix. A weight in unit j's columns then acts
on unit j's own states alone, and J shrinks to a trace: one number for each weight and each state of
its unit. The trace obeys the same equations as J, with products unit by unit:

    J ← A · J + B          g = g_in + g_0 · J

A (one number for each unit and pair of its states) and B come from the scan that serves the
gradient, with a cotangent of ones on one state of all units at once: units that do not mix need not
be asked one by one. The native kernels do all of this in one pass over the trace: what it was
worth, g_0 · J, and what it becomes. `advanced` says the same with the parts of the way back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gatewise.errors import UnsupportedError
from gatewise.gradients.carrying import Carried, States, cleared, same_noise
from gatewise.gradients.contract import GradientAlgorithm, whole_steps
from gatewise.gradients.layout import recurrent_layers, require_fused, require_pieces
from gatewise.gradients.one_step import take_step
from gatewise.gradients.passage import WayBack, detached, open_kernel, passage
from gatewise.gradients.task import Differentiable, Part, Task
from gatewise.kernels import Pass, ops
from gatewise.kernels.traces import TraceStep, advance_chunk, worth, zeros

Trace = list[list[Tensor]]  # for each state, for each weight: (B, *weight.shape)


@dataclass(frozen=True)
class TraceAlgorithm(GradientAlgorithm):
    """An online algorithm that carries traces; a subclass names the path."""

    every: int = 1

    exact = False
    unbiased = False
    online = True
    cost = "time about 3F a step plus the trace; memory for one chunk and the trace"

    def __post_init__(self) -> None:
        whole_steps(self.name, "every", self.every)

    @property
    @abstractmethod
    def path(self) -> str:
        """Which way a cotangent may take; one of `ops.PATHS` on which the units do not mix."""

    def supports(self, model: Differentiable) -> None:
        """Raise `UnsupportedError` where the sequence cannot run in pieces."""
        require_pieces(self.name, model)
        require_fused(self.name, model)
        _require_own_units(self.name, model)

    @property
    def stride(self) -> int:
        return self.every

    def open(self) -> _Traces:
        return _Traces(self.path)

    def gradients(self, task: Task, trail: _Traces | None = None) -> Iterator[Part]:
        """Yield for each chunk that holds a loss."""
        task = task.ending_together()
        traces = self.open() if trail is None else trail
        with same_noise(task.model) as next_piece:
            for start, end in task.chunks(self.every):
                next_piece()
                traces.passes.clear()
                traces.goes_on = end < task.steps or trail is not None
                learns = task.has_loss(start, end)
                with torch.set_grad_enabled(learns), traces.carried.piece():
                    prediction, mask = task.forward(start, end)
                part = task.backward(task.part(start, end, prediction, mask)) if learns else None
                traces.advance()
                if part is not None:
                    yield part


def _require_own_units(algorithm: str, model: Differentiable) -> None:
    """Raise `UnsupportedError` for layers in which one unit acts on another past U."""
    for layer in recurrent_layers(model):
        specification = layer.specification
        reason = (
            "its projection makes each h of all units (projection=)"
            if specification.projection
            else "layer normalization measures all units together (layer_norm=True)"
        )
        if specification.projection or specification.layer_norm:
            raise UnsupportedError(
                f"{algorithm} keeps each unit's influence on itself, but in '{layer.name}' "
                f"{reason}. Use gradient=RTRL(), BPTT() or TBPTT(k1), or leave that option out."
            )


class _Traces:
    """The trace of each pass of a model."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.carried = Carried(self._pass)
        self.passes: list[tuple[Pass, ops.Saved] | None] = []
        self._traces: dict[int, Trace] = {}
        self._steps: dict[int, TraceStep] = {}
        self.goes_on = True  # whether the traces are wanted behind the chunk that runs

    def __getstate__(self) -> dict[str, Any]:
        # A copy makes the native steps anew: they hold addresses.
        return {**self.__dict__, "_steps": {}, "passes": []}

    @property
    def states(self) -> list[list[Tensor]]:
        return self.carried.end

    def forget(self, lanes: Tensor) -> None:
        self.carried.forget(lanes)
        for place, trace in self._traces.items():
            self._traces[place] = [[cleared(one, lanes) for one in state] for state in trace]

    def _pass(self, place: int, given: Pass) -> tuple[Tensor, States, States]:
        if TraceStep.serves(given):
            outputs, final = self._single(place, given)
            self.passes.append(None)
            return outputs, final, final
        past = partial(self._past, place) if place in self._traces else None
        back = WayBack(path=self._path, across_layers="step", past=past)
        outputs, final, saved = passage(given, back)
        self.passes.append((detached(given), saved))
        return outputs, final, final

    def _past(self, place: int, grad_state: Sequence[Tensor]) -> list[Tensor]:
        """Return g_0 · J, and carry J over the chunk while it is at hand."""
        trace, ran = self._traces[place], self.passes[place]
        assert ran is not None
        if not ran[0].plainly_native:
            return _worth(grad_state, trace)
        if not self.goes_on:
            return worth(ran[0], trace, grad_state)
        self.passes[place] = None
        return advance_chunk(*ran, self._path, trace, grad_state)

    def _single(self, place: int, given: Pass) -> tuple[Tensor, States]:
        """Run a single step, which carries its trace along by itself."""
        step = self._steps.get(place)
        if step is None or not step.fits(given):
            step = self._steps[place] = TraceStep(given, self._path)
        if place not in self._traces:
            self._traces[place] = zeros(given)
        return take_step(given, step, self._traces[place])

    @torch.no_grad()
    def advance(self) -> None:
        """Carry every trace that has stayed behind over the chunk that has just run."""
        if not self.goes_on:
            return
        for place, ran in enumerate(self.passes):
            if ran is None:
                continue
            given, trace = ran[0], self._traces.get(place)
            if given.plainly_native:
                trace = zeros(given) if trace is None else trace
                advance_chunk(*ran, self._path, trace)
            else:
                trace = advanced(*ran, self._path, trace)
            self._traces[place] = trace


def _worth(grad_state: Sequence[Tensor], trace: Trace) -> list[Tensor]:
    """Return g_0 · J for each weight, summed over the batch."""
    return [
        torch.stack(
            [
                (_columns(grad, influence) * influence).sum(0)
                for grad, influence in zip(grad_state, influences, strict=True)
            ]
        ).sum(0)
        for influences in zip(*trace, strict=True)
    ]


def advanced(given: Pass, saved: ops.Saved, path: str, trace: Trace | None) -> Trace:
    """Return A · J + B over one chunk."""
    fixed = (given.mask, given.noise, given.specification, open_kernel(given))
    found: Trace = []
    for number in range(len(given.state)):
        if _ends(given, path) and number == 0:
            # An LSTM's h reaches the next step through U alone, so on this path its trace is worth
            # nothing.
            found.append(_nothing(given) if trace is None else trace[0])
            continue
        ones = [
            torch.full_like(state, float(other == number))
            for other, state in enumerate(given.state)
        ]
        grad_product, A, _ = ops.backward_scan(
            None, ones, saved, given.weights, given.state, *fixed, path=path
        )
        B = ops.weight_gradient(
            given.x, saved, grad_product, given.weights, given.state, *fixed, reduce="sample"
        )
        if trace is not None:
            for before, influences in zip(A, trace, strict=True):
                for new, old in zip(B, influences, strict=True):
                    new.add_(_columns(before, old) * old)
        found.append(B)
    return found


def _ends(given: Pass, path: str) -> bool:
    """Whether h ends with its step on this path: no U, and no zoneout that keeps some of it."""
    return path == "cell" and "c" in given.specification.states and given.noise.zoneout_h is None


def _nothing(given: Pass) -> list[Tensor]:
    return [weight.new_zeros(len(given.x), *weight.shape) for weight in given.weights]


def _columns(of_units: Tensor, like: Tensor) -> Tensor:
    """Return (B, H) spread over the columns (B, …, G·H), of which each belongs to a unit."""
    gates = like.shape[-1] // of_units.shape[-1]
    spread = of_units.repeat(1, gates)  # (B, G·H)
    return spread.reshape(len(spread), *(1,) * (like.dim() - 2), -1)
