"""What ``torch.autocast`` asks of a cell."""

from __future__ import annotations

import torch

from gatewise.cells import Specification


def under_autocast(specification: Specification, device: str, dtype: torch.dtype) -> Specification:
    """Return the cell as it is to run on this device with weights of this type.

    Under ``torch.autocast`` to bfloat16, on the CPU or a GPU, the products of a float32 cell are in
    bfloat16; the kernels have one type for everything else, and the weights' type loses nothing.

    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     under_autocast(Specification("gru"), "cpu", torch.float32).precision
    'bfloat16'
    """
    if (
        device in ("cpu", "cuda")
        and dtype == torch.float32
        and torch.is_autocast_enabled(device)
        and torch.get_autocast_dtype(device) == torch.bfloat16
    ):
        return specification.at("bfloat16")
    return specification
