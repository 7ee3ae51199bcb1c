"""Anticipated reweighted truncated backpropagation: cut at random, and make up for it.

Tallec and Ollivier, "Unbiasing truncated backpropagation through time", arXiv 1705.08209.

    δ̄_t = δ_t + w_t A_{t+1}ᵀ δ̄_{t+1}        w_t = 0 with probability p_t, else 1/(1 - p_t)

The mean of w_t is 1 whatever came before, so the mean of δ̄ is the exact cotangent. Long segments
are rare and their far cotangents large: unbiased, at the price of noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from gatewise.errors import InputError, UnsupportedError
from gatewise.gradients.carrying import Carried, States, same_noise
from gatewise.gradients.contract import GradientAlgorithm
from gatewise.gradients.layout import refuse_encoder, require_fused, require_pieces
from gatewise.gradients.passage import WayBack, passage
from gatewise.gradients.task import Differentiable, Part, Task
from gatewise.kernels import Pass, steering


@dataclass(frozen=True)
class ARTBP(GradientAlgorithm):
    """Segments of random length, `mean_length` steps on average, whose mean gradient is exact.

    After d steps without a cut the next boundary is one with probability
    (α - 1) / ((α - 2)·mean_length + d), so segments are long-tailed, less so for a large `alpha`.
    The cuts are drawn from torch's global generator. The optimizer steps after each segment. A
    model that reads both ways (Bidirectional) runs whole and saves no memory.

    >>> ARTBP(mean_length=20).unbiased
    True
    """

    mean_length: float
    alpha: float = 4.0

    exact = False
    unbiased = True
    online = False
    cost = "time 3F; memory 6H a step of the longest segment and series"

    def __post_init__(self) -> None:
        if not self.mean_length >= 1:
            raise InputError(
                f"ARTBP expected mean_length, in time steps, to be at least 1 but got "
                f"{self.mean_length!r}."
            )
        if not self.alpha > 2:
            raise InputError(
                f"ARTBP expected alpha above 2, where the mean length is finite, but got "
                f"{self.alpha!r}. The paper's value is 4."
            )

    def supports(self, model: Differentiable) -> None:
        """Refuse activations whose way back cannot be steered; any model may run whole."""
        refuse_encoder("ARTBP", model, "its random cuts are drawn for one time axis, not two.")
        require_fused("ARTBP", model)

    def probability(self, steps: int) -> float:
        """Return p, that a cut comes after so many steps without one.

        >>> ARTBP(mean_length=10).probability(1)
        0.14285714285714285
        """
        return (self.alpha - 1) / ((self.alpha - 2) * self.mean_length + steps)

    def factor(self, steps: int, cut: bool) -> float:
        """Return w: 0 at a cut, 1 / (1 - p) where there might have been one."""
        return 0.0 if cut else 1 / (1 - self.probability(steps))

    def draw(self, boundaries: int) -> list[float]:
        """Return w for each boundary between two steps."""
        factors: list[float] = []
        since = 1
        for chance in torch.rand(boundaries).tolist():
            factors.append(self.factor(since, chance < self.probability(since)))
            since = 1 if factors[-1] == 0 else since + 1
        return factors

    def gradients(self, task: Task, trail: None = None) -> Iterator[Part]:
        """Yield for each segment that holds a loss."""
        factors = self.draw(task.steps - 1)
        try:
            require_pieces("ARTBP", task.model)
        except UnsupportedError:
            with steering(partial(_reweighted, factors)):
                part = task.whole()
            yield task.backward(part)
            return
        cuts = [0, *(t + 1 for t, factor in enumerate(factors) if factor == 0), task.steps]
        with same_noise(task.model) as next_piece:
            inside: list[float] = []
            carried = Carried(lambda _, given: _segment(inside, given))
            for start, end in pairwise(cuts):
                inside[:] = factors[start : end - 1]
                learns = task.has_loss(start, end)
                next_piece()
                with torch.set_grad_enabled(learns), carried.piece():
                    prediction, mask = task.forward(start, end)
                if learns:
                    yield task.backward(task.part(start, end, prediction, mask))


def _reweighted(factors: list[float], given: Pass) -> tuple[Tensor, States]:
    """Run a pass with the factor of each boundary on its way back, whichever way it runs."""
    # A step hands back over the boundary before it: in reverse, that is the one at its later side.
    scale = [*factors, 1.0] if given.specification.reverse else [1.0, *factors]
    outputs, final, _ = passage(given, WayBack(scale=given.x.new_tensor(scale)))
    return outputs, final


def _segment(factors: list[float], given: Pass) -> tuple[Tensor, States, States]:
    outputs, final = _reweighted(factors, given)
    return outputs, final, final
