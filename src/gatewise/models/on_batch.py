"""A model's `train_on_batch`, `test_on_batch` and `predict_on_batch`, which take one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gatewise import training

if TYPE_CHECKING:
    from gatewise.models.model import Model


def train_on_batch(
    model: Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
    return_dict: bool = False,
    *,
    mask: Any = None,
) -> float | list[float] | dict[str, float]:
    """Take one optimizer step on this batch; return its loss and metrics."""
    data = training.Data(x, y, sample_weight, mask, class_weight)
    return _flat(training.train_on_batch(model, data), return_dict)


def evaluate_on_batch(
    model: Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    return_dict: bool = False,
    *,
    mask: Any = None,
) -> float | list[float] | dict[str, float]:
    """Return the loss and metrics of this batch."""
    data = training.Data(x, y, sample_weight, mask)
    return _flat(training.test_on_batch(model, data), return_dict)


def predict_on_batch(model: Model, x: Any, *, mask: Any = None) -> Any:
    """Return the outputs for this batch as a NumPy array."""
    return training.predict_on_batch(model, training.Data(x, mask=mask))


def _flat(results: dict[str, float], return_dict: bool) -> float | list[float] | dict[str, float]:
    """Return results as Keras does: a dict, a list, or the loss alone."""
    if return_dict:
        return results
    values = list(results.values())
    return values if len(values) > 1 else values[0]
