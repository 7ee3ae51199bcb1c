"""Masks as they travel beside the tensors, from layer to layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.layers import Embedding, Layer, Masking


class MaskStep(NamedTuple):
    """What a layer did with a mask: whether it received one, handed one on, and looked at it."""

    layer: str
    received: bool
    made: bool
    used: bool


_WATCHED: ContextVar[list[MaskStep] | None] = ContextVar("watched", default=None)


@contextmanager
def watching_masks() -> Iterator[list[MaskStep]]:
    """Note what each layer that runs in the block does with a mask."""
    steps: list[MaskStep] = []
    token = _WATCHED.set(steps)
    try:
        yield steps
    finally:
        _WATCHED.reset(token)


def mask_after(layer: Layer, x: Any, mask: Any) -> Any:
    """Return the mask of a layer's output; a step that the caller masked stays masked."""
    made = layer.compute_mask(x, mask)
    if mask is not None and isinstance(layer, (Embedding, Masking)):
        made = mask if made is None else made & mask
    # torch's compiler traces no context variables, and nobody watches what it runs.
    watched = None if torch.compiler.is_compiling() else _WATCHED.get()
    if watched is not None:
        received = any(one is not None for one in (mask if isinstance(mask, list) else [mask]))
        watched.append(MaskStep(layer.name, received, made is not None, layer.takes_mask))
    return made


def mask_of_each(mask: Any, results: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """Return one mask a result: a single one belongs to the first, states have none."""
    listed = mask if isinstance(mask, (list, tuple)) else (mask,)
    return (*listed, *(None for _ in results[len(listed) :]))
