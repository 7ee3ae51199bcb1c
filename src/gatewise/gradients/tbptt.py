"""Truncated backpropagation through time.

Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
trajectories", Neural Computation 2(4), 1990; with two lengths: Sutskever, "Training recurrent
neural networks", PhD thesis, 2013.

Every k1 steps, go back k2 steps with the newest k1 losses:

    loss       · · · · · · · · ● ● ● ●        ● the newest k1 losses
    state      · · · · s─→──→──→──→──→        s the stored state, k2 steps ago; before it: nothing

An older loss has been sent back before and would count twice. After the optimizer's step the window
begins again at the stored state, with today's weights. Where k1 = k2 this is the stateful stream:
chunk after chunk, each beginning where the last one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, cat

from gatewise.errors import InputError
from gatewise.gradients import lag
from gatewise.gradients.carrying import Carried, States, cleared, same_noise
from gatewise.gradients.contract import GradientAlgorithm, whole_steps
from gatewise.gradients.layout import (
    require_fused,
    require_pieces,
    require_stepwise,
    takes_pieces_of_target,
)
from gatewise.gradients.task import Differentiable, Part, Task
from gatewise.kernels import Pass, run


@dataclass(frozen=True)
class TBPTT(GradientAlgorithm):
    """Truncated backpropagation: every `k1` steps, through the last `k2` (as many as k1 if None).

    The optimizer steps after each window. A model that predicts once, at the end, goes back k2
    steps from there; padding does not count among them. What is learned is biased towards short
    spans: no credit reaches further back than k2 steps.

    Of an encoder and a decoder the decoder's sequence is cut. The encoder reads the whole source
    again for each window, with today's weights: it learns from the first window through the states
    that it hands over, and with attention from every window.

    `k2="auto"` measures, in the first batch and every hundredth after it, how the gradient fades
    with the lag, and takes the least k2 (at most `lag.LONGEST` steps) that loses less than
    `tolerance` of it. With a k2 of your own, training measures as often and warns where more than
    a tenth gets lost.

    >>> TBPTT(20).k2, TBPTT(20, 40).k2
    (20, 40)
    """

    k1: int
    k2: int | Literal["auto"] | None = None
    tolerance: float = 0.1
    _watch: lag.Watch = field(default_factory=lag.Watch, init=False, repr=False, compare=False)

    exact = False
    unbiased = False
    online = True
    cost = "time 3F·k2/k1; memory for k2 steps"

    def __post_init__(self) -> None:
        whole_steps("TBPTT", "k1", self.k1)
        if not 0 < self.tolerance < 1:
            raise InputError(
                "TBPTT expected tolerance, the share of the gradient that may get lost, between 0 "
                f"and 1 but got {self.tolerance!r}."
            )
        if self.k2 is None:
            object.__setattr__(self, "k2", self.k1)
        elif self.k2 != "auto" and whole_steps("TBPTT", "k2", self.k2) < self.k1:
            raise InputError(
                f"TBPTT expected k2 (how far back) to be at least k1 (how often) but got "
                f"k1={self.k1}, k2={self.k2}: the first of every {self.k1} losses would go back "
                f"nowhere. Use TBPTT({self.k2}, {self.k1}) or TBPTT({self.k1})."
            )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, without what was measured."""
        return {"k1": self.k1, "k2": self.k2, "tolerance": self.tolerance}

    def supports(self, model: Differentiable) -> None:
        """Raise `UnsupportedError` where the sequence cannot run in pieces."""
        if takes_pieces_of_target(model):
            require_stepwise("TBPTT", model)
        else:
            require_pieces("TBPTT", model)
        if self.k2 == "auto":
            require_fused("TBPTT(k2='auto')", model)

    @property
    def stride(self) -> int:
        return self.k1

    def open(self) -> _Window:
        return _Window()

    def gradients(self, task: Task, trail: _Window | None = None) -> Iterator[Part]:
        """Yield for each window that holds a loss."""
        task = task.ending_together()
        window = self.open() if trail is None else trail
        k2 = self._watch.span(task, self.k1, self.k2, self.tolerance, window.states)
        window.receive(task)
        ends = [end for _, end in task.chunks(self.k1)] if task.per_step else [task.steps]
        # Of a stream the next window ends k1 steps behind this chunk.
        beyond = task.steps if trail is None else task.steps + self.k1
        with same_noise(task.model) as next_piece:
            done = 0
            for end, following in zip(ends, [*ends[1:], beyond], strict=True):
                window.move_to(end - k2, k2, next_piece)
                next_piece()
                prediction, mask = window.run(end, following - k2)
                if task.has_loss(done, end):
                    yield task.backward(task.part(done, end, prediction, mask))
                done = end
        if trail is not None:
            window.keep_recent()


class _Window:
    """The stored state, the steps from there on, and what runs them.

    Steps are counted from the beginning of the task; those from the chunk before are negative.
    """

    def __init__(self) -> None:
        self.states: list[list[Tensor]] = []  # the states after the last step, a list a pass
        self._carried = Carried(self._pass)
        self._at = 0  # the step that the stored state precedes
        self._kept = 0  # how many steps after the window's beginning the next stored state lies
        self._ahead = 0  # steps that are remembered of the chunk before
        self._recent: tuple[Tensor, Tensor | None] | None = None  # their x and mask
        self._inputs: Task | None = None

    def receive(self, task: Task) -> None:
        """Take the next chunk, behind the steps that are remembered."""
        self._at, self._ahead, self._inputs = 0, 0, task
        if self._recent is None:
            return
        x, mask = self._recent
        self._ahead = x.shape[1]
        self._at = -self._ahead
        if mask is not None or task.mask is not None:
            mask = cat((_whole(x, mask), _whole(task.x, task.mask)), dim=1)
        self._inputs = replace(task, x=cat((x, task.x), dim=1), mask=mask)

    def move_to(self, start: int, size: int, next_piece: Callable[[], None]) -> None:
        """Bring the stored state to this step, in pieces through which nothing goes back."""
        with torch.no_grad():
            while self._at < start:
                stop = min(self._at + size, start)
                next_piece()
                self.run(stop, stop)

    def run(self, end: int, store: int) -> tuple[Tensor, Tensor | None]:
        """Run from the stored state up to `end`; store the state before the step `store`."""
        assert self._inputs is not None
        begin = self._at
        self._at = min(max(store, begin), end)
        self._kept = self._at - begin
        self.states = []
        if begin == 0 and takes_pieces_of_target(self._inputs.model):
            # Every window that begins here begins with what the encoder hands over.
            self._carried.start_over()
        with self._carried.piece():
            return self._inputs.forward(begin + self._ahead, end + self._ahead)

    def keep_recent(self) -> None:
        """Remember the steps from the stored state on, for a chunk that may follow."""
        assert self._inputs is not None
        first = self._at + self._ahead
        x, mask = self._inputs.x[:, first:], self._inputs.mask
        mask = None if mask is None else mask[:, first:]
        self._recent = (x, mask) if x.shape[1] else None
        self._inputs = None

    def forget(self, lanes: Tensor) -> None:
        self._carried.forget(lanes)
        self.states = [[cleared(state, lanes) for state in states] for states in self.states]
        if self._recent is not None:
            # A step that is masked leaves the state of zeros as it is.
            x, mask = self._recent
            self._recent = x, cleared(_whole(x, mask), lanes)

    def _pass(self, _: int, given: Pass) -> tuple[Tensor, States, States]:
        steps, kept = given.x.shape[1], self._kept
        if kept == 0:
            outputs, final = run(given)
            middle = tuple(given.state)
        elif kept == steps:
            outputs, final = run(given)
            middle = final
        else:
            first, middle = run(given.piece(0, kept))
            second, final = run(given.piece(kept, steps)._replace(state=middle))
            outputs = cat((first, second), dim=1)
        self.states.append([state.detach() for state in final])
        return outputs, final, middle


def _whole(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mask, or one that says that every step is real."""
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
