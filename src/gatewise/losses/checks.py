"""Whether labels go with predictions; each refusal names the cure."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.errors import InputError
from gatewise.losses.functions import without_column
from gatewise.losses.shapes import align


def same_shape(loss: str, y_true: Tensor, y_pred: Tensor) -> None:
    """Refuse labels whose axes after the batch differ from the predictions'."""
    aligned, predictions = align(y_true, y_pred)
    if aligned.dim() == predictions.dim() and aligned.shape[1:] == predictions.shape[1:]:
        return
    raise InputError(
        f"{loss} expected labels of shape {_batched(y_pred.shape[1:])} to go with predictions "
        f"{tuple(y_pred.shape)}, but got labels {tuple(y_true.shape)}. "
        f"{_cure(loss, y_true, y_pred)}"
    )


def class_shape(loss: str, y_true: Tensor, y_pred: Tensor) -> None:
    """Refuse labels that are not one class id for each row of predictions."""
    class_ids = without_column(y_true, y_pred)
    if y_pred.dim() >= 2 and class_ids.dim() > 0 and class_ids.shape[1:] == y_pred.shape[1:-1]:
        return
    cure = _cure(loss, class_ids, y_pred)
    if class_ids.shape[1:] == y_pred.shape[1:]:
        cure = "They look one-hot: use categorical_crossentropy, or class ids: y.argmax(-1)."
    raise InputError(
        f"{loss} expected class ids of shape {_batched(y_pred.shape[1:-1])} to go with predictions "
        f"{tuple(y_pred.shape)}, but got labels {tuple(y_true.shape)}. {cure}"
    )


def refuse_rows(loss: str, y_true: Tensor, y_pred: Tensor) -> None:
    """Refuse labels whose only fault is their number."""
    raise InputError(
        f"{loss} got {y_true.shape[0]} labels for {y_pred.shape[0]} predictions. "
        "Give one label for each sample."
    )


def class_values(
    loss: str, labels: Tensor, classes: int, ignore_class: int | None, mask: Tensor | None
) -> None:
    """Refuse labels that are not whole numbers from 0 to classes - 1; the first is named."""
    bad = (labels < 0) | (labels >= classes)
    if labels.is_floating_point():
        bad |= labels != labels.floor()
    if ignore_class is not None:
        bad &= labels != ignore_class
    place, value = _first(bad, labels, mask)
    if place is None:
        return
    if not value.is_integer():
        hint = "Use categorical_crossentropy for soft labels"
    elif value < 0:
        hint = f"Labels to leave out need ignore_class={value:g}"
    else:
        hint = "Number the classes from 0, or give the last layer more units"
    raise InputError(
        f"{loss} expected class ids 0 to {classes - 1} for {classes} outputs, but label "
        f"{place} is {value:g}. {hint}."
    )


def unit_values(loss: str, labels: Tensor, mask: Tensor | None) -> None:
    """Refuse labels outside [0, 1]; the first is named."""
    place, value = _first(~((labels >= 0) & (labels <= 1)), labels, mask)
    if place is not None:
        raise InputError(
            f"{loss} expected labels in [0, 1], but label {place} is {value:g}. For class ids use "
            "sparse_categorical_crossentropy; for labels -1 and 1 use (y + 1) / 2."
        )


def _first(bad: Tensor, labels: Tensor, mask: Tensor | None) -> tuple[str | None, float]:
    """Return the index and value of the first bad label at a real step, or None."""
    if mask is not None:
        bad = bad & mask.reshape(mask.shape + (1,) * (bad.dim() - mask.dim()))
    if not bool(bad.any()):
        return None, 0.0
    index = tuple(bad.nonzero()[0].tolist())
    return f"[{', '.join(map(str, index))}]", float(labels[index])


def _cure(loss: str, y_true: Tensor, y_pred: Tensor) -> str:
    """Return what to change, from which axis is missing on which side."""
    outputs = y_pred.shape[-1]
    sparse = loss == "sparse_categorical_crossentropy"
    if y_pred.dim() >= 3 and y_true.shape[1:] in (y_pred.shape[2:], y_pred.shape[2:-1], (1,)):
        return (
            "The predictions have a time axis and the labels have none: set "
            "return_sequences=False on the last recurrent layer, or label every step."
        )
    if y_true.dim() > y_pred.dim() - sparse:
        return (
            "The labels have a time axis and the predictions have none: set "
            "return_sequences=True on the last recurrent layer, or give one label for each sample."
        )
    if outputs > 1 and y_true.shape[1:] in (y_pred.shape[1:-1], (*y_pred.shape[1:-1], 1)):
        return _cure_of_many_outputs(loss, outputs)
    return f"Give the last layer {y_true.shape[-1] if y_true.dim() > 1 else 1} units, or reshape y."


def _cure_of_many_outputs(loss: str, outputs: int) -> str:
    if loss == "categorical_crossentropy":
        return f"Use sparse_categorical_crossentropy or one-hot labels with {outputs} columns."
    if loss == "binary_crossentropy":
        return (
            f"Use sparse_categorical_crossentropy with {outputs} softmax outputs, or a last layer "
            "of 1 unit."
        )
    return "Use a last layer of 1 unit, or labels with a column for each output."


def _batched(trailing: torch.Size) -> str:
    return f"(B, {', '.join(map(str, trailing))})" if len(trailing) else "(B,)"
