"""From a file, or the name of a data set, to `SeriesData`."""

from __future__ import annotations

from gatewise.data.readers.named import Available, available
from gatewise.data.readers.reading import read, read_like

__all__ = ["Available", "available", "read", "read_like"]
