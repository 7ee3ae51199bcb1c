"""Raw data with labels as one padded batch, to be measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from gatewise.data.padding import pad
from gatewise.data.series_data import SeriesData
from gatewise.data.series_preprocessor import SeriesPreprocessor


def padded_batch(preprocessing: SeriesPreprocessor, data: SeriesData) -> tuple[Tensor, Any, Tensor]:
    """Return all series of ``data`` padded (B, T, …), their targets, and the mask (B, T)."""
    x, mask = pad(preprocessing(data))
    y = preprocessing.targets(data)
    if isinstance(y, list):  # a class a step: the padding's does not count
        padded = np.zeros(mask.shape, dtype=np.int64)
        for row, classes in enumerate(y):
            padded[row, : len(classes)] = classes
        y = padded
    return x, y, mask
