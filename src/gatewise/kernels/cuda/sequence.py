"""A sequence through the GPU kernels, forward and back; its arguments are those of the reference.

The products over all time steps (x W, and the gradients of the weights and of x) are cuBLAS's.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.cells import Noise, Specification, Weights
from gatewise.kernels import reference
from gatewise.kernels.cuda.build import kernel, missing
from gatewise.kernels.cuda.layout import Layout
from gatewise.kernels.cuda.plan import holds, nanoseconds, plan

# Up to 192 units cuDNN has kernels for the whole sequence, too: of an LSTM it took 5 to 8
# microseconds for a time step of training on an H100, of a GRU 3 to 5; beyond them 28 and more
# (docs/gpu.md). These are what plan.nanoseconds gives where both take about the same.
_MOST_PERSISTENT, _STANDARD = 192, 22000.0
_PERSISTENT = {"lstm": 6000.0}
_OTHERS_PERSISTENT = 2500.0

_POINTERS_FIRST = (
    "product", "recurrent", "bias", "recurrent_bias", "peepholes", "state_h", "state_c", "mask",
    "dropout", "zoneout_h", "zoneout_c", "outputs", "activated", "saved", "final_h", "final_c",
    "fragments", "grad_outputs", "grad_final_h", "grad_final_c", "scale", "grad_product",
)  # fmt: skip


class _Sequence(ctypes.Structure):
    """The argument of both kernels, ``Sequence`` of ``source/layout.cuh``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS_FIRST),
        ("batch", ctypes.c_int),
        ("time", ctypes.c_int),
        ("reverse", ctypes.c_int),
        ("clip", ctypes.c_float),
    )


def refusal(specification: Specification, dtype: torch.dtype, units: int) -> str | None:
    """Return why the GPU kernels cannot serve a cell with weights of this type, or None.

    ``units`` is 0 where it is not known.
    """
    if dtype != torch.float32:
        return f"the GPU kernels are for float32 weights, and these are {dtype}"
    if specification.cell == "gru" and not specification.reset_after:
        return "the GPU kernels' GRU resets after the product"
    for option in ("projection", "layer_norm"):
        if getattr(specification, option):
            return f"the GPU kernels have no {option}"
    if not torch.cuda.is_available() or torch.version.hip is not None:
        return "torch finds no NVIDIA GPU here"
    # Clusters begin with 9; later GPUs have them too, but not all of 16 blocks and as much memory.
    if torch.cuda.get_device_capability()[0] != 9:
        return "the GPU kernels were made and tested for compute capability 9 (H100, H200)"
    device = torch.cuda.current_device()
    if units and not holds(len(specification.gates), units, specification.precision, device):
        return f"the GPU kernels do not hold {units} units"
    return missing()


def worthwhile(specification: Specification, units: int, batch: int) -> bool:
    """Whether the GPU kernels should be faster than cuDNN, by what was measured on an H100.

    ``units`` is 0 where it is not known, and ``batch`` then is of no use.
    """
    if not units:
        return False
    time = nanoseconds(
        len(specification.gates), units, specification.precision, batch,
        torch.cuda.current_device(),
    )  # fmt: skip
    if units > _MOST_PERSISTENT:
        return time <= _STANDARD
    return time <= _PERSISTENT.get(specification.cell, _OTHERS_PERSISTENT)


def forward(
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    needs_backward: bool,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Return the outputs (B, T, H), the final state, the activated gates and what else is saved."""
    named, (batch, steps, _) = Weights.of(weights, specification), x.shape
    if batch == 0 or steps == 0:
        return reference.forward(x, weights, state, mask, noise, specification, needs_backward)
    hidden, columns = named.U.shape
    product = _product(x.reshape(batch * steps, -1), named.W, specification.precision)
    outputs = x.new_empty(batch, steps, hidden)
    final = [torch.empty_like(part, memory_format=torch.contiguous_format) for part in state]
    nothing = x.new_empty(0)
    gates = x.new_empty(batch, steps, columns) if needs_backward else nothing
    saves = needs_backward and specification.saves
    saved = x.new_empty(batch, steps, hidden) if saves else nothing.clone()
    layout = plan(
        "forward", len(specification.gates), hidden, specification.precision, batch, x.get_device()
    )
    given = _given(named, state, mask, noise, specification)
    given |= {
        "product": product, "outputs": outputs, "saved": saved,
        "activated": gates if needs_backward else None, "final_h": final[0],
        "final_c": final[-1],
    }  # fmt: skip
    _launch("forward", layout, given, batch, steps, specification, x)
    return outputs, final, gates, saved


def backward_scan(
    grad_outputs: Tensor | None,
    grad_final_state: Sequence[Tensor],
    outputs: Tensor,
    gates: Tensor,
    saved: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    scale: Tensor | None,
    path: str,
    norms: bool,
    grad_product: Tensor | None = None,
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Return the cotangents dL/dP (B, T, G·H), dL/d(initial state) and, when asked for, the norms.

    Norms, and the ways that do not pass all of U, are the reference's.
    """
    batch, steps, columns = gates.shape
    if path != "full" or norms or batch == 0 or steps == 0:
        return reference.backward_scan(
            grad_outputs, grad_final_state, outputs, gates, saved, weights, state, mask, noise,
            specification, scale, path, norms, grad_product,
        )  # fmt: skip
    found = gates.new_empty(batch, steps, columns) if grad_product is None else grad_product
    grads = [torch.empty_like(part, memory_format=torch.contiguous_format) for part in state]
    named, final = Weights.of(weights, specification), [g.contiguous() for g in grad_final_state]
    layout = plan(
        "backward", len(specification.gates), named.U.shape[0], specification.precision, batch,
        gates.get_device(),
    )  # fmt: skip
    given = _given(named, state, mask, noise, specification)
    given |= {
        "outputs": outputs.contiguous(), "activated": gates.contiguous(),
        "saved": saved.contiguous(), "final_h": grads[0], "final_c": grads[-1],
        "grad_outputs": None if grad_outputs is None else grad_outputs.contiguous(),
        "grad_final_h": final[0], "grad_final_c": final[-1],
        "scale": None if scale is None else scale.contiguous(), "grad_product": found,
    }  # fmt: skip
    _launch("backward", layout, given, batch, steps, specification, gates)
    return found, grads, gates.new_empty(0)


def weight_gradient(
    x: Tensor,
    outputs: Tensor,
    gates: Tensor,
    saved: Tensor,
    grad_product: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    reduce: str,
) -> list[Tensor]:
    """Return the gradient of each weight: summed, or apart for each sample or time step."""

    def contracted(left: Tensor, right: Tensor) -> Tensor:
        return _product(left.flatten(0, 1).t(), right.flatten(0, 1), specification.precision)

    return reference.weight_gradient(
        x, outputs, gates, saved, grad_product, weights, state, mask, noise, specification, reduce,
        contracted if reduce == "all" else None,
    )  # fmt: skip


def input_gradient(
    grad_product: Tensor,
    weights: Sequence[Tensor],
    mask: Tensor | None,
    specification: Specification,
) -> Tensor:
    """Return dL/dx (B, T, I); 0 at masked steps."""
    found = _product(grad_product.flatten(0, 1), weights[0].t(), specification.precision)
    return reference.only_real(found.unflatten(0, grad_product.shape[:2]), mask)


def _product(left: Tensor, right: Tensor, precision: str) -> Tensor:
    """Return left (M, K) times right (K, N), with operands in bfloat16 where that is asked for."""
    with reference.full_precision(left):
        if precision == "bfloat16":
            half = torch.bfloat16
            return torch.mm(left.to(half), right.to(half), out_dtype=torch.float32)
        return torch.mm(left, right)


def _given(
    weights: Weights,
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
) -> dict[str, Tensor | None]:
    """Return what both directions are given, by the names of ``Sequence``."""
    bias = weights.bias
    two = specification.two_biases and bias is not None
    found = {
        "recurrent": weights.U, "bias": bias[0] if two and bias is not None else bias,
        "recurrent_bias": bias[1] if two and bias is not None else None,
        "peepholes": weights.peephole,
        "state_h": state[0], "state_c": state[-1], "mask": mask,
        "dropout": noise.recurrent_dropout, "zoneout_h": noise.zoneout_h,
        "zoneout_c": noise.zoneout_c,
    }  # fmt: skip
    return {name: None if part is None else part.contiguous() for name, part in found.items()}


def _launch(
    direction: str,
    layout: Layout,
    given: dict[str, Tensor | None],
    batch: int,
    steps: int,
    specification: Specification,
    like: Tensor,
) -> None:
    given["fragments"] = like.new_empty(layout.fragment_bytes // 4)
    pointers = {name: None if part is None else part.data_ptr() for name, part in given.items()}
    clip = math.inf if specification.cell_clip is None else specification.cell_clip
    argument = _Sequence(
        **pointers, batch=batch, time=steps, reverse=specification.reverse, clip=clip
    )
    with torch.cuda.device(like.device):
        kernel(direction, specification, layout, like.get_device()).launch(
            layout.clusters(batch) * layout.blocks, argument
        )
