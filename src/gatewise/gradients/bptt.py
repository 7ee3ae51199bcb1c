"""Backpropagation through time, exact, with all states in memory or with some recomputed.

Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the IEEE
78(10), 1990. Recomputation: Gruslys, Munos, Danihelka, Lanctot and Graves, "Memory-efficient
backpropagation through time", arXiv 1606.03401.

    δ_t = ∂ℓ_t/∂s_t + A_{t+1}ᵀ δ_{t+1}          dL/dθ = Σ_t (∂s_t/∂θ)ᵀ δ_t

The way back needs the gates of every step: 6H numbers a step and series. A checkpoint is a state
(2H numbers) kept on the way forward; from it a segment of the sequence runs once more on the way
back, and only that segment's gates are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from gatewise.errors import InputError
from gatewise.gradients.checkpoints import checkpointed
from gatewise.gradients.contract import GradientAlgorithm
from gatewise.gradients.layout import require_fused
from gatewise.gradients.task import Differentiable, Part, Task
from gatewise.kernels import steering


@dataclass(frozen=True)
class BPTT(GradientAlgorithm):
    """Exact backpropagation through time; the default.

    `checkpoint=None` keeps every step's gates. `"sqrt"` keeps one state for each segment of √(T/3)
    steps and runs every segment twice: for T = 1,000 about 3.4 % of the memory for one forward
    more. A number keeps at most so many states, and recomputes more where they are few. The
    gradients of inputs and initial states are the same to the last bit, those of weights up to the
    order in which the segments are summed.

    >>> BPTT(checkpoint="sqrt").exact
    True
    """

    checkpoint: Literal["sqrt"] | int | None = None

    exact = True
    unbiased = True
    online = False
    cost = "time 3F; memory 6H a step and series, with checkpoints 4F and about 6.9·H·√T a series"

    def __post_init__(self) -> None:
        states = self.checkpoint
        if states is None or states == "sqrt":
            return
        if isinstance(states, bool) or not isinstance(states, int) or states < 1:
            raise InputError(
                "BPTT expected checkpoint to be None, 'sqrt' or the number of states to keep (at "
                f"least 1) but got {states!r}."
            )

    def supports(self, model: Differentiable) -> None:
        """Every model is supported; checkpoints need activations that the kernels know."""
        if self.checkpoint is not None:
            require_fused("BPTT(checkpoint=...)", model)

    def gradients(self, task: Task, trail: None = None) -> Iterator[Part]:
        """Yield once: the whole gradient of the whole objective."""
        steer = None
        if self.checkpoint is not None:
            steer = partial(checkpointed, states=self.checkpoint)
        with steering(steer):
            part = task.whole()
        yield task.backward(part)
