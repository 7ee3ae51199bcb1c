"""The operators: one for each cell, and the three parts of its way back.

``torch.ops.gatewise.lstm`` (``gru``, ``simple_rnn``) runs a whole sequence. Registered by
``torch.library`` with a fake kernel and an autograd formula, it is a single node to
``torch.compile``, ``torch.export`` and the profiler. In eager mode
:mod:`gatewise.kernels.function` wraps the same parts, so that ``torch.func`` and double backward
work too.

The functions here take and return tensors and never differentiate; gradients through time and the
inspector call them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gatewise.cells import GATES, Noise, Specification, units_of
from gatewise.cells.rows import gradient_row, saved_row
from gatewise.errors import UnsupportedError
from gatewise.kernels import cpu, cuda, reference

_KERNELS: dict[str, ModuleType] = {"reference": reference, "cpu": cpu, "cuda": cuda}
PATHS = ("full", "diagonal", "cell")
REDUCTIONS = ("all", "sample", "step")

library = torch.library.Library("gatewise", "DEF")
_NOISE = "Tensor? recurrent_dropout, Tensor? zoneout_h, Tensor? zoneout_c"  # as cells.Noise
_CELL = (
    f"(Tensor x, Tensor[] weights, Tensor[] state, Tensor? mask, {_NOISE}, "
    "str specification, str kernel, bool needs_backward) "
    "-> (Tensor outputs, Tensor[] final_state, Tensor gates, Tensor saved)"
)
_BACKWARD_SCAN = (
    "backward_scan(Tensor? grad_outputs, Tensor[] grad_final_state, Tensor outputs, Tensor gates, "
    f"Tensor saved, Tensor[] weights, Tensor[] state, Tensor? mask, {_NOISE}, "
    "str specification, str kernel, Tensor? scale, str path, bool norms) "
    "-> (Tensor grad_product, Tensor[] grad_state, Tensor norms)"
)
_WEIGHT_GRADIENT = (
    "weight_gradient(Tensor x, Tensor outputs, Tensor gates, Tensor saved, Tensor grad_product, "
    f"Tensor[] weights, Tensor[] state, Tensor? mask, {_NOISE}, "
    "str specification, str kernel, str reduce) -> Tensor[]"
)
_INPUT_GRADIENT = (
    "input_gradient(Tensor grad_product, Tensor[] weights, Tensor? mask, "
    "str specification, str kernel) -> Tensor"
)


class Saved(NamedTuple):
    """What a pass over the sequence returns, and what its way back needs."""

    outputs: Tensor  # (B, T, P), where P is the width of h: H, or that of its projection
    final_state: list[Tensor]  # h (B, P), c (B, H)
    gates: Tensor  # (B, T, G·H)
    saved: Tensor  # (B, T, V), rows of cells.rows.saved_row: c or h U_h + b' first; or empty


def forward(
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    kernel: str,
    needs_backward: bool = True,
) -> Saved:
    """Run a sequence: x (B, T, I), one (B, H) for each state, mask (B, T), noise."""
    operator = getattr(torch.ops.gatewise, specification.cell)
    return Saved(
        *operator(
            x,
            weights,
            state,
            mask,
            *noise,
            specification.encode(),
            kernel,
            needs_backward,
        )
    )


def backward_scan(
    grad_outputs: Tensor | None,
    grad_final_state: Sequence[Tensor],
    saved: Saved,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    kernel: str,
    scale: Tensor | None = None,
    path: str = "full",
    norms: bool = False,
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Go back through time: return the cotangents, dL/d(initial state), norms (B, T, S).

    The cotangents are rows (B, T, R) of ``cells.rows.gradient_row``, which begin with dL/dP (G·H)
    and are nothing more without projection and layer normalization.

    ``scale[t]`` multiplies the cotangent that step t hands to the state before it; ``path`` is one
    of PATHS; the norms are those of dL/dh_t (and dL/dc_t), empty unless asked for.
    """
    return torch.ops.gatewise.backward_scan(
        grad_outputs, grad_final_state, saved.outputs, saved.gates, saved.saved, weights, state,
        mask, *noise, specification.encode(), kernel, scale, path, norms,
    )  # fmt: skip


def kernel_called(name: str) -> ModuleType:
    """Return the kernel's own functions, for callers that say where a result is written."""
    return _KERNELS[name]


def unobserved(kernel: str, x: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether nothing but the kernel would see an operator's call, so that it may run by itself.

    An operator has a name in the profiler, and a dispatch mode or a tensor subclass may take it
    over. Where there is none of these, torch's dispatcher is most of the time of a short sequence.
    """
    return (
        kernel == "cpu"
        and type(x) in _PLAIN
        and all(type(weight) in _PLAIN for weight in weights)
        and not torch._C._len_torch_dispatch_stack()
        and not torch.autograd._profiler_enabled()  # pyright: ignore[reportPrivateImportUsage]
    )


_PLAIN = (Tensor, torch.nn.Parameter)


def weight_gradient(
    x: Tensor,
    saved: Saved,
    grad_product: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    kernel: str,
    reduce: str = "all",
) -> list[Tensor]:
    """Return the gradient of each weight: summed ("all"), or apart for each "sample" or "step".

    Apart they have a leading axis, B or T.
    """
    return torch.ops.gatewise.weight_gradient(
        x, saved.outputs, saved.gates, saved.saved, grad_product, weights, state, mask, *noise,
        specification.encode(), kernel, reduce,
    )  # fmt: skip


def input_gradient(
    grad_product: Tensor,
    weights: Sequence[Tensor],
    mask: Tensor | None,
    specification: Specification,
    kernel: str,
) -> Tensor:
    """Return dL/dx (B, T, I), which is 0 at masked steps."""
    return torch.ops.gatewise.input_gradient(
        grad_product, weights, mask, specification.encode(), kernel
    )


def _run_forward(*arguments: Any) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    *tensors, dropout, zoneout_h, zoneout_c, specification, kernel, needs_backward = arguments
    noise, decoded = Noise(dropout, zoneout_h, zoneout_c), Specification.decode(specification)
    return _KERNELS[kernel].forward(*tensors, noise, decoded, needs_backward)


def _run_backward_scan(*arguments: Any) -> tuple[Tensor, list[Tensor], Tensor]:
    *tensors, dropout, zoneout_h, zoneout_c, specification, kernel, scale, path, norms = arguments
    noise, decoded = Noise(dropout, zoneout_h, zoneout_c), Specification.decode(specification)
    return _KERNELS[kernel].backward_scan(*tensors, noise, decoded, scale, path, norms)


def _run_weight_gradient(*arguments: Any) -> list[Tensor]:
    *tensors, dropout, zoneout_h, zoneout_c, specification, kernel, reduce = arguments
    noise, decoded = Noise(dropout, zoneout_h, zoneout_c), Specification.decode(specification)
    return _KERNELS[kernel].weight_gradient(*tensors, noise, decoded, reduce)


def _run_input_gradient(*arguments: Any) -> Tensor:
    *tensors, specification, kernel = arguments
    return _KERNELS[kernel].input_gradient(*tensors, Specification.decode(specification))


def _fake_forward(
    x: Tensor, weights: list[Tensor], state: list[Tensor], mask: Tensor | None, *others: Any
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    *_, specification, _, needs_backward = others
    if forward_ad._current_level >= 0:
        # torch would give a zero tangent without a word (measured on torch 2.13).
        raise UnsupportedError(
            "Forward-mode differentiation (torch.func.jvp) has no rule for the recurrent operators "
            "under torch.compile. Use torch.func.vjp, grad or jacrev."
        )
    decoded = Specification.decode(specification)
    batch, steps, _ = x.shape
    hidden, columns = weights[1].shape
    row = saved_row(decoded, units_of(weights, decoded))
    saves = needs_backward and decoded.saves
    return (
        x.new_empty(batch, steps, hidden),
        [torch.empty_like(part) for part in state],
        x.new_empty(batch, steps, columns) if needs_backward else x.new_empty(0),
        x.new_empty(batch, steps, row.width) if saves else x.new_empty(0),
    )


def _fake_backward_scan(*arguments: Any) -> tuple[Tensor, list[Tensor], Tensor]:
    _, grad_final_state, outputs, _, _, weights, *others = arguments
    *_, specification, _, _, _, norms = others
    decoded = Specification.decode(specification)
    batch, steps, hidden = outputs.shape
    row = gradient_row(decoded, units_of(weights, decoded), hidden)
    return (
        outputs.new_empty(batch, steps, row.width),
        [torch.empty_like(grad) for grad in grad_final_state],
        outputs.new_empty(batch, steps, len(grad_final_state)) if norms else outputs.new_empty(0),
    )


def _fake_weight_gradient(*arguments: Any) -> list[Tensor]:
    x, _, _, _, _, weights, *_, kernel, reduce = arguments
    if kernel == "cpu" and reduce == "all":
        return cpu.like_weights(weights)
    lead = {"all": (), "sample": (x.shape[0],), "step": (x.shape[1],)}[reduce]
    return [weight.new_empty(*lead, *weight.shape) for weight in weights]


def _fake_input_gradient(grad_product: Tensor, weights: list[Tensor], *others: Any) -> Tensor:
    batch, steps, _ = grad_product.shape
    return grad_product.new_empty(batch, steps, weights[0].shape[0])


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    x, weights, state, mask, *noise, specification, kernel, needs_backward = inputs
    if not needs_backward:
        raise UnsupportedError(
            "The operator was called with needs_backward=False on tensors that require gradients. "
            "Pass needs_backward=True, or call it under torch.no_grad()."
        )
    outputs, _, gates, saved = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, mask, outputs, gates, saved, *noise, *weights, *state)
    ctx.weights, ctx.specification, ctx.kernel = len(weights), specification, kernel


def _backward(ctx: Any, grad_outputs: Tensor | None, grad_final: list[Tensor | None], *_: Any):
    x, mask, outputs, gates, saved, *rest = ctx.saved_tensors
    noise, rest = rest[: len(Noise._fields)], rest[len(Noise._fields) :]
    weights, state = rest[: ctx.weights], rest[ctx.weights :]
    grad_product, grad_state, _ = torch.ops.gatewise.backward_scan(
        grad_outputs, materialize(grad_final, state), outputs, gates, saved, weights, state, mask,
        *noise, ctx.specification, ctx.kernel, None, "full", False,
    )  # fmt: skip
    grad_x, grad_weights = None, [None] * ctx.weights
    if any(ctx.needs_input_grad[1]):
        grad_weights = torch.ops.gatewise.weight_gradient(
            x, outputs, gates, saved, grad_product, weights, state, mask, *noise,
            ctx.specification, ctx.kernel, "all",
        )  # fmt: skip
    if ctx.needs_input_grad[0]:
        grad_x = torch.ops.gatewise.input_gradient(
            grad_product, weights, mask, ctx.specification, ctx.kernel
        )
    return grad_x, grad_weights, grad_state, None, *(None for _ in noise), None, None, None


def materialize(grads: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    """Return the cotangents with zeros where there is none."""
    return [
        torch.zeros_like(state) if grad is None else grad
        for grad, state in zip(grads, like, strict=True)
    ]


def _register(name: str, schema: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> None:
    # A fixed layout for every argument and result, so that the compiler may not choose strides
    # that the kernels would have to copy away.
    tags = (torch.Tag.needs_fixed_stride_order, torch.Tag.pt2_compliant_tag)
    library.define(schema, tags=tags)
    library.impl(name, kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"gatewise::{name}", fake, lib=library)


for _cell in GATES:
    _register(_cell, _cell + _CELL, _run_forward, _fake_forward)
    torch.library.register_autograd(
        f"gatewise::{_cell}", _backward, setup_context=_save_for_backward, lib=library
    )
_register("backward_scan", _BACKWARD_SCAN, _run_backward_scan, _fake_backward_scan)
_register("weight_gradient", _WEIGHT_GRADIENT, _run_weight_gradient, _fake_weight_gradient)
_register("input_gradient", _INPUT_GRADIENT, _run_input_gradient, _fake_input_gradient)
