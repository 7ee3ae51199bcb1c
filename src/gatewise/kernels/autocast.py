"""What ``torch.autocast`` asks of a cell."""

from __future__ import annotations

import torch

from gatewise.cells import Specification


def under_autocast(specification: Specification, device: str, dtype: torch.dtype) -> Specification:
    """Return the cell as it is to run on this device with weights of this type.

    Under ``torch.autocast("cpu", dtype=torch.bfloat16)`` the products of a float32 cell are in
    bfloat16; the kernels have one type for everything else, and the weights' type loses nothing.

    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     under_autocast(Specification("gru"), "cpu", torch.float32).precision
    'bfloat16'
    """
    if (
        device == "cpu"
        and dtype == torch.float32
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    ):
        return specification.at("bfloat16")
    return specification
