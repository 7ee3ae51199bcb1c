"""Penalties on weights: a regularizer maps a weight to a scalar that is added to the loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gatewise.errors import InputError
from gatewise.layers.registry import Registry

Penalty = Callable[[Tensor], Tensor]
RegularizerLike = str | dict[str, Any] | Penalty


@dataclass(frozen=True)
class L1:
    """``l1 · Σ|w|``, which draws weights to exactly zero.

    >>> import torch
    >>> L1(0.5)(torch.tensor([1.0, -3.0]))
    tensor(2.)
    """

    l1: float = 0.01

    def __post_init__(self) -> None:
        _check_factor("L1", "l1", self.l1)

    def __call__(self, weight: Tensor) -> Tensor:
        return self.l1 * weight.abs().sum()


@dataclass(frozen=True)
class L2:
    """``l2 · Σw²``, which keeps weights small.

    >>> import torch
    >>> L2(0.5)(torch.tensor([1.0, -3.0]))
    tensor(5.)
    """

    l2: float = 0.01

    def __post_init__(self) -> None:
        _check_factor("L2", "l2", self.l2)

    def __call__(self, weight: Tensor) -> Tensor:
        return self.l2 * weight.square().sum()


@dataclass(frozen=True)
class L1L2:
    """``l1 · Σ|w| + l2 · Σw²``; by the name "l1_l2" both factors are 0.01."""

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        _check_factor("L1L2", "l1", self.l1)
        _check_factor("L1L2", "l2", self.l2)

    def __call__(self, weight: Tensor) -> Tensor:
        return self.l1 * weight.abs().sum() + self.l2 * weight.square().sum()


def _both() -> L1L2:
    return L1L2(0.01, 0.01)


_REGISTRY = Registry("regularizer", (L1, L2, L1L2), {"l1_l2": _both, "l1l2": _both, "L1L2": _both})


def get(regularizer: RegularizerLike | None) -> Penalty | None:
    """Return the regularizer for a name, a dictionary of JSON or a callable; None is none.

    >>> get("l2")
    L2(l2=0.01)
    """
    return None if regularizer is None else _REGISTRY.get(regularizer)


def serialize(regularizer: Penalty | None) -> dict[str, Any] | None:
    """Return the JSON dictionary of a regularizer, which :func:`get` reads."""
    return None if regularizer is None else _REGISTRY.serialize(regularizer)


def _check_factor(name: str, argument: str, factor: float) -> None:
    if not (isinstance(factor, int | float) and math.isfinite(factor) and factor >= 0):
        raise InputError(
            f"{name} expected {argument} to be a number of 0 or more but got {factor!r}."
        )
