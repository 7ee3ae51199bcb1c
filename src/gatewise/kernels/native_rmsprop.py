"""An RMSprop step in one native pass over the weights and the optimizer's state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.errors import InputError
from gatewise.kernels.native import DTYPES, available, compiled
from gatewise.kernels.native_call import address


class Rates(NamedTuple):
    """The numbers of an RMSprop step, in the order in which the compiled module takes them."""

    learning_rate: float
    rho: float
    momentum: float
    epsilon: float


def serves(lists: Iterable[Sequence[Tensor]]) -> bool:
    """Return whether :func:`step` takes these: plain, contiguous, on the CPU, of one type."""
    if not available() or torch.compiler.is_compiling():
        return False
    types = set()
    for tensors in lists:
        for tensor in tensors:
            if (
                type(tensor) not in (Tensor, torch.nn.Parameter)
                or tensor.device.type != "cpu"
                or not tensor.is_contiguous()
                or tensor.is_neg()
            ):
                return False
            types.add(tensor.dtype)
    return len(types) == 1 and types <= set(DTYPES)


def step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    velocities: Sequence[Tensor],
    momentums: Sequence[Tensor] | None,
    averages: Sequence[Tensor] | None,
    rates: Rates,
) -> None:
    """Take one RMSprop step in one pass, in place; for tensors that :func:`serves` takes.

    The bits do not depend on the number of threads or the instruction set. Denormal numbers are
    flushed to zero.
    """
    nothing = [None] * len(parameters)
    tensors = []
    for parameter, *others in zip(
        parameters, gradients, velocities, momentums or nothing, averages or nothing, strict=True
    ):
        for other in others:
            if other is not None and other.shape != parameter.shape:
                raise InputError(
                    f"RMSprop expected a gradient and state of shape {tuple(parameter.shape)}, the "
                    f"weight's own, but got {tuple(other.shape)}."
                )
        addresses = (parameter.data_ptr(), *map(address, others))
        tensors.append((*addresses, parameter.numel()))
    is_double = parameters[0].dtype == torch.float64
    compiled().rmsprop(is_double, tensors, tuple(rates), torch.get_num_threads())
    # Written past torch, which must still refuse to go back through an older value.
    torch.autograd.graph.increment_version([*parameters])
