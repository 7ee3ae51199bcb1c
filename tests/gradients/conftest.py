"""Oracles for the gradients: the equations once more, in plain torch, with `detach` at the cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from gatewise import losses
from gatewise.gradients import GradientAlgorithm, Task
from gatewise.layers import GRU, LSTM, Dense, SimpleRNN
from gatewise.models import Sequential

CELLS = {"lstm": LSTM, "gru": GRU, "simple_rnn": SimpleRNN}
Product = Callable[[Tensor, Tensor], Tensor]
Grads = dict[str, Tensor]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Everything here is compared in float64, unless a test says otherwise."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def build(cell: str, depth: int, sequences: bool = True, units: int = 3) -> Sequential:
    """A stack of one kind of cell with a dense head; two inputs, one output."""
    kind = CELLS[cell]
    model = Sequential()
    for layer in range(depth):
        model.add(
            kind(
                units + layer,
                input_shape=(None, 2) if layer == 0 else None,
                return_sequences=sequences or layer < depth - 1,
                bias_initializer="random_normal",
            )
        )
    model.add(Dense(1))
    return model


def series(batch: int = 3, steps: int = 7, sequences: bool = True) -> tuple[Tensor, Tensor]:
    shape = (batch, steps, 1) if sequences else (batch, 1)
    return torch.randn(batch, steps, 2), torch.randn(shape)


def gradients_of(
    model: Sequential,
    gradient: GradientAlgorithm,
    x: Tensor,
    y: Tensor,
    mask: Tensor | None = None,
    **keywords: Any,
) -> Grads:
    """What the algorithm's parts add up to, with the weights held."""
    gradient.supports(model)
    loss = losses.get("mse")
    model.zero_grad()
    task = Task(model, loss, x, y, mask, check=loss.check, **keywords)
    total = sum(part.objective for part in gradient.gradients(task))
    found = {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in model.named_parameters()
    }
    found["the loss"] = torch.as_tensor(total)
    return found


def assert_same(found: Grads, expected: Grads, tolerance: float = 1e-10) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = (found[name] - value).abs().max().item()
        assert error <= tolerance, f"{name} is off by {error}"


def full(h: Tensor, U: Tensor) -> Tensor:
    return h @ U


def diagonal(h: Tensor, U: Tensor) -> Tensor:
    units = len(U)
    diagonals = torch.cat([block.diagonal() for block in U.split(units, dim=1)])
    return h.detach() @ U + diagonals * (h - h.detach()).repeat(1, U.shape[1] // units)


def constant(h: Tensor, U: Tensor) -> Tensor:
    return h.detach() @ U


class Oracle:
    """A stack of cells and its head, unrolled in plain torch over the model's own weights."""

    def __init__(self, model: Sequential, cell: str) -> None:
        *recurrent, self.head = model.layers
        self.layers = recurrent
        self.cell = cell

    def step(
        self, layer: Any, x: Tensor, state: Sequence[Tensor], product: Product
    ) -> tuple[Tensor, ...]:
        W, U, b = layer.kernel, layer.recurrent_kernel, layer.bias
        h = state[0]
        if self.cell == "simple_rnn":
            return (torch.tanh(x @ W + product(h, U) + b),)
        if self.cell == "lstm":
            i, f, g, o = (x @ W + product(h, U) + b).chunk(4, dim=1)
            c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
            return o.sigmoid() * c.tanh(), c
        inputs = (x @ W + b[0]).chunk(3, dim=1)
        again = (product(h, U) + b[1]).chunk(3, dim=1)
        z, r = ((a + u).sigmoid() for a, u in zip(inputs[:2], again[:2], strict=True))
        return (z * h + (1 - z) * (inputs[2] + r * again[2]).tanh(),)

    def zeros(self, batch: int) -> list[tuple[Tensor, ...]]:
        count = 2 if self.cell == "lstm" else 1
        return [(torch.zeros(batch, layer.units),) * count for layer in self.layers]

    def run(
        self,
        x: Tensor,
        states: list[tuple[Tensor, ...]],
        product: Product = full,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, list[list[tuple[Tensor, ...]]]]:
        """Return the prediction at every step and every layer's states after it."""
        kept: list[list[tuple[Tensor, ...]]] = []
        predictions: list[Tensor] = []
        for t in range(x.shape[1]):
            below, after = x[:, t], []
            for layer, state in zip(self.layers, states, strict=True):
                new = self.step(layer, below, state, product)
                if mask is not None:
                    real = mask[:, t : t + 1]
                    new = tuple(torch.where(real, n, s) for n, s in zip(new, state, strict=True))
                # Copies: to ask for c's gradient is not to ask for what h owes to it.
                after.append(tuple(part.clone() for part in new))
                below = after[-1][0]
            states = after
            kept.append(after)
            predictions.append(self.head(below))
        return torch.stack(predictions, dim=1), kept


def detached(states: list[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    return [tuple(part.detach() for part in state) for state in states]


@pytest.fixture
def tools() -> Any:
    """The functions of this file, for the tests beside it."""
    import types

    return types.SimpleNamespace(
        CELLS=CELLS, build=build, series=series, gradients_of=gradients_of, assert_same=assert_same,
        full=full, diagonal=diagonal, constant=constant, Oracle=Oracle, detached=detached,
    )  # fmt: skip
