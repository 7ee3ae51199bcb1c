"""Nine speakers say two vowels: who speaks?"""

from __future__ import annotations

from importlib import resources

import numpy as np

from gatewise.data.datasets.dataset import Dataset, Part


def load_japanese_vowels() -> Dataset[np.ndarray]:
    """Return "Japanese Vowels": 270 training and 370 test series of 12 channels, 9 speakers.

    A series is float32 `(T_i, 12)`, 7 to 29 steps of linear prediction coefficients. Labels are 0
    to 8, the speakers that the source numbers 1 to 9; the training part holds 30 series of each. CC
    BY 4.0.

    >>> data = load_japanese_vowels()
    >>> data.train.x[0].shape, data.label_names[data.train.y[0]]
    ((20, 12), 'speaker 1')
    >>> len(data.train), len(data.test)
    (270, 370)
    """
    packed = resources.files("gatewise.data.datasets") / "japanese_vowels.npz"
    with packed.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        train, test = (_part(arrays, name) for name in ("train", "test"))
    return Dataset(
        name="Japanese Vowels",
        description="12 linear prediction coefficients over time of two vowels, said by 9 speakers",
        licence="CC BY 4.0",
        source=(
            "Kudo, M., Toyama, J., Shimbo, M.: Japanese Vowels. UCI Machine Learning Repository, "
            "https://doi.org/10.24432/C5NS47"
        ),
        label_names=tuple(f"speaker {number}" for number in range(1, 10)),
        train=train,
        test=test,
    )


def _part(arrays: np.lib.npyio.NpzFile, name: str) -> Part[np.ndarray]:
    ends = np.cumsum(arrays[f"{name}_lengths"])
    return Part(np.split(arrays[f"{name}_x"], ends[:-1]), arrays[f"{name}_y"])
