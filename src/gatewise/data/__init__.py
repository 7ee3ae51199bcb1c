"""Data for sequence models: ragged series, batches, text, scaling and the bundled sets."""

from __future__ import annotations

from gatewise.data.batching import bucket_batches, padding_share
from gatewise.data.finite import check_finite
from gatewise.data.padding import check_series, pad, pad_sequences, pad_tensors
from gatewise.data.preprocessing import (
    PREPROCESSORS,
    Preprocessor,
    preprocessor_from_json,
    preprocessor_to_json,
)
from gatewise.data.scaling import StandardScaler
from gatewise.data.vocabulary import Vocabulary

__all__ = [
    "PREPROCESSORS",
    "Preprocessor",
    "StandardScaler",
    "Vocabulary",
    "bucket_batches",
    "check_finite",
    "check_series",
    "pad",
    "pad_sequences",
    "pad_tensors",
    "padding_share",
    "preprocessor_from_json",
    "preprocessor_to_json",
]
