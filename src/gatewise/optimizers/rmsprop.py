"""RMSprop as Keras has it: epsilon under the root.

Hinton, lecture 6e of "Neural Networks for Machine Learning", 2012.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gatewise.kernels import native_rmsprop
from gatewise.optimizers import foreach
from gatewise.optimizers.base import Optimizer, State, slot, zeros_for
from gatewise.optimizers.schedules import LearningRateSchedule


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """`v = rho * v + (1 - rho) * g**2; w -= lr * g / sqrt(v + epsilon)`.

    `centered` subtracts the square of the mean gradient from v; `momentum` accumulates the
    increments. `torch.optim.RMSprop` adds epsilon to the root instead, and no value of it there
    gives these numbers.

    >>> RMSprop().learning_rate
    0.001
    """

    learning_rate: float | LearningRateSchedule = 0.001
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("rho", 0 <= self.rho < 1, "in [0, 1)")
        self._require("momentum", 0 <= self.momentum <= 1, "in [0, 1]")

    def create_state(self, parameter: Tensor) -> State:
        names = ["velocity"]
        if self.momentum:
            names.append("momentum")
        if self.centered:
            names.append("average_gradient")
        return zeros_for(parameter, *names)

    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        states: list[State],
        learning_rate: float,
        step: int,
    ) -> None:
        velocities = slot(states, "velocity")
        averages = slot(states, "average_gradient") if self.centered else None
        momentums = slot(states, "momentum") if self.momentum else None
        arrays = (parameters, gradients, velocities, momentums, averages)
        rates = native_rmsprop.Rates(learning_rate, self.rho, self.momentum, self.epsilon)
        # Without epsilon a velocity that the native pass flushes to zero would divide by it.
        if not (self.epsilon > 0 and native_rmsprop.step(*arrays, rates)):
            self._update_by_passes(*arrays, learning_rate)

    def _update_by_passes(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        velocities: list[Tensor],
        momentums: list[Tensor] | None,
        averages: list[Tensor] | None,
        learning_rate: float,
    ) -> None:
        """The same in torch's operations: other devices, types and layouts."""
        foreach.mul_(velocities, self.rho)
        foreach.addcmul_(velocities, gradients, gradients, value=1 - self.rho)
        roots = foreach.add(velocities, self.epsilon)
        if averages is not None:
            foreach.mul_(averages, self.rho)
            foreach.add_(averages, gradients, alpha=1 - self.rho)
            foreach.addcmul_(roots, averages, averages, value=-1)
        foreach.sqrt_(roots)
        if momentums is not None:
            foreach.mul_(momentums, self.momentum)
            foreach.addcdiv_(momentums, gradients, roots, value=learning_rate)
            foreach.sub_(parameters, momentums)
        else:
            foreach.addcdiv_(parameters, gradients, roots, value=-learning_rate)
