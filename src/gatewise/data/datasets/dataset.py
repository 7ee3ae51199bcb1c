"""What a bundled data set consists of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

Sample = TypeVar("Sample")


@dataclass(frozen=True)
class Part(Generic[Sample]):
    """One part of a data set: N samples `x` and their labels `y` `(N,)`, whole numbers from 0."""

    x: list[Sample] = field(repr=False)
    y: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.x)


@dataclass(frozen=True)
class Dataset(Generic[Sample]):
    """A bundled classification set with its official split; `label_names[y]` names a label."""

    name: str
    description: str
    licence: str
    source: str
    label_names: tuple[str, ...]
    train: Part[Sample] = field(repr=False)
    test: Part[Sample] = field(repr=False)

    def majority_accuracy(self) -> float:
        """Return the test accuracy of always answering the training part's most frequent label."""
        most_frequent = np.bincount(self.train.y).argmax()
        return float(np.mean(self.test.y == most_frequent))
