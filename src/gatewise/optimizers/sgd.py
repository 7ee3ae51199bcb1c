"""Gradient descent, with momentum in Keras's form."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gatewise.optimizers import foreach
from gatewise.optimizers.base import Optimizer, State, slot, zeros_for
from gatewise.optimizers.schedules import LearningRateSchedule


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent: `w -= lr * g`, or with momentum `m = momentum * m - lr * g; w += m`.

    With `nesterov`, `w += momentum * m - lr * g`. The learning rate is inside the momentum (in
    `torch.optim.SGD` it is outside), which differs as soon as the rate changes.

    >>> SGD(learning_rate=0.1, momentum=0.9).momentum
    0.9
    """

    learning_rate: float | LearningRateSchedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("momentum", 0 <= self.momentum <= 1, "in [0, 1]")

    def create_state(self, parameter: Tensor) -> State:
        return zeros_for(parameter, "momentum") if self.momentum else {}

    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        states: list[State],
        learning_rate: float,
        step: int,
    ) -> None:
        if not self.momentum:
            foreach.add_(parameters, gradients, alpha=-learning_rate)
            return
        momentums = slot(states, "momentum")
        foreach.mul_(momentums, self.momentum)
        foreach.add_(momentums, gradients, alpha=-learning_rate)
        if self.nesterov:
            foreach.add_(parameters, gradients, alpha=-learning_rate)
            foreach.add_(parameters, momentums, alpha=self.momentum)
        else:
            foreach.add_(parameters, momentums)
