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
        walk = _Walk(given, tensors)
        room = len(walk.segments) if states == "sqrt" else states
        outputs, final, kept = walk.forward(walk.initial, room)
        ctx.given, ctx.room = given._replace(x=given.x[:0], weights=(), state=()), room
        ctx.weights, ctx.kept_at = len(given.weights), list(kept)
        ctx.set_materialize_grads(False)
        flat = [tensor for state in kept.values() for tensor in state]
        ctx.save_for_backward(*tensors, *flat)
        ctx.tensors = len(tensors)
        return outputs, *final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor | None, *grad_final: Tensor | None) -> Any:
        x, *rest = ctx.saved_tensors[: ctx.tensors]
        given = ctx.given._replace(weights=rest[: ctx.weights], state=rest[ctx.weights :])
        walk = _Walk(given, (x, *rest))
        flat, count = ctx.saved_tensors[ctx.tensors :], len(given.state)
        kept = {
            place: flat[count * number : count * (number + 1)]
            for number, place in enumerate(ctx.kept_at)
        }
        gradient = _Gradient(walk, grad_outputs, ops.materialize(grad_final, given.state))
        walk.backward(gradient, 0, len(walk.segments), walk.initial, ctx.room, kept)
        return None, None, gradient.x, *gradient.weights, *gradient.state


class _Walk:
    """A pass in segments, numbered in the order in which they run."""

    def __init__(self, given: Pass, tensors: Sequence[Tensor]) -> None:
        x, *rest = tensors
        count = len(given.weights)
        self.given = given._replace(x=x, weights=rest[:count], state=rest[count:])
        self.initial: State = rest[count:]
        self.segments = segments(x.shape[1])
        if given.specification.reverse:
            self.segments.reverse()

    def run(self, number: int, state: State, needs_backward: bool) -> ops.Saved:
        """Run one segment from the state before it."""
        given = self.given.piece(*self.segments[number])
        return ops.forward(
            given.x, given.weights, state, given.mask, given.noise,
            given.specification, open_kernel(given), needs_backward,
        )  # fmt: skip

    def forward(self, state: State, room: int) -> tuple[Tensor, State, dict[int, State]]:
        """Return the outputs, the final state and the states kept, by the segment they begin."""
        x, hidden = self.given.x, self.given.weights[1].shape[0]
        outputs = x.new_empty(*x.shape[:2], hidden)
        count, kept = len(self.segments), {}
        wanted = 0
        for number, (start, stop) in enumerate(self.segments):
            if number == wanted:
                if number:
                    kept[number] = state
                    room -= 1
                # With one place left there is no other state to keep: the next is the end.
                wanted = number + best_split(count - number, room) if room > 1 else count
            run = self.run(number, state, needs_backward=False)
            outputs[:, start:stop], state = run.outputs, run.final_state
        return outputs, state, kept

    def backward(
        self,
        gradient: _Gradient,
        first: int,
        count: int,
        state: State,
        room: int,
        kept: dict[int, State],
    ) -> None:
        """Go back over `count` segments from `first`, which begins in `state`."""
        while count > 1:
            split = best_split(count, room) if room > 1 else count - 1
            middle = kept.pop(first + split, None)
            if middle is None:
                middle = state
                for number in range(first, first + split):
                    middle = self.run(number, middle, needs_backward=False).final_state
            self.backward(gradient, first + split, count - split, middle, max(room - 1, 1), kept)
            del middle  # its place is free again
            count = split
        gradient.segment(first, state)


class _Gradient:
    """The gradients as they grow on the way back, segment by segment."""

    def __init__(self, walk: _Walk, grad_outputs: Tensor | None, grad_final: State) -> None:
        self._walk, self._grad_outputs = walk, grad_outputs
        self.state = grad_final
        self.x = torch.empty_like(walk.given.x)
        self.weights = [torch.zeros_like(weight) for weight in walk.given.weights]

    def segment(self, number: int, state: State) -> None:
        """Run a segment once more, with its gates, and go back over it."""
        start, stop = self._walk.segments[number]
        saved = self._walk.run(number, state, needs_backward=True)
        given = self._walk.given.piece(start, stop)
        kernel = open_kernel(given)
        fixed = (given.mask, given.noise, given.specification, kernel)
        grads = None if self._grad_outputs is None else self._grad_outputs[:, start:stop]
        grad_product, self.state, _ = ops.backward_scan(
            grads, self.state, saved, given.weights, state, *fixed
        )
        found = ops.weight_gradient(given.x, saved, grad_product, given.weights, state, *fixed)
        for total, part in zip(self.weights, found, strict=True):
            total.add_(part)
        self.x[:, start:stop] = ops.input_gradient(
            grad_product, given.weights, given.specification, kernel
        )
