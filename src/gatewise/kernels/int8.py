"""A sequence through a cell with weights of 8 bits: inference alone, native or as the equation.

``torch.ops.gatewise.int8`` is one operator for every cell, so that ``torch.compile`` and
``torch.export`` see a single node. Its way back is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise import cells
from gatewise.cells import Noise, Specification
from gatewise.cells.int8 import QuantizedMatrix
from gatewise.errors import InputError, UnsupportedError
from gatewise.kernels import cpu_int8
from gatewise.kernels.dispatch import Choice, Request, choose
from gatewise.kernels.ops import library
from gatewise.kernels.recording import active_records
from gatewise.kernels.steering import active_steer

INFERENCE_ALONE = (
    "weights of 8 bits serve inference alone: rounding has no gradient, and no gates are kept"
)
_CELLS = ("lstm", "gru", "simple_rnn")
_KNOWN = ("activation", "recurrent_activation", "reset_after", "reverse")
_SCHEMA = (
    "int8(Tensor x, Tensor[] weights, Tensor[] state, Tensor? mask, Tensor? recurrent_dropout, "
    "str specification, str kernel) -> (Tensor outputs, Tensor[] final_state)"
)


class Int8Weights(NamedTuple):
    """W and U as integers with the scale of each column, and the bias in float32."""

    kernel: Tensor  # (I, G·H), int8
    kernel_scale: Tensor  # (G·H,)
    recurrent_kernel: Tensor  # (H, G·H), int8
    recurrent_kernel_scale: Tensor  # (G·H,)
    bias: Tensor | None  # (G·H,), or (2, G·H)

    def listed(self) -> list[Tensor]:
        """Return those that there are."""
        return [weight for weight in self if weight is not None]


def choose_int8(request: Request) -> Choice:
    """Return what computes a request with weights of 8 bits, with the reason.

    Raises ``UnsupportedError`` for a kernel asked for by name that cannot serve, and for a cell
    with options that these products do not know.
    """
    # A precision is that of other products than these.
    request = replace(request, specification=request.specification.at("float32"))
    options = _further_options(request.specification)
    if options:
        raise UnsupportedError(
            f"Weights of 8 bits serve {', '.join(_CELLS)} as they are, but this cell has "
            f"{', '.join(options)}. Leave it in float32."
        )
    if request.kernel == "cudnn":
        raise UnsupportedError(
            "The kernel 'cudnn' was asked for but cannot serve: cuDNN has no weights of 8 bits. "
            "Use kernel 'auto'."
        )
    choice = choose(request)
    if choice.kernel == "cudnn":
        return Choice("reference", "weights of 8 bits: cuDNN has none, so the equation runs")
    return Choice(choice.kernel, f"{choice.reason}, weights of 8 bits")


def recurrent_int8(
    x: Tensor,
    weights: Int8Weights,
    state: Sequence[Tensor] | None,
    *,
    specification: Specification,
    mask: Tensor | None = None,
    recurrent_dropout: Tensor | None = None,
    kernel: str = "auto",
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a sequence through a cell and return the outputs (B, T, H) and the final state.

    As ``recurrent``, with the products of :mod:`gatewise.cells.int8`: x and h are rounded to 8 bits
    at every step. Everything else is float32.

    Raises ``UnsupportedError`` inside ``recording`` and ``steering``, which need what training
    keeps, and on the way back.
    """
    if not torch.compiler.is_compiling() and _is_looked_into():
        raise UnsupportedError(
            f"This looks at how a model trains, but {INFERENCE_ALONE}. Use the model as it was "
            "before quantize()."
        )
    dtype = weights.kernel_scale.dtype
    if dtype != torch.float32:
        raise InputError(
            f"Weights of 8 bits have scales in float32 but these are {dtype}: the model was cast "
            "after quantize(). Cast it back: model.float()."
        )
    specification, x = specification.at("float32"), x.to(dtype)
    if state is None:
        zeros = x.new_zeros(x.shape[0], weights.recurrent_kernel.shape[0])
        state = [zeros, *(torch.zeros_like(zeros) for _ in specification.states[1:])]
    request = Request(
        specification, x.device.type, dtype, mask is not None, recurrent_dropout is not None, kernel
    )
    chosen = choose_int8(request).kernel
    if not specification.fusable:  # a callable of the user's own has no name for the operator
        return _equation(x, weights, state, mask, recurrent_dropout, specification)
    outputs, final_state = torch.ops.gatewise.int8(
        x, weights.listed(), state, mask, recurrent_dropout, specification.encode(), chosen
    )
    return outputs, tuple(final_state)


def _further_options(specification: Specification) -> list[str]:
    """Return what a cell has beside what :mod:`gatewise.cells.int8` was made for, in words."""
    if specification.cell not in _CELLS:
        return [f"the equation of {specification.cell!r}"]
    return [
        f"{field.name}={getattr(specification, field.name)!r}"
        for field in fields(specification)
        if field.name not in ("cell", *_KNOWN)
        and getattr(specification, field.name) != field.default
    ]


def _is_looked_into() -> bool:
    return active_records() is not None or active_steer() is not None


def _equation(
    x: Tensor,
    weights: Int8Weights,
    state: Sequence[Tensor],
    mask: Tensor | None,
    recurrent_dropout: Tensor | None,
    specification: Specification,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    W = QuantizedMatrix(weights.kernel, weights.kernel_scale)
    U = QuantizedMatrix(weights.recurrent_kernel, weights.recurrent_kernel_scale)
    # A QuantizedMatrix stands where the equations have a tensor: it knows the products they use.
    given: Any = [W, U] if weights.bias is None else [W, U, weights.bias]
    product = cells.input_product(x, given, mask, specification)
    scan = cells.scan(product, given, state, mask, Noise(recurrent_dropout), specification)
    return scan.outputs, scan.final_state


def _run(
    x: Tensor,
    weights: list[Tensor],
    state: list[Tensor],
    mask: Tensor | None,
    recurrent_dropout: Tensor | None,
    specification: str,
    kernel: str,
) -> tuple[Tensor, list[Tensor]]:
    decoded = Specification.decode(specification)
    run = cpu_int8.forward if kernel == "cpu" else _equation
    W, W_scale, U, U_scale, *bias = weights
    given = Int8Weights(W, W_scale, U, U_scale, bias[0] if bias else None)
    outputs, final_state = run(x, given, state, mask, recurrent_dropout, decoded)
    return outputs, list(final_state)


def _fake(
    x: Tensor, weights: list[Tensor], state: list[Tensor], *_: Any
) -> tuple[Tensor, list[Tensor]]:
    (batch, steps), units = x.shape[:2], weights[2].shape[0]
    return x.new_empty(batch, steps, units), [x.new_empty(batch, units) for _ in state]


def _refuse_backward(ctx: Any, *gradients: Any) -> Any:
    raise UnsupportedError(
        f"There is no way back through these layers: {INFERENCE_ALONE}. Train the model first and "
        "call quantize() last."
    )


library.define(_SCHEMA, tags=(torch.Tag.needs_fixed_stride_order, torch.Tag.pt2_compliant_tag))
library.impl("int8", _run, "CompositeExplicitAutograd")
torch.library.register_fake("gatewise::int8", _fake, lib=library)
torch.library.register_autograd("gatewise::int8", _refuse_backward, lib=library)
