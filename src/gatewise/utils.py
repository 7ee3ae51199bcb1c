"""Small helpers, where a Keras user looks for them; they live with what they serve."""

from __future__ import annotations

from typing import Any

from gatewise.data import pad_sequences
from gatewise.data.categorical import to_categorical
from gatewise.data.timeseries import timeseries_dataset_from_array
from gatewise.errors import missing
from gatewise.training import set_random_seed

__all__ = ["pad_sequences", "set_random_seed", "timeseries_dataset_from_array", "to_categorical"]


def __getattr__(name: str) -> Any:
    """Say which helper is nearest to one that does not exist here."""
    raise missing("gatewise.utils", name, __all__)
