"""Masks of series: what is accepted as one, and what a recurrent layer shows at masked steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, where

from gatewise.errors import InputError
from gatewise.layers.layer import as_tensor, sizes


def checked_mask(layer: str, mask: Any, x: Tensor) -> Tensor:
    """Return a mask as a boolean tensor (B, T) beside x; of whole numbers, 0 is masked."""
    mask = as_tensor(mask, like=x)
    if mask.shape != x.shape[:2]:
        raise InputError(
            f"{layer} got a mask of shape {sizes(tuple(mask.shape))} "
            f"for input {sizes(tuple(x.shape))}. "
            f"A mask has one value for each time step: {sizes(tuple(x.shape[:2]))}."
        )
    if mask.is_floating_point():
        raise InputError(
            f"{layer} got a mask of {mask.dtype} but a mask is boolean, True at real steps. "
            "Compare first, for example mask > 0."
        )
    return mask.to(torch.bool)


def shown_outputs(
    outputs: Tensor, mask: Tensor | None, begun_before: bool, backwards: bool, zeroed: bool
) -> Tensor:
    """Return the outputs (B, T, P) as Keras shows them at masked steps.

    The operator carries h there. Keras repeats the last *output*, which before the first real step
    is zero even where an initial state was given (``begun_before``); or all are ``zeroed``.
    """
    if mask is None:
        return outputs
    if zeroed:
        return where(mask.unsqueeze(-1), outputs, 0)
    if not begun_before:
        return outputs
    processed = mask.flip(1) if backwards else mask
    begun = processed.cumsum(1) > 0
    begun = begun.flip(1) if backwards else begun
    return where(begun.unsqueeze(-1), outputs, 0)


def shown_last(
    h: Tensor, mask: Tensor | None, begun_before: bool, backwards: bool, zeroed: bool
) -> Tensor:
    """Return the last output (B, P); at masked steps as in :func:`shown_outputs`."""
    if mask is None:
        return h
    if zeroed:
        return where(mask[:, :1] if backwards else mask[:, -1:], h, 0)
    return where(mask.any(1, keepdim=True), h, 0) if begun_before else h
