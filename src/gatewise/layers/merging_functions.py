"""Keras's lower-case names: a merging layer made and called at once."""

from __future__ import annotations

from typing import Any

from gatewise.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
)


def add(inputs: Any, *, name: str | None = None) -> Any:
    """Return `Add()(inputs)`.

    >>> import torch
    >>> add([torch.ones(2), torch.ones(2)])
    tensor([2., 2.])
    """
    return Add(name=name)(inputs)


def average(inputs: Any, *, name: str | None = None) -> Any:
    """Return `Average()(inputs)`."""
    return Average(name=name)(inputs)


def concatenate(inputs: Any, axis: int = -1, *, name: str | None = None) -> Any:
    """Return `Concatenate(axis)(inputs)`."""
    return Concatenate(axis, name=name)(inputs)


def dot(inputs: Any, axes: Any = -1, *, normalize: bool = False, name: str | None = None) -> Any:
    """Return `Dot(axes, normalize)(inputs)`."""
    return Dot(axes, normalize, name=name)(inputs)


def maximum(inputs: Any, *, name: str | None = None) -> Any:
    """Return `Maximum()(inputs)`."""
    return Maximum(name=name)(inputs)


def minimum(inputs: Any, *, name: str | None = None) -> Any:
    """Return `Minimum()(inputs)`."""
    return Minimum(name=name)(inputs)


def multiply(inputs: Any, *, name: str | None = None) -> Any:
    """Return `Multiply()(inputs)`."""
    return Multiply(name=name)(inputs)


def subtract(inputs: Any, *, name: str | None = None) -> Any:
    """Return `Subtract()(inputs)`."""
    return Subtract(name=name)(inputs)
