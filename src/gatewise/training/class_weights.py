"""Weights of samples after their classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gatewise.errors import InputError


def weigh_classes(
    y: Tensor, class_weight: Mapping[int, float], sparse: bool, like: Tensor
) -> Tensor:
    """Return a weight for each label; a class that is not mentioned weighs 1.

    Labels are classes (N,) or (N, 1), one-hot rows (N, C), or the same for each step of a
    sequence, (N, T, 1) or (N, T, C); with `sparse`, each number of (N, T) is the class of a step.

    >>> y = torch.tensor([0, 1, 1])
    >>> weigh_classes(y, {1: 3.0}, False, torch.ones(1))
    tensor([1., 3., 3.])
    """
    if not isinstance(class_weight, Mapping):
        raise InputError(
            f"class_weight maps classes to weights, such as {{0: 1.0, 1: 3.0}}, but got "
            f"{class_weight!r}."
        )
    classes = y
    if y.ndim > 1 and y.shape[-1] == 1:
        classes = y[..., 0]
    elif y.ndim > 2 or (y.ndim == 2 and not sparse):
        classes = y.argmax(dim=-1)
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    weights = torch.ones(classes.shape, dtype=dtype, device=y.device)
    rounded = classes.round() if classes.is_floating_point() else classes
    for label, weight in class_weight.items():
        weights[rounded == label] = float(weight)
    return weights
