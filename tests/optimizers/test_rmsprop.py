"""RMSprop's one native pass against torch's passes over whole lists, which Keras checks too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gatewise.kernels import cpu, native_rmsprop
from gatewise.optimizers import RMSprop

needs_native = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
VARIANTS = [
    RMSprop(),
    RMSprop(momentum=0.9, rho=0.8),
    RMSprop(centered=True, epsilon=1e-5),
    RMSprop(centered=True, momentum=0.5, epsilon=1e-3),
]
each_variant = pytest.mark.parametrize("specification", VARIANTS, ids=range(len(VARIANTS)))
SHAPES = ((1,), (7,), (300, 211), (0, 3), (), (64,))


def _walk(specification: RMSprop, dtype: torch.dtype, steps: int = 5) -> list[Tensor]:
    """Return the weights and all state after some steps with gradients of many magnitudes."""
    random = torch.Generator().manual_seed(4)
    parameters = [torch.nn.Parameter(torch.randn(s, generator=random, dtype=dtype)) for s in SHAPES]
    optimizer = specification.bind(parameters)
    for step in range(steps):
        for parameter in parameters:
            gradient = torch.randn(parameter.shape, generator=random, dtype=dtype)
            parameter.grad = gradient * 10.0**-step
        optimizer.step()
    state = [value for p in parameters for value in optimizer.state[p].values()]
    return [p.detach() for p in parameters] + state


def _refuse(*arguments: object) -> bool:
    return False


@needs_native
@each_variant
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_pass_follows_torch_s_passes(
    specification: RMSprop, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = _walk(specification, dtype)
    monkeypatch.setattr(native_rmsprop, "step", _refuse)
    # torch fuses some of the multiplications and additions, the native pass none.
    for value, expected in zip(native, _walk(specification, dtype), strict=True):
        unit = torch.finfo(dtype).eps * expected.abs().max() if expected.numel() else 0.0
        torch.testing.assert_close(value, expected, rtol=16 * torch.finfo(dtype).eps, atol=4 * unit)


@needs_native
@each_variant
def test_any_number_of_threads_gives_the_same_bits(specification: RMSprop) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = _walk(specification, torch.float32)
        for count in (2, 3, 5):
            torch.set_num_threads(count)
            for value, other in zip(_walk(specification, torch.float32), expected, strict=True):
                assert torch.equal(value, other)
    finally:
        torch.set_num_threads(threads)


def _one_step(parameter: Tensor, gradient: Tensor, specification: RMSprop) -> Tensor:
    leaf = torch.nn.Parameter(parameter)
    leaf.grad = gradient
    specification.bind([leaf]).step()
    return leaf.detach()


@needs_native
def test_who_takes_the_native_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    native = native_rmsprop.compiled()

    class Counting:
        def rmsprop(self, *arguments: object) -> None:
            taken.append(1)
            native.rmsprop(*arguments)

    monkeypatch.setattr(native_rmsprop, "compiled", Counting)
    weight, gradient = torch.ones(6, 4), torch.linspace(-1, 1, 24).reshape(6, 4)
    expected = _one_step(weight.clone(), gradient, RMSprop())
    assert len(taken) == 1
    transposed = _one_step(weight.clone().t(), gradient.t(), RMSprop())
    torch.testing.assert_close(transposed.t(), expected)
    moved = _one_step(weight.clone(), gradient.t().contiguous().t(), RMSprop())
    torch.testing.assert_close(moved, expected)
    _one_step(weight.bfloat16(), gradient.bfloat16(), RMSprop())
    _one_step(weight.clone(), gradient, RMSprop(epsilon=0.0))
    assert len(taken) == 1


@needs_native
def test_a_step_between_forward_and_backward_is_still_an_error() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    loss = (weight * weight).sum()
    RMSprop().bind([weight]).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@needs_native
def test_a_weight_that_gets_no_gradient_decays_to_zero_and_not_to_denormals() -> None:
    weight = torch.nn.Parameter(torch.ones(40))
    optimizer = RMSprop(rho=0.1).bind([weight])
    weight.grad = torch.full((40,), 1e-3)
    optimizer.step()
    weight.grad = torch.zeros(40)
    for _ in range(60):
        optimizer.step()
    velocity = optimizer.state[weight]["velocity"]
    assert torch.equal(velocity, torch.zeros(40))


def test_infinities_and_nan_reach_the_weights() -> None:
    gradient = torch.tensor([float("inf"), float("nan"), 1.0, 0.0])
    moved = _one_step(torch.ones(4), gradient, RMSprop())
    assert moved.isnan().tolist() == [True, True, False, False]
    assert moved[3] == 1
