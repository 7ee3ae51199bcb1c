"""Checks of the arguments of ``LSTM``, ``GRU`` and ``RNN``: as strict as torch.nn's."""

from __future__ import annotations

import math
import warnings

from gatewise.errors import InputError, unknown_name
from gatewise.kernels.dispatch import KERNELS


def check_sizes(
    name: str, input_size: int, hidden_size: int, num_layers: int, proj_size: int
) -> None:
    """Refuse sizes that are not whole numbers in range."""
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for argument, size in sizes.items():
        if not _is_int(size) or size < 1:
            raise InputError(
                f"{name} expected {argument} to be an int of 1 or more but got {size!r}."
            )
    if not _is_int(proj_size) or proj_size < 0:
        raise InputError(
            f"{name} expected proj_size to be an int of 1 or more, or 0 for no projection, "
            f"but got {proj_size!r}."
        )
    if proj_size >= hidden_size:
        raise InputError(
            f"{name} expected proj_size below hidden_size={hidden_size} but got {proj_size}. "
            "Use 0 for no projection."
        )


def check_flags(name: str, **flags: object) -> None:
    """Refuse flags that are not bools: the classic slip is one positional argument too few."""
    for argument, flag in flags.items():
        if not isinstance(flag, bool):
            raise InputError(
                f"{name} expected {argument} to be True or False but got {flag!r}. "
                f"Pass it by keyword: {argument}=True."
            )


def check_dropout(name: str, dropout: object, num_layers: int) -> float:
    """Return the dropout between layers as a float; warn, as torch does, if there is one layer."""
    if (
        isinstance(dropout, bool)
        or not isinstance(dropout, (int, float))
        or math.isnan(dropout)
        or not 0 <= dropout <= 1
    ):
        raise InputError(
            f"{name} expected dropout in [0, 1], the probability that an element is zeroed, "
            f"but got {dropout!r}."
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            f"{name} applies dropout between its layers, so dropout={dropout} does nothing with "
            "num_layers=1. Add a torch.nn.Dropout after it, or set num_layers=2 or more.",
            stacklevel=4,
        )
    return float(dropout)


def check_kernel(kernel: str) -> str:
    """Return the kernel's name if there is such a kernel."""
    if kernel not in ("auto", *KERNELS):
        raise unknown_name("kernel", kernel, ("auto", *KERNELS))
    return kernel


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
