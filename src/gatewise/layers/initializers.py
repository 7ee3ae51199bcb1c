"""How weights start out.

Glorot and Bengio 2010 (glorot), He et al. 2015 (arXiv 1502.01852, he), LeCun et al. 1998 (lecun),
Saxe et al. 2014 (arXiv 1312.6120, orthogonal). Names, defaults and formulas are Keras's.
``Chrono`` and ``OrthogonalGates``, which Keras has not, are in ``gate_initializers``.

Every initializer is called with a shape and a dtype and returns a new tensor. With ``seed`` it
returns the same numbers at every call; without, it draws from torch's global generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gatewise.errors import InputError, unknown_name
from gatewise.layers.gate_initializers import Chrono, OrthogonalGates
from gatewise.layers.initializer import (
    Initialize,
    Initializer,
    InitializerLike,
    drawing_from,
    orthonormal,
)
from gatewise.layers.registry import Registry

# The standard deviation of a standard normal variable cut off at two standard deviations.
_TRUNCATED_DEVIATION = 0.87962566103423978


@dataclass(frozen=True)
class Zeros(Initializer):
    """All zeros."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        return torch.zeros(tuple(shape), dtype=dtype)


@dataclass(frozen=True)
class Ones(Initializer):
    """All ones."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        return torch.ones(tuple(shape), dtype=dtype)


@dataclass(frozen=True)
class Constant(Initializer):
    """One value everywhere.

    >>> Constant(0.5)((3,))
    tensor([0.5000, 0.5000, 0.5000])
    """

    value: float = 0.0

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        return torch.full(tuple(shape), float(self.value), dtype=dtype)


@dataclass(frozen=True)
class Identity(Initializer):
    """``gain`` on the diagonal of a matrix, zero elsewhere."""

    gain: float = 1.0

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        if len(shape) != 2:
            raise InputError(
                f"Identity fills matrices (rows, columns) but the shape is {tuple(shape)}."
            )
        return self.gain * torch.eye(*shape, dtype=dtype)


@dataclass(frozen=True)
class RandomUniform(Initializer):
    """Uniform between ``minval`` and ``maxval``."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        drawn = torch.rand(tuple(shape), dtype=dtype, generator=drawing_from(self.seed))
        return (self.maxval - self.minval) * drawn + self.minval


@dataclass(frozen=True)
class RandomNormal(Initializer):
    """Normal with mean ``mean`` and standard deviation ``stddev``."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        generator = drawing_from(self.seed)
        return torch.normal(self.mean, self.stddev, tuple(shape), dtype=dtype, generator=generator)


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal, but no value further than two ``stddev`` from ``mean``."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        return torch.nn.init.trunc_normal_(
            torch.empty(tuple(shape), dtype=dtype),
            self.mean,
            self.stddev,
            self.mean - 2 * self.stddev,
            self.mean + 2 * self.stddev,
            generator=drawing_from(self.seed),
        )


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Random with variance ``scale / n``, n the number of inputs, of outputs, or their mean.

    ``mode`` is "fan_in", "fan_out" or "fan_avg"; ``distribution`` is "truncated_normal" ("normal"
    is the same), "untruncated_normal" or "uniform".

    >>> VarianceScaling(scale=3.0, distribution="uniform", seed=1)((9, 1000)).abs().max() <= 1
    tensor(True)
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: int | None = None

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise InputError(f"VarianceScaling expected a positive scale but got {self.scale}.")
        if self.mode not in _FANS:
            raise unknown_name("mode of VarianceScaling", self.mode, _FANS)
        if self.distribution not in _DISTRIBUTIONS:
            raise unknown_name("distribution", self.distribution, _DISTRIBUTIONS)

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        deviation = math.sqrt(self.scale / max(1.0, _FANS[self.mode](*_fans(shape))))
        return _DISTRIBUTIONS[self.distribution](deviation, self.seed)(shape, dtype)


_FANS: dict[str, Callable[[int, int], float]] = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
}


def _truncated(deviation: float, seed: int | None) -> Initializer:
    return TruncatedNormal(0.0, deviation / _TRUNCATED_DEVIATION, seed)


def _untruncated(deviation: float, seed: int | None) -> Initializer:
    return RandomNormal(0.0, deviation, seed)


def _uniform(deviation: float, seed: int | None) -> Initializer:
    limit = math.sqrt(3.0) * deviation
    return RandomUniform(-limit, limit, seed)


_DISTRIBUTIONS: dict[str, Callable[[float, int | None], Initializer]] = {
    "truncated_normal": _truncated,
    "normal": _truncated,
    "untruncated_normal": _untruncated,
    "uniform": _uniform,
}


@dataclass(frozen=True)
class _Scaled(Initializer):
    """A :class:`VarianceScaling` that goes by a name of its own."""

    scaling: ClassVar[tuple[float, str, str]]
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        return VarianceScaling(*self.scaling, self.seed)(shape, dtype)


class GlorotUniform(_Scaled):
    """Uniform within ±√(6 / (inputs + outputs)): Keras's default for W."""

    scaling = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Truncated normal with variance 2 / (inputs + outputs)."""

    scaling = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """Uniform within ±√(6 / inputs), for rectified units."""

    scaling = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """Truncated normal with variance 2 / inputs, for rectified units."""

    scaling = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Uniform within ±√(3 / inputs)."""

    scaling = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Truncated normal with variance 1 / inputs."""

    scaling = (1.0, "fan_in", "truncated_normal")


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """Orthonormal rows or columns (whichever are fewer) times ``gain``: Keras's default for U.

    >>> U = Orthogonal(seed=1)((4, 16), torch.float64)
    >>> torch.allclose(U @ U.T, torch.eye(4, dtype=torch.float64))
    True
    """

    gain: float = 1.0
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        if len(shape) < 2:
            raise InputError(f"Orthogonal needs two axes or more but the shape is {tuple(shape)}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        matrix = orthonormal(rows, columns, dtype, drawing_from(self.seed))
        return self.gain * matrix.reshape(tuple(shape)).contiguous()


_REGISTRY = Registry(
    "initializer",
    (
        Zeros, Ones, Constant, Identity, RandomUniform, RandomNormal, TruncatedNormal,
        VarianceScaling, GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform,
        LecunNormal, Orthogonal, Chrono, OrthogonalGates,
    ),
    {"uniform": RandomUniform, "normal": RandomNormal, "zero": Zeros, "one": Ones},
    article="An",
)  # fmt: skip


def get(initializer: InitializerLike | type[Initializer]) -> Initialize:
    """Return the initializer for a name, a ``{"class_name", "config"}`` dictionary or a callable.

    A callable is called with the shape and ``dtype=``. Raises ``UnknownNameError`` for an unknown
    name.

    >>> get("glorot_uniform")
    GlorotUniform(seed=None)
    """
    return _REGISTRY.get(initializer)


def serialize(initializer: Initialize) -> dict[str, Any]:
    """Return the JSON dictionary of an initializer, which :func:`get` reads.

    >>> serialize(Constant(2.0))
    {'class_name': 'Constant', 'config': {'value': 2.0}}
    """
    return _REGISTRY.serialize(initializer)


def _fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return how many inputs and outputs a weight of this shape connects."""
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]
