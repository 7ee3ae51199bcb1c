"""Checkpoints: run a sequence in segments, keep few states, and run the rest again on the way back.

A sequence of n segments with room for m states costs C(n, m) segment runs on the way back:

    C(n, m) = min over y of [ y + C(n - y, m - 1) + C(y, m) ]      C(n, 1) = n(n + 1)/2

Run y segments and keep the state there; go back over the n - y behind it with one place less; its
place is then free again for the y before it. Gruslys et al., arXiv 1606.03401, over fused segments
instead of single steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gatewise.gradients.passage import open_kernel
from gatewise.kernels import Pass, ops
from gatewise.kernels.segments import Gradient, go_back, joined, parted, run

State = Sequence[Tensor]


def checkpointed(given: Pass, states: Literal["sqrt"] | int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a pass that keeps at most so many states and no gates; "sqrt" keeps one a segment."""
    outputs, *final = _Checkpointed.apply(given, states, given.x, *given.weights, *given.state)
    return outputs, tuple(final)


def segments(steps: int) -> list[tuple[int, int]]:
    """Return the segments, each of √(T/3) steps: so gates and kept states take least together.

    >>> segments(12)[:2], len(segments(1000))
    ([(0, 2), (2, 4)], 56)
    """
    size = max(1, round(math.sqrt(steps / 3)))
    return [(start, min(start + size, steps)) for start in range(0, steps, size)]


@cache
def cost(segments: int, states: int) -> int:
    """Return C(n, m), the segment runs that the way back takes.

    >>> cost(10, 1), cost(10, 3), cost(10, 10)
    (55, 25, 19)
    """
    if states == 1:
        return segments * (segments + 1) // 2
    if states >= segments:
        return 2 * segments - 1
    return min(_cost_of_split(segments, states, split) for split in range(1, segments))


@cache
def best_split(segments: int, states: int) -> int:
    """Return y, how many segments to run before the next state is kept.

    >>> best_split(10, 3), best_split(4, 4)
    (4, 1)
    """
    if states >= segments:
        return 1
    return min(range(1, segments), key=lambda split: _cost_of_split(segments, states, split))


def _cost_of_split(segments: int, states: int, split: int) -> int:
    return split + cost(segments - split, states - 1) + cost(split, states)


class _Checkpointed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, given: Pass, states: Literal["sqrt"] | int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        walk = _Walk(given, tensors, states)
        outputs, final, kept = walk.forward()
        ctx.given, ctx.states = given._replace(x=given.x[:0], weights=(), state=()), states
        ctx.weights, ctx.tensors, ctx.kept_at = len(given.weights), len(tensors), list(kept)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *kept.values())
        return outputs, *final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor | None, *grad_final: Tensor | None) -> Any:
        tensors, kept = ctx.saved_tensors[: ctx.tensors], ctx.saved_tensors[ctx.tensors :]
        given = ctx.given._replace(weights=tensors[1 : 1 + ctx.weights])
        walk = _Walk(given, tensors, ctx.states)
        x, weights = tensors[0], walk.given.weights
        wants_weights = any(ctx.needs_input_grad[3 : 3 + len(weights)])
        gradient = Gradient(
            ops.materialize(grad_final, walk.given.state),
            [one.new_zeros(one.shape) for one in weights] if wants_weights else None,
            x.new_empty(x.shape) if ctx.needs_input_grad[2] else None,
        )
        walk.backward(gradient, grad_outputs, dict(zip(ctx.kept_at, kept, strict=True)))
        none = [None] * len(weights)
        return None, None, gradient.x, *(gradient.weights or none), *gradient.state


class _Walk:
    """A pass in segments, numbered in the order in which they run.

    A kept state is one row of its numbers, by the segment that it begins. Where there is room for
    all of them they are one tensor (segments - 1, numbers), by the number 1.
    """

    def __init__(
        self, given: Pass, tensors: Sequence[Tensor], states: Literal["sqrt"] | int
    ) -> None:
        x, *rest = tensors
        count = len(given.weights)
        kernel = open_kernel(given)
        self.given = given._replace(kernel=kernel, x=x, weights=rest[:count], state=rest[count:])
        self.segments = segments(x.shape[1])
        if given.specification.reverse:
            self.segments.reverse()
        self.room = len(self.segments) if states == "sqrt" else states

    def run(
        self,
        first: int,
        stop: int,
        state: State,
        outputs: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> State:
        """Run the segments from `first` up to `stop`; return the state behind them."""
        given = self.given._replace(state=state)
        return run(given, self.segments[first:stop], outputs, kept)

    def forward(self) -> tuple[Tensor, State, dict[int, Tensor]]:
        """Return the outputs, the final state and the states kept."""
        x, state, hidden = self.given.x, self.given.state, self.given.weights[1].shape[0]
        outputs, count = x.new_empty(*x.shape[:2], hidden), len(self.segments)
        if self.room >= count:
            all_kept = x.new_empty(count - 1, sum(part.numel() for part in state))
            return outputs, self.run(0, count, state, outputs, all_kept), {1: all_kept}
        kept: dict[int, Tensor] = {}
        first, room = 0, self.room
        while first < count:
            # With one place left there is no other state to keep: the next is the end.
            stop = first + best_split(count - first, room) if room > 1 else count
            state = self.run(first, stop, state, outputs)
            if stop < count:
                kept[stop] = joined(state)
                room -= 1
            first = stop
        return outputs, state, kept

    def backward(
        self, gradient: Gradient, grad_outputs: Tensor | None, kept: dict[int, Tensor]
    ) -> None:
        """Go back over all segments, with the states that the way forward has kept."""
        count = len(self.segments)
        if self.room >= count:
            go_back(self.given, self.segments, kept[1], grad_outputs, gradient)
            return
        initial = self.given.state
        states: dict[int, State] = {place: parted(row, initial) for place, row in kept.items()}

        def over(first: int, count: int, state: State, room: int) -> None:
            """Go back over `count` segments from `first`, which begins in `state`."""
            while count > 1:
                split = best_split(count, room) if room > 1 else count - 1
                middle = states.pop(first + split, None)
                if middle is None:
                    middle = self.run(first, first + split, state)
                over(first + split, count - split, middle, max(room - 1, 1))
                del middle  # its place is free again
                count = split
            given = self.given._replace(state=state)
            go_back(given, self.segments[first : first + 1], None, grad_outputs, gradient)

        over(0, count, self.given.state, self.room)
