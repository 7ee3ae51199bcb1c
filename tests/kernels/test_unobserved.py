"""Calls past torch's dispatcher: only where nobody watches, and with the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from gatewise.cells import Noise, Specification
from gatewise.kernels import cpu, ops, recurrent

pytestmark = pytest.mark.skipif(not cpu.available(), reason="the native kernels are not installed")
SPECIFICATIONS = [
    Specification("lstm"),
    Specification("lstm", reverse=True, peephole=True, cell_clip=0.5),
    Specification("cifg"),
    Specification("gru"),
    Specification("gru", reset_after=False),
    Specification("simple_rnn"),
]
OPERATORS = ["backward_scan", "weight_gradient", "input_gradient"]


class Names(TorchDispatchMode):
    """Notes the name of every operator of this project."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func.namespace == "gatewise":
            self.seen.append(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


class Watched(Tensor):
    """A subclass with nothing of its own, which may still take an operator over."""


def tensors(specification: Specification, steps: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(steps)
    batch, inputs, units = 3, 4, 17

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    columns = len(specification.gates) * units
    bias = (2, columns) if specification.two_biases else (columns,)
    weights = [draw(inputs, columns), draw(units, columns), draw(*bias)]
    if specification.peephole:
        weights.append(draw(3, units))
    return {
        "x": draw(batch, steps, inputs),
        "weights": weights,
        "state": [draw(batch, units) for _ in specification.states],
        "mask": torch.rand(batch, steps, generator=generator) > 0.3,
        "noise": Noise(draw(batch, units), draw(batch, steps, units).sigmoid()),
    }


def gradients(
    given: dict[str, Any], specification: Specification, of_state: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the outputs, and the gradients of x, the weights and, if wanted, the state."""
    leaf = {
        "x": given["x"].clone().requires_grad_(),
        "weights": [weight.clone().requires_grad_() for weight in given["weights"]],
        "state": [part.clone().requires_grad_(of_state) for part in given["state"]],
    }
    outputs, final = recurrent(
        leaf["x"], leaf["weights"], leaf["state"], specification=specification,
        mask=given["mask"], noise=given["noise"],
    )  # fmt: skip
    loss = outputs.square().sum() + sum(part.sin().sum() for part in final)
    wanted = [leaf["x"], *leaf["weights"], *(leaf["state"] if of_state else [])]
    return [outputs, *final], list(torch.autograd.grad(loss, wanted))


def assert_same_bits(ones: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    for one, other in zip(ones, others, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("specification", SPECIFICATIONS, ids=lambda s: s.encode())
def test_an_unobserved_call_gives_the_operators_bits(
    specification: Specification, steps: int
) -> None:
    given = tensors(specification, steps)
    alone = gradients(given, specification, of_state=True)
    with Names() as names:
        watched = gradients(given, specification, of_state=True)
    assert names.seen == [specification.cell, *OPERATORS]
    for ones, others in zip(alone, watched, strict=True):
        assert_same_bits(ones, others)


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("specification", SPECIFICATIONS, ids=lambda s: s.encode())
def test_a_state_without_gradient_changes_no_other(
    specification: Specification, steps: int
) -> None:
    given = tensors(specification, steps)
    _, all_gradients = gradients(given, specification, of_state=True)
    _, found = gradients(given, specification, of_state=False)
    assert_same_bits(found, all_gradients[: len(found)])


def test_the_profiler_shows_the_operators() -> None:
    specification = Specification("lstm")
    given = tensors(specification, 4)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        gradients(given, specification, of_state=False)
    names = {event.key for event in profiled.key_averages()}
    assert {"gatewise::lstm", *(f"gatewise::{name}" for name in OPERATORS)} <= names


def test_an_unobserved_call_makes_no_operator_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("an operator was called")

    monkeypatch.setattr(ops, "forward", refuse)
    monkeypatch.setattr(ops, "backward_scan", refuse)
    specification = Specification("lstm")
    gradients(tensors(specification, 4), specification, of_state=True)


def test_a_subclass_is_an_observer() -> None:
    given = tensors(Specification("lstm"), 4)
    x, weights = given["x"], given["weights"]
    assert ops.unobserved("cpu", x, weights)
    assert ops.unobserved("cpu", x, [torch.nn.Parameter(weight) for weight in weights])
    assert not ops.unobserved("reference", x, weights)
    assert not ops.unobserved("cpu", x.as_subclass(Watched), weights)
    assert not ops.unobserved("cpu", x, [weights[0].as_subclass(Watched), *weights[1:]])
