"""The data sets that come with the package, small and real; README.md here names their sources."""

from __future__ import annotations

from gatewise.data.datasets.dataset import Dataset, Part
from gatewise.data.datasets.japanese_vowels import load_japanese_vowels
from gatewise.data.datasets.verse_or_scripture import load_verse_or_scripture

__all__ = ["Dataset", "Part", "load_japanese_vowels", "load_verse_or_scripture"]
