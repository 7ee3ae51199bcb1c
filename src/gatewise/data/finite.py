"""NaN and infinity found in the data before they reach the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.errors import NonFiniteError


def check_finite(x: Any, mask: Tensor | None = None, *, name: str = "x") -> None:
    """Raise `NonFiniteError` for the first NaN or infinity in `x`, naming sample, step and channel.

    `x` is an array or tensor with samples along the first axis and steps along the second, `(B, T,
    I)` or `(B, T)` or `(B,)`, or a list of series `(T_i, I)`. What lies at steps that `mask` `(B,
    T)` marks False is padding and may be anything. Whole numbers are always finite.

    >>> check_finite([[[0.0]], [[1.0], [float("nan")]]])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gatewise.errors.NonFiniteError: x holds nan at sample 1, step 1, channel 0. Remove the sample...
    """
    if isinstance(x, Sequence):
        for sample, series in enumerate(x):
            _raise_at_first(torch.as_tensor(series), None, name, (sample,))
    else:
        _raise_at_first(torch.as_tensor(x), mask, name, ())


def _raise_at_first(
    values: Tensor, mask: Tensor | None, name: str, before: tuple[int, ...]
) -> None:
    if not values.is_floating_point():
        return
    # A sum is finite unless a value is not (or it overflows): one pass without a temporary of x's
    # size.
    if mask is None and bool(torch.isfinite(values.sum())):
        return
    wrong = ~torch.isfinite(values)
    if mask is not None:
        wrong &= mask.reshape(*mask.shape, *(1,) * (values.ndim - mask.ndim))
    if not bool(wrong.any()):
        return
    place = tuple(int(at) for at in wrong.nonzero()[0])
    words = ("sample", "step", "channel")
    where = ", ".join(f"{word} {at}" for word, at in zip(words, (*before, *place), strict=False))
    raise NonFiniteError(
        f"{name} holds {values[place].item()} at {where}. "
        "Remove the sample, or fill the gap before training."
    )
