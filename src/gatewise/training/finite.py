"""Whether gradients and weights are finite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.kernels import cpu


def finite(tensors: Sequence[Tensor]) -> bool:
    """Return whether no tensor holds a NaN or an infinity.

    >>> finite([torch.ones(2), torch.tensor([1.0, float("nan")])])
    False
    """
    found = cpu.all_finite(tensors)
    if found is not None:
        return found
    # A sum is the cheapest look at a tensor: no NaN or infinity gets lost in it. That of large
    # finite numbers may overflow, so a sum that is not finite asks for the longer look. The sums
    # come from the device together.
    sums = torch.stack([tensor.sum() for tensor in tensors])
    return bool(torch.isfinite(sums).all()) or all(
        bool(torch.isfinite(tensor).all()) for tensor in tensors
    )
