"""Classes as rows of zeros with a one."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewise.errors import InputError


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Return each class (whole numbers from 0) as a one-hot row of float32, on a new last axis.

    A last axis of size 1 is dropped first, as in Keras. `num_classes` is the largest class plus one
    unless given.

    >>> to_categorical([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    classes = np.asarray(x)
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    whole = classes.astype(np.int64)
    if classes.size and (whole != classes).any():
        raise InputError("to_categorical takes whole numbers from 0, the classes.")
    count = int(num_classes) if num_classes else (int(whole.max()) + 1 if whole.size else 0)
    if whole.size and (whole.min() < 0 or whole.max() >= count):
        raise InputError(
            f"to_categorical got classes from {whole.min()} to {whole.max()}, but num_classes is "
            f"{count}: classes count from 0."
        )
    return np.eye(count, dtype="float32")[whole]
