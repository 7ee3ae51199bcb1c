"""Small helpers, where a Keras user looks for them; they live with what they serve."""

from __future__ import annotations

from gatewise.data import pad_sequences
from gatewise.training import set_random_seed

__all__ = ["pad_sequences", "set_random_seed"]
