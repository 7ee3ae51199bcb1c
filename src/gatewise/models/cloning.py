"""A copy of a model's architecture, with weights of its own."""

from __future__ import annotations

from typing import Any

from gatewise.errors import InputError
from gatewise.models.functional import Functional
from gatewise.models.model import Model
from gatewise.models.sequential import Sequential


def clone_model(model: Model) -> Any:
    """Return a new model of the same layers; its weights start anew, and it is not compiled.

    >>> from gatewise.layers import LSTM
    >>> model = Sequential([LSTM(3, input_shape=(None, 2))])
    >>> clone = clone_model(model)
    >>> clone.output_shape, clone.layers[0] is model.layers[0]
    ((None, 3), False)
    """
    if not isinstance(model, (Sequential, Functional)):
        raise InputError(
            "clone_model copies Sequential models and Model(inputs, outputs); this is a "
            f"{type(model).__name__}, which is code: make another object of its class."
        )
    return type(model).from_config(model.get_config())
