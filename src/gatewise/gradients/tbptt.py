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

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, cat

from gatewise.errors import InputError
from gatewise.gradients import lag
from gatewise.gradients.carrying import Carried, States, same_noise
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

    def gradients(self, task: Task) -> Iterator[Part]:
        """Yield for each window that holds a loss."""
        task = task.ending_together()
        k2 = self._watch.span(task, self.k1, self.k2, self.tolerance)
        ends = [end for _, end in task.chunks(self.k1)] if task.per_step else [task.steps]
        window = _Window()
        with same_noise(task.model) as next_piece:

            def run_piece(start: int, end: int, keep: int) -> tuple[Tensor, Tensor | None]:
                window.keep = keep
                next_piece()
                if start == 0 and takes_pieces_of_target(task.model):
                    # Every window that begins here begins with what the encoder hands over.
                    window.carried.forget()
                with window.carried.piece():
                    return task.forward(start, end)

            if not task.per_step:
                # Up to where the one window begins nothing goes back.
                with torch.no_grad():
                    for start in range(0, task.steps - k2, k2):
                        end = min(start + k2, task.steps - k2)
                        run_piece(start, end, end - start)
            done = 0
            for end, following in zip(ends, [*ends[1:], task.steps], strict=True):
                start = max(0, end - k2)
                keep = max(0, following - k2) - start
                prediction, mask = run_piece(start, end, keep)
                if task.has_loss(done, end):
                    yield task.backward(task.part(done, end, prediction, mask))
                done = end


class _Window:
    """Runs a window and keeps the state `keep` steps after its beginning: there the next begins."""

    def __init__(self) -> None:
        self.keep = 0
        self.carried = Carried(self._pass)

    def _pass(self, _: int, given: Pass) -> tuple[Tensor, States, States]:
        steps = given.x.shape[1]
        if self.keep == 0:
            return *run(given), tuple(given.state)
        if self.keep >= steps:
            outputs, final = run(given)
            return outputs, final, final
        first, middle = run(given.piece(0, self.keep))
        second, final = run(given.piece(self.keep, steps)._replace(state=middle))
        return cat((first, second), dim=1), final, middle
