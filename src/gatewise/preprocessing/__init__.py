"""Series made ready for a model, where a Keras user looks for it; it lives in `gatewise.data`."""

from __future__ import annotations

from typing import Any

from gatewise.data.timeseries import timeseries_dataset_from_array
from gatewise.errors import missing
from gatewise.preprocessing import sequence

__all__ = ["sequence", "timeseries_dataset_from_array"]


def __getattr__(name: str) -> Any:
    """Say what is nearest to a name that does not exist here."""
    instead = {"text": "Use gatewise.data.Vocabulary.", "image": "There is nothing for images."}
    raise missing("gatewise.preprocessing", name, __all__, instead)
