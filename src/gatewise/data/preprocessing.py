"""What turns raw data into a model's input, in a form that a model file can keep."""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

from gatewise.data.scaling import StandardScaler
from gatewise.data.series_preprocessor import SeriesPreprocessor
from gatewise.data.vocabulary import Vocabulary
from gatewise.errors import InputError, unknown_name


@runtime_checkable
class Preprocessor(Protocol):
    """A fitted step from raw data to a model's input: called, and described as JSON."""

    def __call__(self, raw: Any, /) -> Any:
        """Return the model's input for raw data."""
        ...

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs, as JSON knows it."""
        ...

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the preprocessor of a config that `get_config` gave."""
        ...


PREPROCESSORS: dict[str, type[Preprocessor]] = {
    "SeriesPreprocessor": SeriesPreprocessor,
    "StandardScaler": StandardScaler,
    "Vocabulary": Vocabulary,
}


def preprocessor_to_json(preprocessor: Preprocessor) -> dict[str, Any]:
    """Return `{"class": name, "config": {...}}` of a registered class, for a model file.

    >>> preprocessor_to_json(Vocabulary(["sea"]))
    {'class': 'Vocabulary', 'config': {'tokens': ['sea'], 'unit': 'word'}}
    """
    name = type(preprocessor).__name__
    if PREPROCESSORS.get(name) is not type(preprocessor):
        raise InputError(
            f"{name} cannot be kept in a model file. Accepted: {', '.join(sorted(PREPROCESSORS))}."
        )
    return {"class": name, "config": preprocessor.get_config()}


def preprocessor_from_json(stored: dict[str, Any]) -> Preprocessor:
    """Return the preprocessor that `preprocessor_to_json` described.

    >>> preprocessor_from_json(preprocessor_to_json(Vocabulary(["sea"])))
    Vocabulary(3 ids, unit='word')
    """
    if stored["class"] not in PREPROCESSORS:
        raise unknown_name("preprocessor", stored["class"], PREPROCESSORS)
    return PREPROCESSORS[stored["class"]].from_config(stored["config"])
