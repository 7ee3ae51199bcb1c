"""What an initializer is, and what several of them are made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Initialize = Callable[..., Tensor]
InitializerLike = str | dict[str, Any] | Initialize


@dataclass(frozen=True)
class Initializer:
    """The base of the initializers; a subclass fills a tensor in ``__call__``."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype).")


def drawing_from(seed: int | None) -> torch.Generator | None:
    """Return a fresh generator, so that a seed repeats itself; None is torch's own."""
    if seed is None:
        return None
    return torch.Generator(device=torch.get_default_device()).manual_seed(seed)


def orthonormal(
    rows: int, columns: int, dtype: torch.dtype | None, generator: torch.Generator | None
) -> Tensor:
    """Return a random matrix whose rows or columns, whichever are fewer, are orthonormal."""
    tall = (max(rows, columns), min(rows, columns))
    q, r = torch.linalg.qr(torch.normal(0.0, 1.0, tall, dtype=dtype, generator=generator))
    # The sign makes Q uniform over the orthogonal matrices, whatever the QR routine prefers.
    q = q * r.diagonal().sign()
    return q.T if rows < columns else q
