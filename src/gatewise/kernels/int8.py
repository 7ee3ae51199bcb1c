"""A sequence through a cell with weights of 8 bits: inference alone, native or as the equation.

``torch.ops.gatewise.int8`` is one operator for every cell, so that ``torch.compile`` and
``torch.export`` see a single node. Its way back is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise import cells
from gatewise.cells import NO_NOISE, Noise, Specification
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
MATRICES = ("kernel", "recurrent_kernel", "projection")
"""The weights that are held as integers, where there are such; each has a scale beside it."""
_CELLS = ("lstm", "cifg", "gru", "simple_rnn")
_KNOWN = {
    *("cell", "activation", "recurrent_activation", "reset_after", "reverse"),
    *("peephole", "cell_clip", "projection", "layer_norm"),
}
_SCHEMA = (
    "int8(Tensor x, Tensor[] weights, Tensor[] state, Tensor? mask, Tensor? recurrent_dropout, "
    "Tensor? zoneout_h, Tensor? zoneout_c, str specification, str kernel) "
    "-> (Tensor outputs, Tensor[] final_state)"
)


class Int8Weights(NamedTuple):
    """The MATRICES as integers with the scale of each column, and all else in float32.

    The order is that of `cells.Weights`; what the cell does not have is None.
    """

    kernel: Tensor  # (I, G·H), int8
    kernel_scale: Tensor  # (G·H,)
    recurrent_kernel: Tensor  # (P, G·H), int8
    recurrent_kernel_scale: Tensor  # (G·H,)
    bias: Tensor | None = None  # (G·H,), or (2, G·H)
    peephole: Tensor | None = None  # a row (H,) for each gate that has one
    projection: Tensor | None = None  # (H, P), int8
    projection_scale: Tensor | None = None  # (P,)
    input_gain: Tensor | None = None  # (G·H,)
    recurrent_gain: Tensor | None = None  # (G·H,)
    cell_gain: Tensor | None = None  # (H,)
    cell_bias: Tensor | None = None  # (H,)

    @staticmethod
    def of(weights: Sequence[Tensor], specification: Specification) -> Int8Weights:
        """Take apart what :meth:`listed` returned.

        >>> integers, scale = torch.ones(2, 8, dtype=torch.int8), torch.ones(8)
        >>> small = Int8Weights(integers, scale, integers, scale, peephole=torch.ones(3, 2))
        >>> taken = Int8Weights.of(small.listed(), Specification("lstm", peephole=True))
        >>> taken.bias is None, taken.peephole is small.peephole
        (True, True)
        """
        names, extra = specification.extra_weights, list[str]()
        if not names:
            return Int8Weights(*weights)
        for name in names:
            extra += [name, f"{name}_scale"] if name in MATRICES else [name]
        count = len(weights) - len(extra)
        named = dict(zip(extra, weights[count:], strict=True))
        return Int8Weights(*weights[:count], **named)

    def listed(self) -> list[Tensor]:
        """Return those that there are."""
        return [weight for weight in self if weight is not None]

    def of_cell(self, specification: Specification) -> list[Any]:
        """Return what the equations take: W, U, the bias if there is one, and the extra weights.

        A QuantizedMatrix stands where they have a matrix: it knows the products they use.
        """
        biased = () if self.bias is None else ("bias",)
        names = ("kernel", "recurrent_kernel", *biased, *specification.extra_weights)
        return [
            QuantizedMatrix(getattr(self, name), getattr(self, f"{name}_scale"))
            if name in MATRICES
            else getattr(self, name)
            for name in names
        ]


def choose_int8(request: Request) -> Choice:
    """Return what computes a request with weights of 8 bits, with the reason.

    Raises ``UnsupportedError`` for a kernel asked for by name that cannot serve, and for a cell
    with options that these products do not know.
    """
    # A precision is that of other products than these.
    request = request._replace(specification=request.specification.at("float32"))
    options = _further_options(request.specification)
    if options:
        raise UnsupportedError(
            f"Weights of 8 bits serve {', '.join(_CELLS)} and their options, but this cell has "
            f"{', '.join(options)}. Leave it in float32."
        )
    if request.kernel in ("cudnn", "cuda"):
        raise UnsupportedError(
            f"The kernel {request.kernel!r} was asked for but cannot serve: it has no weights of 8 "
            "bits. Use kernel 'auto'."
        )
    choice = choose(request)
    if choice.kernel in ("cudnn", "cuda"):
        return Choice("reference", "weights of 8 bits, which no GPU kernel has: the equation runs")
    return Choice(choice.kernel, f"{choice.reason}, weights of 8 bits")


def recurrent_int8(
    x: Tensor,
    weights: Int8Weights,
    state: Sequence[Tensor] | None,
    *,
    specification: Specification,
    mask: Tensor | None = None,
    noise: Noise = NO_NOISE,
    kernel: str = "auto",
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a sequence through a cell and return the outputs (B, T, P) and the final state.

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
        units = weights.kernel.shape[1] // len(specification.gates)
        widths = (weights.recurrent_kernel.shape[0], units)[: len(specification.states)]
        state = [x.new_zeros(x.shape[0], width) for width in widths]
    request = Request(
        specification,
        x.device.type,
        dtype,
        mask is not None,
        noise.recurrent_dropout is not None,
        kernel,
        zoneout=noise.zones,
    )
    chosen = choose_int8(request).kernel
    if not specification.fusable:  # a callable of the user's own has no name for the operator
        return _equation(x, weights, state, mask, noise, specification)
    outputs, final_state = torch.ops.gatewise.int8(
        x, weights.listed(), state, mask, *noise, specification.encode(), chosen
    )
    return outputs, tuple(final_state)


def _further_options(specification: Specification) -> list[str]:
    """Return what a cell has beside what :mod:`gatewise.cells.int8` was made for, in words."""
    if specification.cell not in _CELLS:
        return [f"the equation of {specification.cell!r}"]
    return [
        f"{field.name}={getattr(specification, field.name)!r}"
        for field in fields(specification)
        if field.init
        and field.name not in _KNOWN
        and getattr(specification, field.name) != field.default
    ]


def _is_looked_into() -> bool:
    return active_records() is not None or active_steer() is not None


def _equation(
    x: Tensor,
    weights: Int8Weights,
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    given = weights.of_cell(specification)
    product = cells.input_product(x, given, mask, specification)
    scan = cells.scan(product, given, state, mask, noise, specification)
    return scan.outputs, scan.final_state


def _run(
    x: Tensor,
    weights: list[Tensor],
    state: list[Tensor],
    mask: Tensor | None,
    recurrent_dropout: Tensor | None,
    zoneout_h: Tensor | None,
    zoneout_c: Tensor | None,
    specification: str,
    kernel: str,
) -> tuple[Tensor, list[Tensor]]:
    decoded = Specification.decode(specification)
    run = cpu_int8.forward if kernel == "cpu" else _equation
    given = Int8Weights.of(weights, decoded)
    noise = Noise(recurrent_dropout, zoneout_h, zoneout_c)
    outputs, final_state = run(x, given, state, mask, noise, decoded)
    return outputs, list(final_state)


def _fake(
    x: Tensor, weights: list[Tensor], state: list[Tensor], *_: Any
) -> tuple[Tensor, list[Tensor]]:
    hidden = weights[2].shape[0]
    return x.new_empty(*x.shape[:2], hidden), [torch.empty_like(part) for part in state]


def _refuse_backward(ctx: Any, *gradients: Any) -> Any:
    raise UnsupportedError(
        f"There is no way back through these layers: {INFERENCE_ALONE}. Train the model first and "
        "call quantize() last."
    )


library.define(_SCHEMA, tags=(torch.Tag.needs_fixed_stride_order, torch.Tag.pt2_compliant_tag))
library.impl("int8", _run, "CompositeExplicitAutograd")
torch.library.register_fake("gatewise::int8", _fake, lib=library)
torch.library.register_autograd("gatewise::int8", _refuse_backward, lib=library)
