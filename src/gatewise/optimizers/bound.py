"""A formula at work: the `torch.optim.Optimizer` that applies it to a model's parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from gatewise.errors import InputError, UnsupportedError
from gatewise.optimizers import foreach

if TYPE_CHECKING:
    from gatewise.optimizers.base import Optimizer

Parameters = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]


class BoundOptimizer(torch.optim.Optimizer):
    """Parameters with one of gatewise's formulas; made by `Optimizer.bind`.

    `step()` takes the learning rate (of the schedule, if there is one), clips the gradients,
    decays the weights and applies the formula, in Keras's order. The number of steps taken stands
    in `param_groups` as "iterations", so `state_dict` carries all that the next step depends on.

    >>> from gatewise.optimizers import SGD
    >>> from gatewise.optimizers.schedules import ExponentialDecay
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.ones(1)
    >>> optimizer = SGD(ExponentialDecay(0.5, decay_steps=1, decay_rate=0.5)).bind([weight])
    >>> optimizer.step()
    >>> optimizer.iterations, optimizer.learning_rate
    (1, 0.25)
    """

    def __init__(self, parameters: Any, specification: Optimizer) -> None:
        self.specification = specification
        rate = specification.rate_at(0)
        defaults = {"lr": specification.learning_rate if rate is None else rate, "iterations": 0}
        super().__init__(parameters, defaults)

    @property
    def iterations(self) -> int:
        """The number of steps taken."""
        return self.param_groups[0]["iterations"]

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; it can be set unless a schedule gives it."""
        scheduled = self.specification.rate_at(self.iterations)
        return self.param_groups[0]["lr"] if scheduled is None else scheduled

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if self.specification.rate_at(self.iterations) is not None:
            schedule = type(self.specification.learning_rate).__name__
            raise InputError(
                f"The learning rate follows {schedule} and cannot be set to {value!r}. "
                "Give the optimizer a number as learning_rate to set it by hand."
            )
        for group in self.param_groups:
            group["lr"] = float(value)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient; return what `closure` gives, if any."""
        return (self._step_observed if self._is_observed() else self._step)(closure)

    # torch would wrap it, for hooks and in a block of the profiler's, whose beginning and end take
    # longer than the step of a small model: `_step_observed` is the wrapped one.
    step.hooked = True  # pyright: ignore[reportFunctionMemberAccess]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or with `set_to_none=False` fill them with zeros."""
        if not set_to_none or self._is_observed():
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _is_observed(self) -> bool:
        """Whether a profiler, a compiler or a hook is to see a step."""
        return bool(
            torch.compiler.is_compiling()
            or torch.autograd._profiler_enabled()  # pyright: ignore[reportPrivateImportUsage]
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
        )

    def _step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self._apply()
        return loss

    _step_observed = torch.optim.Optimizer.profile_hook_step(_step)

    def _apply(self) -> None:
        trained = [
            [p for p in group["params"] if p.grad is not None] for group in self.param_groups
        ]
        gradients = [p.grad for parameters in trained for p in parameters]
        _refuse_sparse(gradients)
        clipped = iter(self.specification.clip(gradients) if gradients else ())
        iterations = self.iterations
        for group, parameters in zip(self.param_groups, trained, strict=True):
            self._apply_group(group, parameters, clipped, iterations)
            group["iterations"] = iterations + 1

    def _apply_group(
        self,
        group: dict[str, Any],
        parameters: list[Tensor],
        gradients: Iterator[Tensor],
        iterations: int,
    ) -> None:
        specification = self.specification
        scheduled = specification.rate_at(iterations)
        if scheduled is not None:
            group["lr"] = scheduled
        if not parameters:
            return
        rate = group["lr"]
        if specification.weight_decay is not None:
            foreach.mul_(parameters, 1.0 - specification.weight_decay * rate)
        states = [self._state_of(p) for p in parameters]
        gradients_here = list(islice(gradients, len(parameters)))
        specification.update(parameters, gradients_here, states, rate, iterations + 1)

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state.update(self.specification.create_state(parameter))
        return state

    def __getstate__(self) -> dict[str, Any]:
        # torch keeps only its own fields when an optimizer is copied or pickled.
        return {**super().__getstate__(), "specification": self.specification}


def _refuse_sparse(gradients: list[Tensor]) -> None:
    for gradient in gradients:
        if gradient.layout is not torch.strided:
            raise UnsupportedError(
                f"The optimizer got a gradient of layout {gradient.layout} and shape "
                f"{tuple(gradient.shape)}; it needs dense ones. Use an embedding with "
                "sparse=False, or torch.optim.SparseAdam."
            )
