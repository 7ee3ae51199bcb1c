"""Real-time recurrent learning: the exact gradient, forward in time.

Williams and Zipser, "A learning algorithm for continually running fully recurrent neural networks",
Neural Computation 1(2), 1989.

    J_t = A_t · J_{t-1} + I_t          dL/dθ = Σ_t (∂ℓ_t/∂s_t) · J_t

with A_t = ∂s_t/∂s_{t-1}, I_t = ∂s_t/∂θ where s_{t-1} is held, and J_t = ds_t/dθ. Nothing ever goes
back in time, so the memory does not grow with the sequence; but J has a row for each of the 2H
states and a column for each weight, for every series of the batch. The states of all layers of a
stack are one state here, so nothing is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, cat, nn

from gatewise.errors import UnsupportedError
from gatewise.gradients import jacobians
from gatewise.gradients.carrying import Carried, States, cleared, same_noise, straight
from gatewise.gradients.contract import GradientAlgorithm, whole_steps
from gatewise.gradients.jacobians import Influence
from gatewise.gradients.layout import layers_of, recurrent_layers, require_pieces
from gatewise.gradients.passage import WayBack, detached, passage
from gatewise.gradients.task import Differentiable, Part, Task
from gatewise.kernels import Pass, ops


@dataclass(frozen=True)
class RTRL(GradientAlgorithm):
    """Learn online with the exact gradient, with a step after every `every` time steps.

    With the weights held, any `every` gives the gradient of backpropagation through time. Between
    steps of the optimizer the influence J is that of slightly older weights.

    >>> RTRL(every=3).exact
    True
    """

    every: int = 1

    exact = True
    unbiased = True
    online = True
    cost = "time 16·H³·(H + I + 1) a step and series; memory 8·H²·(H + I + 1) a series"

    def __post_init__(self) -> None:
        whole_steps("RTRL", "every", self.every)

    def supports(self, model: Differentiable) -> None:
        """Refuse what cannot run in pieces, and dropout in front of the states."""
        require_pieces("RTRL", model)
        for layer in _below_the_last(model):
            rates = ("rate", "dropout", "recurrent_dropout", "weight_dropout")
            zones = any(getattr(layer, "zoneout", ()))
            if zones or any(getattr(layer, name, 0) for name in rates):
                raise UnsupportedError(
                    f"RTRL computes each series's influence on its own, and the dropout or zoneout "
                    f"of '{layer.name}' would draw other masks for it. Put Dropout behind the last "
                    "recurrent layer, or use gradient=SnAp1() or BPTT()."
                )

    @property
    def stride(self) -> int:
        return self.every

    def open(self) -> _Influenced:
        return _Influenced()

    def gradients(self, task: Task, trail: _Influenced | None = None) -> Iterator[Part]:
        """Yield for each chunk that holds a loss."""
        task = task.ending_together()
        weights = _influencing(task.model)
        _refuse_too_large(task, weights)
        states = self.open() if trail is None else trail
        with same_noise(task.model) as next_piece:
            for start, end in task.chunks(self.every):
                next_piece()
                learns = task.has_loss(start, end)
                with torch.set_grad_enabled(learns), states.carried.piece(leaves=True):
                    prediction, mask = task.forward(start, end)
                part = None
                if learns:
                    part = task.backward(task.part(start, end, prediction, mask))
                    states.add_past(weights)
                if end < task.steps or trail is not None:
                    states.advance(task, weights, start, end)
                if part is not None:
                    yield part


class _Influenced:
    """All layers' states together as one state of S numbers, and J: what the weights did to it."""

    def __init__(self) -> None:
        self.carried = Carried(self._pass)
        self._influence: Influence | None = None
        self._ran: list[tuple[Pass, ops.Saved]] = []

    @property
    def states(self) -> list[list[Tensor]]:
        return self.carried.end

    def forget(self, lanes: Tensor) -> None:
        self.carried.forget(lanes)
        if self._influence is not None:
            self._influence = {name: cleared(J, lanes) for name, J in self._influence.items()}

    def add_past(self, weights: dict[str, nn.Parameter]) -> None:
        """Add g_0 · J to the gradients."""
        if self._influence is None:
            return
        grads = [
            torch.zeros_like(state) if state.grad is None else state.grad
            for states in self.carried.begin
            for state in states
        ]
        g_0 = cat(grads, dim=-1)  # (B, S)
        for name, weight in weights.items():
            past = torch.einsum("bs,bs...->...", g_0, self._influence[name])
            weight.grad = past if weight.grad is None else weight.grad + past

    @torch.no_grad()
    def advance(self, task: Task, weights: dict[str, nn.Parameter], start: int, end: int) -> None:
        """Make J to A · J + B."""
        if self._is_one_layer(weights):
            B, A = jacobians.of_layer(*self._ran[0], weights)
        else:
            mask = None if task.mask is None else task.mask[:, start:end]
            B, A = jacobians.of_model(
                task.model, weights, task.x[:, start:end], mask, self.carried.begin
            )
        if self._influence is not None:
            for name in B:
                J = self._influence.pop(name)  # each goes as soon as it has been used
                B[name].add_(torch.einsum("bst,bt...->bs...", A, J))
        self._influence = B

    def _is_one_layer(self, weights: dict[str, nn.Parameter]) -> bool:
        """Whether the states are those of one pass, and only its weights act on them."""
        if len(self._ran) != 1:
            return False
        own = {weight.data_ptr() for weight in self._ran[0][0].weights}
        return all(weight.data_ptr() in own for weight in weights.values())

    def _pass(self, place: int, given: Pass) -> tuple[Tensor, States, States]:
        if place == 0:
            self._ran = []
        if not given.specification.fusable:
            return straight(place, given)
        outputs, final, saved = passage(given, WayBack())
        self._ran.append((detached(given), saved))
        return outputs, final, final


def _below_the_last(model: Differentiable) -> list[nn.Module]:
    """Return the layers up to the last recurrent one: those that the states depend on."""
    layers = list(layers_of(model))
    last = recurrent_layers(model)[-1]
    return layers[: len(layers) - layers[::-1].index(last)]


def _influencing(model: Differentiable) -> dict[str, nn.Parameter]:
    """Return the trainable weights that the states depend on, by name."""
    below = {id(weight) for layer in _below_the_last(model) for weight in layer.parameters()}
    return {
        name: weight
        for name, weight in model.named_parameters()
        if id(weight) in below and weight.requires_grad
    }


def _refuse_too_large(task: Task, weights: dict[str, nn.Parameter]) -> None:
    """Raise `UnsupportedError` where the influence would not fit in memory."""
    states = sum(sum(layer.state_sizes) for layer in recurrent_layers(task.model))
    numbers = sum(weight.numel() for weight in weights.values())
    size = len(task.x) * states * numbers * next(iter(weights.values())).element_size()
    # While J moves on, the new one stands beside the old one.
    available = _memory(task.x.device)
    if 2 * size > available:
        raise UnsupportedError(
            f"RTRL's influence matrix of {len(task.x)} series × {states} states × {numbers:,} "
            f"weights takes {_readable(size)}, twice while it moves on, and there are "
            f"{_readable(available)} of memory. Use gradient=SnAp1() (a trace for each weight), "
            "fewer units or a smaller batch, or BPTT(checkpoint='sqrt')."
        )


def _memory(device: torch.device) -> int:
    """Return the bytes that there are on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _readable(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.4g} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"
