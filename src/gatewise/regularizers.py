"""Penalties on weights, where a Keras user looks for them; they live in `gatewise.layers`."""

from __future__ import annotations

from typing import Any

from gatewise.errors import missing
from gatewise.layers.regularizers import (
    L1,
    L1L2,
    L2,
    get,
    serialize,
)

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "get",
    "serialize",
]


def __getattr__(name: str) -> Any:
    """Say which regularizer is nearest to one that does not exist here."""
    raise missing("gatewise.regularizers", name, __all__)
