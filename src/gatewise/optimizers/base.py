"""What an optimizer of gatewise is: Keras's arguments, and one update formula.

An `Optimizer` holds no tensors. `bind` joins it to parameters, which makes it a
`torch.optim.Optimizer`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gatewise.arguments import KnownArguments
from gatewise.errors import InputError
from gatewise.optimizers import schedules
from gatewise.optimizers.bound import BoundOptimizer, Parameters
from gatewise.optimizers.clipping import clip_by_global_norm, clip_by_norm, clip_by_value
from gatewise.optimizers.schedules import LearningRateSchedule

State = dict[str, Tensor]


class Optimizer(KnownArguments, ABC):
    """An update formula with Keras's arguments; subclasses are frozen dataclasses.

    `learning_rate` is a number or a schedule. `weight_decay` is decoupled: before the update each
    parameter is multiplied by `1 - weight_decay * learning_rate`. At most one of the three clips:
    `clipnorm` bounds each tensor's L2 norm, `global_clipnorm` the norm of all together,
    `clipvalue` each number.

    >>> from gatewise.optimizers import SGD
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = SGD(learning_rate=0.25).bind([weight])
    >>> weight.grad = torch.ones(1)
    >>> optimizer.step()
    >>> weight.item()
    0.75
    """

    argument_cures: ClassVar[Mapping[str, str]] = {
        "lr": "It is called learning_rate.",
        "decay": "Give a schedule as learning_rate, of gatewise.optimizers.schedules.",
        "use_ema": "Average the weights yourself: torch.optim.swa_utils.AveragedModel(model).",
        "loss_scale_factor": "Scale the loss: compile(loss=...) takes a function.",
        "gradient_accumulation_steps": "Give fit a larger batch_size.",
    }

    learning_rate: float | LearningRateSchedule
    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    name: str | None

    def __post_init__(self) -> None:
        self._check_learning_rate()
        clips = {
            argument: getattr(self, argument)
            for argument in ("clipnorm", "clipvalue", "global_clipnorm")
            if getattr(self, argument) is not None
        }
        if len(clips) > 1:
            given = ", ".join(f"{argument}={value}" for argument, value in clips.items())
            raise InputError(
                f"{type(self).__name__} takes one of clipnorm, clipvalue and global_clipnorm, "
                f"but got {given}. Leave one of them."
            )
        for argument, value in clips.items():
            self._require(argument, value > 0, "a number > 0, or None for no clipping")

    @abstractmethod
    def update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        states: list[State],
        learning_rate: float,
        step: int,
    ) -> None:
        """Move `parameters` and their `states` in place by one step, the `step`-th (from 1)."""

    def create_state(self, parameter: Tensor) -> State:
        """Return what the formula remembers of a parameter, as it is before the first step."""
        return {}

    def bind(self, parameters: Parameters) -> BoundOptimizer:
        """Return this formula at work on parameters, named parameters or parameter groups."""
        listed = list(parameters)
        if not listed:
            raise InputError(
                f"{type(self).__name__} got no parameters to train. Build the model first "
                "(give it an input shape or data), or unfreeze a layer."
            )
        return BoundOptimizer(listed, self)

    def rate_at(self, iterations: int) -> float | None:
        """Return the scheduled learning rate after that many steps; None if it is not scheduled."""
        if isinstance(self.learning_rate, LearningRateSchedule):
            return float(self.learning_rate(iterations))
        return None

    def clip(self, gradients: list[Tensor]) -> Sequence[Tensor]:
        """Return the gradients clipped as the arguments say; the given ones are not changed."""
        if self.clipnorm is not None:
            return clip_by_norm(gradients, self.clipnorm)
        if self.global_clipnorm is not None:
            return clip_by_global_norm(gradients, self.global_clipnorm)
        if self.clipvalue is not None:
            return clip_by_value(gradients, self.clipvalue)
        return gradients

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as plain data for a file.

        >>> from gatewise.optimizers import SGD
        >>> SGD(0.5).get_config()["learning_rate"]
        0.5
        """
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        if isinstance(self.learning_rate, LearningRateSchedule):
            config["learning_rate"] = schedules.serialize(self.learning_rate)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the optimizer whose `get_config` this is."""
        arguments = dict(config)
        if isinstance(arguments.get("learning_rate"), Mapping):
            arguments["learning_rate"] = schedules.deserialize(arguments["learning_rate"])
        return cls(**arguments)

    def _check_learning_rate(self) -> None:
        rate = self.learning_rate
        if isinstance(rate, LearningRateSchedule):
            return
        number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
        self._require("learning_rate", number and rate >= 0, "a number >= 0 or a schedule")

    def _require(self, argument: str, holds: bool, accepted: str) -> None:
        if not holds:
            raise InputError(
                f"{type(self).__name__} expected {argument} to be {accepted}, "
                f"but got {getattr(self, argument)!r}."
            )


def zeros_for(parameter: Tensor, *names: str) -> State:
    """Return a state of zeros in the parameter's own shape, type and memory format."""
    return {
        name: torch.zeros_like(parameter, memory_format=torch.preserve_format) for name in names
    }


def slot(states: Iterable[State], name: str) -> list[Tensor]:
    """Return one named tensor of every state."""
    return [state[name] for state in states]
