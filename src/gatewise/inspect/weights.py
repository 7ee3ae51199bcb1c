"""The weight sets of a module, read for what they hold, their gradients, and their parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from gatewise.cells import WeightSet
from gatewise.inspect.conventions import torch_weight_sets

SYMBOLS = {"kernel": "W", "recurrent_kernel": "U", "bias": "b", "peephole": "p"}
"""How the weights of a cell are written in its equation."""


def symbol(name: str) -> str:
    """Return how a weight is written: those that not every cell may have by their names.

    >>> symbol("kernel"), symbol("projection")
    ('W', 'projection')
    """
    return SYMBOLS.get(name, name)


def read_sets(module: nn.Module, read: Callable[[nn.Parameter], Tensor]) -> list[WeightSet]:
    """Return a recurrent module's sets, filled with ``read`` of each parameter; else none."""
    if hasattr(module, "weight_sets"):
        return cast(Any, module).weight_sets(read)
    return torch_weight_sets(module, read) if isinstance(module, nn.RNNBase) else []


def value_sets(module: nn.Module) -> list[dict[str, Tensor]]:
    """Return the numbers of each set, by weight name, as copies."""
    return [
        {name: weight.detach().clone() for name, weight in one.weights.items()}
        for one in read_sets(module, lambda parameter: parameter)
    ]


def counted_sets(module: nn.Module) -> list[WeightSet]:
    """Return the sets filled with ones: their sum counts the parameters that stand behind."""
    return read_sets(module, lambda parameter: torch.ones_like(parameter, dtype=torch.float64))


def derivative_sets(
    module: nn.Module, derivative: Callable[[nn.Parameter], Tensor | None]
) -> list[dict[str, Tensor]]:
    """Return the derivative by each set's weights from the derivatives by the module's parameters.

    Where a weight is a sum of parameters (the two biases of `nn.LSTM`), the derivative by each of
    them is that by the sum, so theirs are averaged. Parameters without a derivative count as zeros.
    """

    def given(parameter: nn.Parameter) -> Tensor:
        found = derivative(parameter)
        return torch.zeros_like(parameter) if found is None else found.detach()

    def present(parameter: nn.Parameter) -> Tensor:
        return torch.full_like(parameter, float(derivative(parameter) is not None))

    totals = read_sets(module, given)
    numbers = read_sets(module, present)
    return [
        {
            name: total / number.weights[name].detach().clamp(min=1)
            for name, total in one.weights.items()
        }
        for one, number in zip(totals, numbers, strict=True)
    ]


def source_parameters(module: nn.Module, weights: WeightSet) -> dict[str, list[nn.Parameter]]:
    """Return the parameters behind each weight of a set, e.g. both biases of `nn.LSTM`."""
    return {
        weight: [module.get_parameter(source) for source in sources]
        for weight, sources in weights.sources.items()
    }
