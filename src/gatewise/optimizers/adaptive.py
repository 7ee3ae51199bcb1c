"""Step sizes from accumulated squares: Adagrad and Adadelta, epsilon under the root as in Keras.

Duchi, Hazan and Singer 2011 (JMLR 12); Zeiler 2012, arXiv 1212.5701.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise.optimizers import foreach
from gatewise.optimizers.base import Optimizer, State, slot, zeros_for
from gatewise.optimizers.schedules import LearningRateSchedule


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """`a = a + g**2; w -= lr * g / sqrt(a + epsilon)`, a starting from `initial_accumulator_value`.

    >>> Adagrad().initial_accumulator_value
    0.1
    """

    learning_rate: float | LearningRateSchedule = 0.001
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    name: str | None = None

    def create_state(self, parameter: Tensor) -> State:
        return {"accumulator": torch.full_like(parameter, self.initial_accumulator_value)}

    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        states: list[State],
        learning_rate: float,
        step: int,
    ) -> None:
        accumulators = slot(states, "accumulator")
        foreach.addcmul_(accumulators, gradients, gradients)
        roots = foreach.add(accumulators, self.epsilon)
        foreach.sqrt_(roots)
        foreach.addcdiv_(parameters, gradients, roots, value=-learning_rate)


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """`d = g * sqrt(u + epsilon) / sqrt(a + epsilon); w -= lr * d`, a and u running means.

    a is the running mean of g**2 up to this step, u that of d**2 before it, both with rate `rho`.

    >>> Adadelta().rho
    0.95
    """

    learning_rate: float | LearningRateSchedule = 0.001
    rho: float = 0.95
    epsilon: float = 1e-7
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    name: str | None = None

    def create_state(self, parameter: Tensor) -> State:
        return zeros_for(parameter, "accumulated_gradient", "accumulated_update")

    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        states: list[State],
        learning_rate: float,
        step: int,
    ) -> None:
        squares = slot(states, "accumulated_gradient")
        updates = slot(states, "accumulated_update")
        foreach.mul_(squares, self.rho)
        foreach.addcmul_(squares, gradients, gradients, value=1 - self.rho)
        changes = foreach.add(updates, self.epsilon)
        foreach.div_(changes, foreach.add(squares, self.epsilon))
        foreach.sqrt_(changes)
        foreach.mul_(changes, gradients)
        foreach.mul_(updates, self.rho)
        foreach.addcmul_(updates, changes, changes, value=1 - self.rho)
        foreach.add_(parameters, changes, alpha=-learning_rate)
