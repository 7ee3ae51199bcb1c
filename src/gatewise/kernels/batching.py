"""Batches of batches, which ``torch.vmap`` makes: N batches of B rows as one of N·B rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Results = tuple[Tensor, ...]


def mapped(
    size: int,
    in_dims: Sequence[int | None],
    tensors: Sequence[Tensor | None],
    weights: range,
    together: Callable[..., Results],
    alone: Callable[..., Results],
) -> tuple[Results, tuple[int, ...]]:
    """Run N batches as one batch of N·B rows, or, with a weight set for each, one after the other.

    ``weights`` are the positions of the weights among the tensors; ``together`` is called with the
    merged tensors, ``alone`` with the n-th of each.
    """
    leading = [
        tensor if tensor is None or dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, in_dims, strict=True)
    ]
    if all(in_dims[position] is None for position in weights):
        results = together(*_merged(size, in_dims, leading, weights))
    else:
        runs = [
            alone(
                *(
                    tensor if tensor is None or dim is None else tensor[n]
                    for tensor, dim in zip(leading, in_dims, strict=True)
                )
            )
            for n in range(size)
        ]
        results = tuple(torch.stack(parts) for parts in zip(*runs, strict=True))
    return results, (0,) * len(results)


def _merged(
    size: int,
    in_dims: Sequence[int | None],
    leading: Sequence[Tensor | None],
    weights: range,
) -> list[Tensor | None]:
    """Return the tensors with (N, B, …) merged into (N·B, …); the weights stay as they are."""
    merged: list[Tensor | None] = []
    for position, (tensor, dim) in enumerate(zip(leading, in_dims, strict=True)):
        if tensor is None or position in weights:
            merged.append(tensor)
            continue
        if dim is None:
            tensor = tensor.expand(size, *tensor.shape)
        # A tensor of (N, 0) is a placeholder for something that was not saved.
        merged.append(tensor.flatten(0, 1) if tensor.dim() > 2 else tensor.flatten())
    return merged


def unmerged(tensor: Tensor, size: int) -> Tensor:
    """Return (N·B, …) as (N, B, …); the empty placeholder gets an axis of N."""
    if tensor.dim() == 1:
        return tensor.expand(size, 0)
    return tensor.unflatten(0, (size, -1))
