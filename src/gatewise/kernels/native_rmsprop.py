"""An RMSprop step in one native pass over the weights and the optimizer's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.errors import InputError
from gatewise.kernels.native import DTYPES, available, compiled, is_plain


class Rates(NamedTuple):
    """The numbers of an RMSprop step, in the order in which the compiled module takes them."""

    learning_rate: float
    rho: float
    momentum: float
    epsilon: float


def step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    velocities: Sequence[Tensor],
    momentums: Sequence[Tensor] | None,
    averages: Sequence[Tensor] | None,
    rates: Rates,
) -> bool:
    """Take one RMSprop step in one pass, in place; return whether these are tensors for it.

    Those are plain, contiguous, on the CPU and of one type; of others none is changed. The bits do
    not depend on the number of threads or the instruction set. Denormal numbers are flushed to
    zero.
    """
    if not available() or torch.compiler.is_compiling():
        return False
    dtype = parameters[0].dtype
    if dtype not in DTYPES:
        return False
    nothing = [None] * len(parameters)
    tensors = []
    for parameter, *others in zip(
        parameters, gradients, velocities, momentums or nothing, averages or nothing, strict=True
    ):
        shape = parameter.shape
        for tensor in (parameter, *others):
            if tensor is None:
                continue
            if not is_plain(tensor, dtype):
                return False
            if tensor.shape != shape:
                raise InputError(
                    f"RMSprop expected a gradient and state of shape {tuple(shape)}, the weight's "
                    f"own, but got {tuple(tensor.shape)}."
                )
        tensors.append((parameter, *others, parameter.numel()))
    compiled().rmsprop(dtype == torch.float64, tensors, rates, torch.get_num_threads())
    # Written past torch, which must still refuse to go back through an older value.
    torch.autograd.graph.increment_version([*parameters])
    return True
