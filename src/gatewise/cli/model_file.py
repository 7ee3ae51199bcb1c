"""The model that a command is given: a file, or the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatewise.cli.run_folder import MODEL
from gatewise.errors import InputError

if TYPE_CHECKING:
    from gatewise.models import Sequential


def open_model(path: Path) -> Sequential:
    """Return the model of a file or of a run's folder; `InputError` if there is none."""
    from gatewise.models import load_model

    file = path / MODEL if path.is_dir() else path
    if not file.exists():
        where = f"{path} holds no {MODEL}" if path.is_dir() else f"{path} does not exist"
        raise InputError(
            f"{where}. Give the model.safetensors, or the folder, that `gatewise train` wrote."
        )
    return load_model(file)


def open_reading_model(path: Path) -> Sequential:
    """Return a model that knows how to read raw data; `InputError` for one that does not."""
    from gatewise.data import SeriesPreprocessor

    model = open_model(path)
    if not isinstance(model.preprocessing, SeriesPreprocessor):
        raise InputError(
            f"{path} holds a model but not how to read a file for it. Models of `gatewise train` "
            "do; for this one call gatewise.models.load_model(path).predict(x) in Python."
        )
    return model
