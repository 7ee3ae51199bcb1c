"""What every reader returns: series or texts, their labels, and what was found out about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from gatewise.data.vocabulary import Unit

Task = Literal["classification", "tagging", "regression", "forecasting"]
Missing = Literal["error", "forward-fill", "mask"]
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Columns:
    """Which column of a table means what, as given or inferred."""

    series: str | None = None
    time: str | None = None
    target: tuple[str, ...] = ()
    text: str | None = None
    part: str | None = None


@dataclass(frozen=True)
class MissingReport:
    """How many cells held no finite number, where the first one is, and what is done about it."""

    handling: Missing = "error"
    cells: int = 0
    by_feature: Mapping[str, int] = field(default_factory=dict)
    first: str | None = None


@dataclass(frozen=True)
class SeriesData:
    """N series or texts of one task.

    `x` holds float64 arrays `(T_i, I)`, a column for each of `features`, or raw texts; a
    categorical feature holds indices into its `categories`. `y` is int64 `(N,)` for classification,
    a list of int64 `(T_i,)` for tagging, both indexing `labels`; float64 `(N,)` for regression; and
    for forecasting None until windows are cut, then float64 `(N, horizon, K)`. Without labels `y`
    is None.

    >>> data = SeriesData("two", "classification", [np.zeros((3, 1)), np.ones((5, 1))],
    ...                   np.array([0, 1]), ["a", "b"], ("level",), labels=("low", "high"))
    >>> len(data), data.lengths.tolist(), data.class_counts()
    (2, [3, 5], {'low': 1, 'high': 1})
    >>> data.take([1]).ids
    ['b']
    """

    name: str
    task: Task
    x: list[Any] = field(repr=False)
    y: Any = field(repr=False)
    ids: list[str] = field(repr=False)
    features: tuple[str, ...]
    columns: Columns = field(default_factory=Columns, repr=False)
    labels: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    times: list[np.ndarray] | None = field(default=None, repr=False)
    parts: tuple[str, ...] | None = field(default=None, repr=False)
    unit: Unit | None = None
    horizon: int | None = None
    window: int | None = None
    missing: MissingReport = field(default_factory=MissingReport, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)
    source: SeriesData | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.x)

    @property
    def is_text(self) -> bool:
        """Whether `x` holds raw texts."""
        return self.unit is not None

    @property
    def lengths(self) -> np.ndarray:
        """The number of steps of each series `(N,)`; of a text, its characters."""
        return np.array([len(one) for one in self.x], dtype=np.int64)

    def take(self, indices: Sequence[int] | np.ndarray) -> SeriesData:
        """Return the series at these indices, with all that belongs to them."""
        rows = [int(index) for index in indices]

        def of(values: Any) -> Any:
            if values is None or isinstance(values, np.ndarray):
                return None if values is None else values[rows]
            return type(values)(values[row] for row in rows)

        return replace(
            self,
            x=of(self.x),
            y=of(self.y),
            ids=of(self.ids),
            times=of(self.times),
            parts=of(self.parts),
        )

    def class_counts(self) -> dict[str, int]:
        """Return how often each class occurs: series for classification, steps for tagging."""
        if self.y is None or not self.labels:
            return {}
        y = np.concatenate(self.y) if isinstance(self.y, list) else self.y
        counts = np.bincount(y, minlength=len(self.labels)) if len(y) else [0] * len(self.labels)
        return {name: int(count) for name, count in zip(self.labels, counts, strict=True)}

    def describe(self) -> dict[str, Any]:
        """Return what there is to say about the data, as JSON knows it."""
        lengths = self.lengths
        return {
            "name": self.name,
            "task": self.task,
            "series": len(self),
            "steps": {
                "min": int(lengths.min()) if len(lengths) else 0,
                "median": float(np.median(lengths)) if len(lengths) else 0.0,
                "max": int(lengths.max(initial=0)),
                "total": int(lengths.sum()),
            },
            "features": list(self.features),
            "target": list(self.columns.target),
            "classes": self.class_counts(),
            "parts": {part: self.parts.count(part) for part in PARTS if part in self.parts}
            if self.parts
            else None,
            "missing": {"cells": self.missing.cells, "handling": self.missing.handling},
            "unit": self.unit,
            "horizon": self.horizon,
            "window": self.window,
            "notes": list(self.notes),
        }
