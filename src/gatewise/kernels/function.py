"""The operator in eager mode: an ``autograd.Function`` over the same parts.

It adds to the registered operator what ``torch.library`` cannot: per-sample gradients under
``torch.func`` (a batch of batches is folded into one batch) and a second derivative (the way back
is itself a Function, whose own derivative comes from the differentiable equation). Forward mode has
no rule here, so torch raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gatewise import cells
from gatewise.cells import GATES, Noise, Specification
from gatewise.kernels import cpu, ops
from gatewise.kernels.batching import mapped, unmerged
from gatewise.kernels.cpu import Gradients
from gatewise.kernels.recording import Record

_NOISE = len(Noise._fields)
_FIRST_WEIGHT = 3 + _NOISE  # behind call, x, mask and the noise
_NO_GRADIENTS = (None,) * _NOISE  # noise is drawn, not learnt


class Call(NamedTuple):
    """What a call is, besides its tensors."""

    specification: Specification
    kernel: str
    weights: int  # how many of the tensors behind the noise are weights; the rest are states
    needs_backward: bool
    record: Record | None = None


class Wanted(NamedTuple):
    """Which gradients the way back must compute."""

    x: bool
    weights: bool
    state: bool = True


class Recurrent(torch.autograd.Function):
    """A sequence through a cell.

    ``Recurrent.apply(call, x, mask, *noise, *weights, *state)`` returns ``outputs``, ``gates``,
    ``saved`` and each ``final_state``.
    """

    @staticmethod
    def forward(
        call: Call, x: Tensor, mask: Tensor | None, *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        noise, weights, state = parted(call, tensors)
        run = ops.forward(
            x, weights, state, mask, noise, call.specification, call.kernel, call.needs_backward
        )
        return run.outputs, run.gates, run.saved, *run.final_state

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        call, x, mask, *tensors = inputs
        outputs, gates, saved, *_ = output
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(gates, saved)
        ctx.save_for_backward(x, mask, outputs, gates, saved, *tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        grad_outputs, _, _, *grad_final = grads
        return _differentiate(ctx, grad_outputs, grad_final)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], call: Call, *tensors: Tensor | None) -> Any:
        def together(*merged: Tensor | None) -> tuple[Tensor, ...]:
            return tuple(unmerged(r, info.batch_size) for r in Recurrent.apply(call, *merged))

        def alone(*one: Tensor | None) -> tuple[Tensor, ...]:
            return Recurrent.apply(call, *one)

        weights = range(2 + _NOISE, 2 + _NOISE + call.weights)
        return mapped(info.batch_size, in_dims[1:], tensors, weights, together, alone)


class RecurrentAlone(torch.autograd.Function):
    """Recurrent where no transform of ``torch.func`` is at work; it returns no gates.

    With a ``setup_context`` of its own, which the transforms ask for, ``apply`` reads the signature
    of ``forward`` at every call, and that takes longer than a short sequence; so does each result
    that autograd has to follow.
    """

    @staticmethod
    def forward(
        ctx: Any, call: Call, x: Tensor, mask: Tensor | None, *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        noise, weights, state = parted(call, tensors)
        run = _run(call, x, weights, state, mask, noise)
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, mask, run.outputs, run.gates, run.saved, *tensors)
        return run.outputs, *run.final_state

    @staticmethod
    def backward(
        ctx: Any, grad_outputs: Tensor | None, *grad_final: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        return _differentiate(ctx, grad_outputs, grad_final)


def apply(
    call: Call,
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a sequence differentiably and return the outputs and the final state."""
    if torch._C._are_functorch_transforms_active():
        outputs, gates, saved, *final = Recurrent.apply(call, x, mask, *noise, *weights, *state)
        _note(call, outputs, gates, saved)
    elif call.needs_backward or forward_ad._current_level >= 0:
        outputs, *final = RecurrentAlone.apply(call, x, mask, *noise, *weights, *state)
    else:
        # Nothing is differentiated, and autograd's bookkeeping outlasts a short sequence.
        outputs, final, _, _ = _run(call, x, weights, state, mask, noise)
    return outputs, tuple(final)


def _run(
    call: Call,
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
) -> ops.Saved:
    """Run a sequence past torch's autograd, of which the operator has a derivative as well."""
    arguments = (x, weights, state, mask, noise, call.specification)
    if ops.unobserved(call.kernel, x, weights):
        run = ops.Saved(*cpu.forward(*arguments, call.needs_backward))
    else:
        with torch._C._AutoDispatchBelowAutograd():
            run = ops.forward(*arguments, call.kernel, call.needs_backward)
    _note(call, run.outputs, run.gates, run.saved)
    return run


def _note(call: Call, outputs: Tensor, gates: Tensor, saved: Tensor) -> None:
    """Leave a run's results in its record, if there is one."""
    record = call.record
    if record is not None:
        record.outputs, record.gates, record.saved = outputs.detach(), gates, saved


class RecurrentBackward(torch.autograd.Function):
    """The way back, differentiable once more.

    ``RecurrentBackward.apply(call, …)`` returns ``grad_product``, ``grad_x``, each ``grad_weights``
    and each ``grad_state``.
    """

    @staticmethod
    def forward(
        call: Call,
        wanted: Wanted,
        x: Tensor,
        mask: Tensor | None,
        outputs: Tensor,
        gates: Tensor,
        saved: Tensor,
        grad_outputs: Tensor | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, ...]:
        _, weights, rest = parted(call, tensors)
        state, final = _halves(call, rest)
        run = ops.Saved(outputs, [], gates, saved)
        found = _gradients(call, wanted, x, mask, run, grad_outputs, tensors, final)
        return (
            found.product,
            x.new_empty(0) if found.x is None else found.x,
            *(found.weights or [weight.new_empty(0) for weight in weights]),
            *(found.state or [part.new_empty(0) for part in state]),
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        call, _, x, mask, _, _, _, grad_outputs, *tensors = inputs
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[0])
        ctx.save_for_backward(x, mask, grad_outputs, *tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """The second derivative: differentiate the equation's own gradient."""
        if all(cotangent is None for cotangent in cotangents[1:]):
            return (None,) * len(ctx.needs_input_grad)
        x, mask, grad_outputs, *tensors = ctx.saved_tensors
        noise, tensors = Noise(*tensors[:_NOISE]), tensors[_NOISE:]
        unused = grad_outputs is None
        if unused:
            grad_outputs = x.new_zeros(*x.shape[:2], tensors[1].shape[0])  # U is (P, G·H)
        given = (x, grad_outputs, *tensors)
        with torch.enable_grad():
            # Views, so that a third derivative still reaches the tensors themselves.
            copies = [tensor.view_as(tensor).requires_grad_() for tensor in given]
            found = _equation_gradients(ctx.call, copies, mask, noise)
            used = [
                (grad, cotangent)
                for grad, cotangent in zip(found, cotangents[1:], strict=True)
                if cotangent is not None
            ]
        grads, grad_cotangents = zip(*used, strict=True)
        grad_x, grad_grad_outputs, *rest = torch.autograd.grad(
            grads,
            copies,
            grad_cotangents,
            create_graph=torch.is_grad_enabled(),
            allow_unused=True,
        )
        if unused:
            grad_grad_outputs = None
        first = (None, None, grad_x, None, None, None, None, grad_grad_outputs)
        return *first, *_NO_GRADIENTS, *rest

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], call: Call, wanted: Wanted, *tensors: Tensor | None
    ) -> Any:
        def together(*merged: Any) -> tuple[Tensor, ...]:
            return _backward_together(info.batch_size, call, wanted, *merged)

        def alone(*one: Tensor | None) -> tuple[Tensor, ...]:
            return RecurrentBackward.apply(call, wanted, *one)

        weights = range(6 + _NOISE, 6 + _NOISE + call.weights)
        return mapped(info.batch_size, in_dims[2:], tensors, weights, together, alone)


def _differentiate(
    ctx: Any, grad_outputs: Tensor | None, grad_final: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """Return the gradient of each argument of ``Recurrent.apply``, from what ``ctx`` saved."""
    call: Call = ctx.call
    x, mask, outputs, gates, saved, *tensors = ctx.saved_tensors
    needed = ctx.needs_input_grad
    first_state = _FIRST_WEIGHT + call.weights
    wanted = Wanted(needed[1], any(needed[_FIRST_WEIGHT:first_state]), any(needed[first_state:]))
    run = ops.Saved(outputs, [], gates, saved)
    if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        found = _go_back_differentiably(
            call, wanted, x, mask, run, grad_outputs, tensors, grad_final
        )
    else:
        # Nobody reads the gates again where the graph is not kept and nothing is recorded.
        kept = torch._C._autograd._get_current_graph_task_keep_graph()  # pyright: ignore[reportAttributeAccessIssue]
        last = call.record is None and not kept
        found = _gradients(call, wanted, x, mask, run, grad_outputs, tensors, grad_final, last)
    if call.record is not None:
        call.record.cotangents = found.product.detach()
        call.record.gate_cotangents = found.product.detach()[..., : gates.shape[-1]]
        call.record.grad_outputs = grad_outputs
        call.record.grad_final_state = _with_zeros(call, tensors, grad_final)
    grad_weights = found.weights or (None,) * call.weights
    grad_state = found.state or (None,) * len(grad_final)
    return None, found.x, None, *_NO_GRADIENTS, *grad_weights, *grad_state


def _go_back_differentiably(
    call: Call,
    wanted: Wanted,
    x: Tensor,
    mask: Tensor | None,
    run: ops.Saved,
    grad_outputs: Tensor | None,
    tensors: Sequence[Tensor | None],
    final: Sequence[Tensor | None],
) -> Gradients:
    """Return the gradients by RecurrentBackward: something may differentiate or map them.

    ``tensors`` are noise, weights and states; ``final``, the cotangents of the final state, may be
    None.
    """
    final = _with_zeros(call, tensors, final)
    product, grad_x, *rest = RecurrentBackward.apply(
        call, wanted, x, mask, run.outputs, run.gates, run.saved, grad_outputs, *tensors, *final
    )
    return Gradients(
        product,
        rest[call.weights :] if wanted.state else None,
        rest[: call.weights] if wanted.weights else None,
        grad_x if wanted.x else None,
    )


def _gradients(
    call: Call,
    wanted: Wanted,
    x: Tensor,
    mask: Tensor | None,
    run: ops.Saved,
    grad_outputs: Tensor | None,
    tensors: Sequence[Tensor | None],
    final: Sequence[Tensor | None],
    last: bool = False,
) -> Gradients:
    """Compute the gradients; ``last`` says that the gates' memory may be used."""
    noise, weights, rest = parted(call, tensors)
    state, _ = _halves(call, rest)
    specification, kernel = call.specification, call.kernel
    if ops.unobserved(kernel, x, weights):
        return cpu.backward(
            x, run.outputs, run.gates, run.saved, grad_outputs, final, weights, state, mask, noise,
            specification, *wanted, last,
        )  # fmt: skip
    final = ops.materialize(final, state)
    product, grad_state, _ = ops.backward_scan(
        grad_outputs, final, run, weights, state, mask, noise, specification, kernel
    )
    grad_weights = grad_x = None
    if wanted.weights:
        grad_weights = ops.weight_gradient(
            x, run, product, weights, state, mask, noise, specification, kernel
        )
    if wanted.x:
        grad_x = ops.input_gradient(product, weights, mask, specification, kernel)
    return Gradients(product, grad_state if wanted.state else None, grad_weights, grad_x)


def _with_zeros(
    call: Call, tensors: Sequence[Tensor | None], final: Sequence[Tensor | None]
) -> list[Tensor]:
    """Return the cotangents of the final state; ``tensors`` are noise, weights and states."""
    return ops.materialize(final, parted(call, tensors)[2])


def weights_need_gradient(ctx: Any, count: int) -> bool:
    """Whether any weight does, in a Function of ``(call, x, mask, *noise, *weights, *state)``."""
    return any(ctx.needs_input_grad[_FIRST_WEIGHT : _FIRST_WEIGHT + count])


def parted(call: Call, tensors: Sequence[Any]) -> tuple[Noise, Sequence[Tensor], Sequence[Tensor]]:
    """Split trailing tensors into the noise, the weights and what follows them."""
    end = _NOISE + call.weights
    return Noise(*tensors[:_NOISE]), tensors[_NOISE:end], tensors[end:]


def _halves(call: Call, tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Split tensors into the initial state and the cotangents of the final state."""
    states = len(call.specification.states)
    return tensors[:states], tensors[states:]


def _equation_gradients(
    call: Call, copies: Sequence[Tensor], mask: Tensor | None, noise: Noise
) -> tuple[Tensor, ...]:
    """Return dL/dx, dL/dweights and dL/dstate as a differentiable function of the copies."""
    x, grad_outputs, *tensors = copies
    weights, rest = tensors[: call.weights], tensors[call.weights :]
    state, final = _halves(call, rest)
    product = cells.input_product(x, weights, mask, call.specification)
    run = cells.scan(product, weights, state, mask, noise, call.specification)
    return torch.autograd.grad(
        [run.outputs, *run.final_state],
        [x, *weights, *state],
        [grad_outputs, *final],
        create_graph=True,
        materialize_grads=True,
    )


def _backward_together(
    size: int,
    call: Call,
    wanted: Wanted,
    x: Tensor,
    mask: Tensor | None,
    outputs: Tensor,
    gates: Tensor,
    saved: Tensor,
    grad_outputs: Tensor | None,
    *tensors: Tensor | None,
) -> tuple[Tensor, ...]:
    """As RecurrentBackward, but with the weights' gradients apart for each of the N batches."""
    noise, weights, tail = parted(call, tensors)
    state, final = _halves(call, tail)
    run = ops.Saved(outputs, [], gates, saved)
    grad_product, grad_state, _ = ops.backward_scan(
        grad_outputs, final, run, weights, state, mask, noise, call.specification, call.kernel
    )
    if wanted.weights:
        per_sample = ops.weight_gradient(
            x, run, grad_product, weights, state, mask, noise, call.specification, call.kernel,
            "sample",
        )  # fmt: skip
        grad_weights = [grad.unflatten(0, (size, -1)).sum(1) for grad in per_sample]
    else:
        grad_weights = [weight.new_empty(size, 0) for weight in weights]
    if wanted.x:
        grad_x = ops.input_gradient(grad_product, weights, mask, call.specification, call.kernel)
    else:
        grad_x = x.new_empty(0)
    first, rest = (grad_product, grad_x), grad_state
    return *(unmerged(g, size) for g in first), *grad_weights, *(unmerged(g, size) for g in rest)


def _vmap_operator(
    info: Any,
    in_dims: tuple[Any, ...],
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    *others: Any,
) -> tuple[Any, Any]:
    """``torch.vmap`` over the operator itself, where no gradient is wanted."""
    *noise, specification, kernel, needs_backward = others
    decoded = Specification.decode(specification)
    call = Call(decoded, kernel, len(weights), needs_backward)

    def run(x: Tensor, mask: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
        drawn, weights, state = parted(call, rest)
        saved = ops.forward(x, weights, state, mask, drawn, decoded, kernel, needs_backward)
        return saved.outputs, saved.gates, saved.saved, *saved.final_state

    x_dim, weight_dims, state_dims, mask_dim, *noise_dims = in_dims[: 4 + _NOISE]
    (outputs, gates, saved, *final), _ = mapped(
        info.batch_size,
        (x_dim, mask_dim, *noise_dims, *weight_dims, *state_dims),
        (x, mask, *noise, *weights, *state),
        range(2 + _NOISE, 2 + _NOISE + len(weights)),
        lambda *merged: tuple(unmerged(result, info.batch_size) for result in run(*merged)),
        run,
    )
    return (outputs, final, gates, saved), (0, [0] * len(final), 0, 0)


for _cell in GATES:
    torch.library.register_vmap(f"gatewise::{_cell}", _vmap_operator, lib=ops.library)
