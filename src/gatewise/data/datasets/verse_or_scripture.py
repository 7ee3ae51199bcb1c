"""Fragments of Shakespeare or of the King James Bible: which of the two?"""

from __future__ import annotations

from importlib import resources

import numpy as np

from gatewise.data.datasets.dataset import Dataset, Part

_LABELS = ("scripture", "shakespeare")


def load_verse_or_scripture() -> Dataset[str]:
    """Return "verse or scripture": 18,000 training and 2,000 test fragments, balanced.

    A fragment is 6 to 16 lower-case words; the parts come from different blocks of the two texts.
    Label 0 is scripture, 1 Shakespeare.

    >>> data = load_verse_or_scripture()
    >>> data.train.x[0], data.label_names[data.train.y[0]]
    ('flaw and saving those that eye thee', 'shakespeare')
    >>> len(data.train), len(data.test), data.majority_accuracy()
    (18000, 2000, 0.5)
    """
    import pyarrow.parquet as parquet

    packed = resources.files("gatewise.data.datasets") / "verse_or_scripture.parquet"
    with packed.open("rb") as file:
        columns = parquet.read_table(file).to_pydict()
    parts: dict[str, tuple[list[str], list[int]]] = {"train": ([], []), "test": ([], [])}
    for text, label, part in zip(columns["text"], columns["label"], columns["part"], strict=True):
        texts, labels = parts[part]
        texts.append(text)
        labels.append(_LABELS.index(label))
    train, test = (
        Part(texts, np.array(labels, dtype=np.int64)) for texts, labels in parts.values()
    )
    return Dataset(
        name="verse or scripture",
        description="fragments of 6 to 16 words from Shakespeare or from the King James Bible",
        licence="public domain",
        source="the works of William Shakespeare and the King James Bible (1611), split by blocks",
        label_names=_LABELS,
        train=train,
        test=test,
    )
