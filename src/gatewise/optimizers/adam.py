"""Adam and its family in Keras's form, where epsilon stands beside the uncorrected root.

Kingma and Ba 2015, arXiv 1412.6980 (the formula before section 2.1, with epsilon-hat);
Reddi, Kale and Kumar 2018 (AMSGrad); Loshchilov and Hutter 2019, arXiv 1711.05101 (AdamW);
Dozat 2016, "Incorporating Nesterov momentum into Adam".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.optim.adam import adam

from gatewise.optimizers import foreach
from gatewise.optimizers.base import Optimizer, State, slot, zeros_for
from gatewise.optimizers.schedules import LearningRateSchedule

_FUSED_DEVICES = ("cpu", "cuda")


class _AdamFormula(Optimizer):
    """What Adam and AdamW share; they differ in the default of weight_decay alone."""

    beta_1: float
    beta_2: float
    epsilon: float
    amsgrad: bool

    def create_state(self, parameter: Tensor) -> State:
        names = ("momentum", "velocity", "velocity_hat")
        return zeros_for(parameter, *(names if self.amsgrad else names[:2]))

    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        states: list[State],
        learning_rate: float,
        step: int,
    ) -> None:
        # torch divides sqrt(v) by sqrt(1 - beta_2**t) before it adds epsilon, Keras after. Dividing
        # epsilon by the same number makes torch's kernel compute Keras's formula.
        epsilon = self.epsilon / math.sqrt(1.0 - self.beta_2**step)
        fused = _fits_fused_kernel([*parameters, *gradients])
        device = parameters[0].device if fused else torch.device("cpu")
        # torch counts a step for each parameter and adds the present one itself.
        counts = torch.full((len(parameters),), float(step - 1), device=device).unbind()
        adam(
            parameters,
            gradients,
            slot(states, "momentum"),
            slot(states, "velocity"),
            slot(states, "velocity_hat") if self.amsgrad else [],
            list(counts),
            foreach=not fused,
            fused=fused,
            amsgrad=self.amsgrad,
            beta1=self.beta_1,
            beta2=self.beta_2,
            lr=learning_rate,
            weight_decay=0.0,
            eps=epsilon,
            maximize=False,
        )


def _fits_fused_kernel(tensors: Sequence[Tensor]) -> bool:
    """Whether torch's fused kernel takes these: floats, packed, on one device that has it.

    The kernel walks memory without looking at strides, so a gradient that lies otherwise than its
    parameter would be read in the wrong order.
    """
    device = tensors[0].device
    return device.type in _FUSED_DEVICES and all(
        t.device == device and t.is_floating_point() and t.is_contiguous() for t in tensors
    )


@dataclass(frozen=True)
class Adam(_AdamFormula):
    """`w -= lr * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon)`.

    m and v are running means of g and g**2 with rates `beta_1` and `beta_2`; `amsgrad` takes the
    largest v so far.

    >>> Adam().epsilon
    1e-07
    """

    learning_rate: float | LearningRateSchedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    name: str | None = None


@dataclass(frozen=True)
class AdamW(_AdamFormula):
    """Adam with decoupled weight decay: `w *= 1 - weight_decay * lr` before each update.

    >>> AdamW().weight_decay
    0.004
    """

    learning_rate: float | LearningRateSchedule = 0.001
    weight_decay: float | None = 0.004
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("weight_decay", self.weight_decay is not None, "a number (Adam takes None)")


@dataclass(frozen=True)
class Adamax(Optimizer):
    """`u = max(beta_2 * u, |g|); w -= lr / (1 - beta_1**t) * m / (u + epsilon)`.

    >>> Adamax().beta_2
    0.999
    """

    learning_rate: float | LearningRateSchedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    name: str | None = None

    def create_state(self, parameter: Tensor) -> State:
        return zeros_for(parameter, "momentum", "norm")

    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        states: list[State],
        learning_rate: float,
        step: int,
    ) -> None:
        momentums, norms = slot(states, "momentum"), slot(states, "norm")
        foreach.lerp_(momentums, gradients, 1 - self.beta_1)
        foreach.mul_(norms, self.beta_2)
        foreach.maximum_(norms, foreach.abs_of(gradients))
        rate = learning_rate / (1.0 - self.beta_1**step)
        denominators = foreach.add(norms, self.epsilon)
        foreach.addcdiv_(parameters, momentums, denominators, value=-rate)


# Products over i of 1 - 0.96**i / 2, Nadam's warming momentum; each later factor is 1.0 in float64.
_WARMUP = [1.0, *accumulate((1.0 - 0.5 * 0.96**i for i in range(1, 1001)), lambda a, b: a * b)]


@dataclass(frozen=True)
class Nadam(Optimizer):
    """Adam with Nesterov momentum and Dozat's warming schedule of it.

    `mu_t = beta_1 * (1 - 0.96**t / 2)`, `P_t` the product of mu up to t;
    `n = mu_{t+1} * m / (1 - P_{t+1}) + (1 - mu_t) * g / (1 - P_t)`;
    `w -= lr * n / (sqrt(v / (1 - beta_2**t)) + epsilon)`.

    >>> Nadam().beta_1
    0.9
    """

    learning_rate: float | LearningRateSchedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    name: str | None = None

    def create_state(self, parameter: Tensor) -> State:
        return zeros_for(parameter, "momentum", "velocity")

    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        states: list[State],
        learning_rate: float,
        step: int,
    ) -> None:
        momentums, velocities = slot(states, "momentum"), slot(states, "velocity")
        foreach.lerp_(momentums, gradients, 1 - self.beta_1)
        foreach.mul_(velocities, self.beta_2)
        foreach.addcmul_(velocities, gradients, gradients, value=1 - self.beta_2)
        denominators = foreach.div(velocities, 1.0 - self.beta_2**step)
        foreach.sqrt_(denominators)
        foreach.add_(denominators, self.epsilon)
        ahead = self._momentum_rate(step + 1) / (1.0 - self._momentum_product(step + 1))
        here = (1.0 - self._momentum_rate(step)) / (1.0 - self._momentum_product(step))
        foreach.addcdiv_(parameters, momentums, denominators, value=-learning_rate * ahead)
        foreach.addcdiv_(parameters, gradients, denominators, value=-learning_rate * here)

    def _momentum_rate(self, step: int) -> float:
        return self.beta_1 * (1.0 - 0.5 * 0.96**step)

    def _momentum_product(self, step: int) -> float:
        return self.beta_1**step * _WARMUP[min(step, len(_WARMUP) - 1)]
