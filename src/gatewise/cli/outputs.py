"""What a model says about data, in the data's own words and units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gatewise.data import SeriesData
    from gatewise.models import Model


@dataclass(frozen=True)
class Outputs:
    """`predictions` as `gatewise.data.score` takes them; `probabilities` a class, or None.

    Classification: class numbers (N,) and probabilities (N, classes); tagging: lists of such
    arrays, a step a row; regression (N,) and forecasting (N, horizon, K): numbers in own units.
    """

    predictions: Any
    probabilities: Any = None


def outputs_of(model: Model, data: SeriesData) -> Outputs:
    """Return the model's outputs for raw data, through the preprocessing in the model."""
    preprocessing = model.preprocessing
    found = model.predict(preprocessing(data), verbose=0)
    if preprocessing.task == "tagging":
        probabilities = list(found)
        return Outputs([one.argmax(axis=-1) for one in probabilities], probabilities)
    if preprocessing.task == "classification":
        return Outputs(found.argmax(axis=-1), found)
    return Outputs(np.asarray(preprocessing.restore(found, data)))
