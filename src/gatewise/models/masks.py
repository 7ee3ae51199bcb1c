"""Masks as they travel beside the tensors, from layer to layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gatewise.layers import Embedding, Layer, Masking


def mask_after(layer: Layer, x: Any, mask: Any) -> Any:
    """Return the mask of a layer's output; a step that the caller masked stays masked."""
    made = layer.compute_mask(x, mask)
    if mask is None or not isinstance(layer, (Embedding, Masking)):
        return made
    return mask if made is None else made & mask


def mask_of_each(mask: Any, results: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """Return one mask a result: a single one belongs to the first, states have none."""
    listed = mask if isinstance(mask, (list, tuple)) else (mask,)
    return (*listed, *(None for _ in results[len(listed) :]))
