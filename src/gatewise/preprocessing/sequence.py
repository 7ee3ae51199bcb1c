"""Padding, where a Keras user looks for it; it lives in `gatewise.data`."""

from __future__ import annotations

from typing import Any

from gatewise.data import pad_sequences
from gatewise.errors import missing

__all__ = ["pad_sequences"]


def __getattr__(name: str) -> Any:
    """Say what is nearest to a name that does not exist here."""
    cure = "Use gatewise.utils.timeseries_dataset_from_array."
    raise missing("gatewise.preprocessing.sequence", name, __all__, {"TimeseriesGenerator": cure})
