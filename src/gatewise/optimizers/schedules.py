"""Learning rates that follow the number of optimizer steps, by Keras's formulas and names.

A schedule is a function of the number of steps already taken, so the first step sees `schedule(0)`.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewise.errors import InputError, missing, unknown_name


class LearningRateSchedule(ABC):
    """A learning rate as a function of the step: subclass it and define `__call__`.

    >>> class Halving(LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.1 * 0.5**step
    >>> Halving()(2)
    0.025
    """

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the learning rate of the step that follows `step` finished ones."""

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as plain data for a file."""
        if not dataclasses.is_dataclass(self):
            raise InputError(
                f"{type(self).__name__} cannot be saved: it has no get_config. "
                "Define one that returns the constructor's arguments."
            )
        return dataclasses.asdict(self)


def _require_positive(schedule: str, argument: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{schedule} expected {argument} > 0 but got {value!r}.")


@dataclass(frozen=True)
class ExponentialDecay(LearningRateSchedule):
    """`initial_learning_rate * decay_rate ** (step / decay_steps)`.

    `staircase` rounds the exponent down.

    >>> ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)(20)
    0.025
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "ExponentialDecay"

    def __post_init__(self) -> None:
        _require_positive("ExponentialDecay", "decay_steps", self.decay_steps)

    def __call__(self, step: int) -> float:
        periods = step / self.decay_steps
        if self.staircase:
            periods = math.floor(periods)
        return self.initial_learning_rate * self.decay_rate**periods


@dataclass(frozen=True)
class InverseTimeDecay(LearningRateSchedule):
    """`initial_learning_rate / (1 + decay_rate * step / decay_steps)`.

    `staircase` rounds `step / decay_steps` down.

    >>> InverseTimeDecay(0.1, decay_steps=10, decay_rate=0.5)(20)
    0.05
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "InverseTimeDecay"

    def __post_init__(self) -> None:
        _require_positive("InverseTimeDecay", "decay_steps", self.decay_steps)

    def __call__(self, step: int) -> float:
        periods = step / self.decay_steps
        if self.staircase:
            periods = math.floor(periods)
        return self.initial_learning_rate / (1.0 + self.decay_rate * periods)


@dataclass(frozen=True)
class PolynomialDecay(LearningRateSchedule):
    """`(initial - end) * (1 - step / decay_steps) ** power + end`, and `end` from `decay_steps` on.

    With `cycle`, the curve starts again from a longer one: `decay_steps` is replaced by its first
    multiple that is not below `step`.

    >>> PolynomialDecay(0.1, decay_steps=10, end_learning_rate=0.0)(5)
    0.05
    """

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str = "PolynomialDecay"

    def __post_init__(self) -> None:
        _require_positive("PolynomialDecay", "decay_steps", self.decay_steps)

    def __call__(self, step: int) -> float:
        horizon: float = self.decay_steps
        if self.cycle:
            horizon *= max(1, math.ceil(step / self.decay_steps))
        remaining = 1.0 - min(step, horizon) / horizon
        span = self.initial_learning_rate - self.end_learning_rate
        return span * remaining**self.power + self.end_learning_rate


@dataclass(frozen=True)
class PiecewiseConstantDecay(LearningRateSchedule):
    """`values[i]` up to and including the step `boundaries[i]`, and `values[-1]` after the last.

    >>> rate = PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1])
    >>> rate(10), rate(11), rate(21)
    (1.0, 0.5, 0.1)
    """

    boundaries: Sequence[int]
    values: Sequence[float]
    name: str = "PiecewiseConstant"

    def __post_init__(self) -> None:
        if len(self.values) != len(self.boundaries) + 1:
            raise InputError(
                f"PiecewiseConstantDecay expected {len(self.boundaries) + 1} values for "
                f"{len(self.boundaries)} boundaries, one more than them, but got "
                f"{len(self.values)}."
            )
        if list(self.boundaries) != sorted(self.boundaries):
            raise InputError(
                f"PiecewiseConstantDecay expected rising boundaries but got {self.boundaries!r}."
            )

    def __call__(self, step: int) -> float:
        return self.values[bisect.bisect_left(self.boundaries, step)]


@dataclass(frozen=True)
class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial rate to `alpha` times it, after an optional linear warmup.

    `initial * ((1 - alpha) * (1 + cos(pi * step / decay_steps)) / 2 + alpha)`. With a
    `warmup_target` the rate first rises from `initial_learning_rate` to it over `warmup_steps`,
    and the cosine starts there. Loshchilov and Hutter 2017, arXiv 1608.03983.

    >>> CosineDecay(0.1, decay_steps=10)(5)
    0.05
    """

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0
    name: str = "CosineDecay"
    warmup_target: float | None = None
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        _require_positive("CosineDecay", "decay_steps", self.decay_steps)

    def __call__(self, step: int) -> float:
        if self.warmup_target is None:
            return self._decayed(self.initial_learning_rate, step)
        if step < self.warmup_steps:
            rise = self.warmup_target - self.initial_learning_rate
            return rise * (step / self.warmup_steps) + self.initial_learning_rate
        return self._decayed(self.warmup_target, step - self.warmup_steps)

    def _decayed(self, peak: float, step: int) -> float:
        fraction = min(step, self.decay_steps) / self.decay_steps
        cosine = 0.5 * (1.0 + math.cos(math.pi * fraction))
        return peak * ((1.0 - self.alpha) * cosine + self.alpha)


SCHEDULES: dict[str, type[LearningRateSchedule]] = {
    schedule.__name__: schedule
    for schedule in (
        ExponentialDecay,
        InverseTimeDecay,
        PolynomialDecay,
        PiecewiseConstantDecay,
        CosineDecay,
    )
}


def serialize(schedule: LearningRateSchedule) -> dict[str, Any]:
    """Return the class name and arguments of a schedule, as plain data.

    >>> serialize(CosineDecay(0.1, 10))["class_name"]
    'CosineDecay'
    """
    return {"class_name": type(schedule).__name__, "config": schedule.get_config()}


def deserialize(data: Mapping[str, Any]) -> LearningRateSchedule:
    """Return the schedule that `serialize` wrote.

    >>> deserialize(serialize(CosineDecay(0.1, 10))) == CosineDecay(0.1, 10)
    True
    """
    schedule = SCHEDULES.get(data["class_name"])
    if schedule is None:
        raise unknown_name("learning rate schedule", data["class_name"], SCHEDULES)
    return schedule(**data["config"])


def __getattr__(name: str) -> Any:
    """Say which schedule is nearest to one that does not exist here."""
    raise missing("gatewise.optimizers.schedules", name, SCHEDULES)
