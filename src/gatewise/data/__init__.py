"""Data for sequence models: readers, parts, windows, batches, text, scaling, bundled sets."""

from __future__ import annotations

from gatewise.data.baselines import baselines
from gatewise.data.batching import bucket_batches, padding_share
from gatewise.data.finite import check_finite
from gatewise.data.padding import check_series, pad, pad_sequences, pad_tensors
from gatewise.data.prepare import prepare
from gatewise.data.preprocessing import (
    PREPROCESSORS,
    Preprocessor,
    preprocessor_from_json,
    preprocessor_to_json,
)
from gatewise.data.readers import Available, available, read, read_like
from gatewise.data.scaling import StandardScaler
from gatewise.data.scores import score
from gatewise.data.season import season
from gatewise.data.series_data import Columns, Missing, MissingReport, SeriesData, Task
from gatewise.data.series_preprocessor import SeriesPreprocessor
from gatewise.data.splits import Split, make_windows, split
from gatewise.data.stream import Chunk, Stream
from gatewise.data.vocabulary import Vocabulary

__all__ = [
    "PREPROCESSORS",
    "Available",
    "Chunk",
    "Columns",
    "Missing",
    "MissingReport",
    "Preprocessor",
    "SeriesData",
    "SeriesPreprocessor",
    "Split",
    "StandardScaler",
    "Stream",
    "Task",
    "Vocabulary",
    "available",
    "baselines",
    "bucket_batches",
    "check_finite",
    "check_series",
    "make_windows",
    "pad",
    "pad_sequences",
    "pad_tensors",
    "padding_share",
    "prepare",
    "preprocessor_from_json",
    "preprocessor_to_json",
    "read",
    "read_like",
    "score",
    "season",
    "split",
]
