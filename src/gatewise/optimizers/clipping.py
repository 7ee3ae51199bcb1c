"""Bounds on gradients, out of place: what `parameter.grad` holds stays as backward left it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.optimizers import foreach


def clip_by_value(gradients: list[Tensor], bound: float) -> Sequence[Tensor]:
    """Return each number brought into [-bound, bound].

    >>> clip_by_value([torch.tensor([-3.0, 0.5])], 1.0)[0].tolist()
    [-1.0, 0.5]
    """
    clipped = foreach.clamp_max(gradients, bound)
    foreach.clamp_min_(clipped, -bound)
    return clipped


def clip_by_norm(gradients: list[Tensor], bound: float) -> Sequence[Tensor]:
    """Return each tensor scaled so that its own L2 norm is at most `bound`.

    >>> clip_by_norm([torch.tensor([3.0, 4.0]), torch.tensor([0.5])], 1.0)
    (tensor([0.6000, 0.8000]), tensor([0.5000]))
    """
    norms = foreach.norm(gradients)
    return foreach.mul(gradients, [bound / norm.clamp(min=bound) for norm in norms])


def clip_by_global_norm(gradients: list[Tensor], bound: float) -> Sequence[Tensor]:
    """Return all tensors scaled by one factor so that their joint L2 norm is at most `bound`.

    An infinite norm makes every gradient NaN, so that it is noticed.

    >>> clip_by_global_norm([torch.tensor([3.0]), torch.tensor([4.0])], 1.0)
    (tensor([0.6000]), tensor([0.8000]))
    """
    norm = torch.linalg.vector_norm(torch.stack(foreach.norm(gradients)))
    scale = bound / norm.clamp(min=bound) + (norm - norm)
    return foreach.mul(gradients, scale)
