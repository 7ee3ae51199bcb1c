"""What an optimizer remembers, as named tensors and plain numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gatewise.errors import ModelFileError
from gatewise.models.files import Reader
from gatewise.optimizers import BoundOptimizer

_PREFIX = "optimizer/"
_NOT_NUMBERS = ("params", "param_names")


def tensors_of(optimizer: BoundOptimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the remembered tensors as `optimizer/<parameter>/<name>`."""
    return {
        f"{_PREFIX}{name}/{key}": tensor
        for name, parameter in model.named_parameters()
        for key, tensor in optimizer.state.get(parameter, {}).items()
    }


def numbers_of(optimizer: BoundOptimizer) -> dict[str, Any]:
    """Return the numbers of the optimizer: learning rate and steps taken."""
    return {k: v for k, v in optimizer.param_groups[0].items() if k not in _NOT_NUMBERS}


def is_state(name: str) -> bool:
    """Return whether a tensor in a file belongs to the optimizer."""
    return name.startswith(_PREFIX)


def restore(optimizer: BoundOptimizer, model: nn.Module, reader: Reader, numbers: Any) -> None:
    """Give the optimizer what the file remembers, checking every name, type and shape."""
    group = optimizer.param_groups[0]
    known = numbers_of(optimizer)
    if not isinstance(numbers, dict) or numbers.keys() != known.keys():
        raise ModelFileError(
            f"{reader.path} holds the optimizer values {numbers!r}, expected {sorted(known)}."
        )
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise ModelFileError(f"{reader.path} holds the optimizer value {key}={value!r}.")
    if not isinstance(numbers["iterations"], int):
        raise ModelFileError(f"{reader.path} counts {numbers['iterations']!r} steps.")
    remaining = {name for name in reader.stored if is_state(name)}
    for name, parameter in model.named_parameters():
        expected = optimizer.specification.create_state(parameter)
        places = {key: f"{_PREFIX}{name}/{key}" for key in expected}
        if not remaining & set(places.values()):
            continue  # no step has reached this parameter yet
        _check(reader, places, expected)
        optimizer.state[parameter] = {
            key: reader.tensor(place).to(parameter.device) for key, place in places.items()
        }
        remaining -= set(places.values())
    if remaining:
        raise ModelFileError(
            f"{reader.path} holds optimizer tensors that belong to nothing: {sorted(remaining)[0]}."
        )
    group.update(numbers)


def _check(reader: Reader, places: dict[str, str], expected: dict[str, torch.Tensor]) -> None:
    """Raise `ModelFileError` unless every expected tensor is there in its shape and type."""
    for key, place in places.items():
        stored = reader.stored.get(place)
        if stored is None:
            raise ModelFileError(f"{reader.path} lacks the optimizer tensor {place}.")
        if stored.shape != tuple(expected[key].shape) or stored.dtype != expected[key].dtype:
            raise ModelFileError(
                f"{reader.path} holds {place} with shape {stored.shape} and type {stored.dtype}, "
                f"expected {tuple(expected[key].shape)} and {expected[key].dtype}."
            )
