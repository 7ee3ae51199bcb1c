"""First values of weights, where a Keras user looks for them; they live in `gatewise.layers`."""

from __future__ import annotations

from typing import Any

from gatewise.errors import missing
from gatewise.layers.initializers import (
    Chrono,
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    Initializer,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    OrthogonalGates,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
    get,
    serialize,
)

__all__ = [
    "Chrono",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalGates",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "get",
    "serialize",
]


def __getattr__(name: str) -> Any:
    """Say which initializer is nearest to one that does not exist here."""
    raise missing("gatewise.initializers", name, __all__)
