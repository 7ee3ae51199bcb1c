"""The equations against PyTorch's own modules, in float64: outputs, states, every gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gatewise.cells import NO_NOISE, Noise, Specification, input_product, reorder_gates, scan

SIZES = [(1, 1, 1, 1), (3, 7, 5, 4), (2, 1, 3, 63), (1, 9, 2, 3)]


def _torch_weights(module: nn.RNNBase, specification: Specification) -> list[Tensor]:
    """Return torch's parameters as W (I, G·H), U (H, G·H), b in our order, as leaves."""
    torch_order = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "h"), "simple_rnn": ("h",)}
    order = torch_order[specification.cell]
    parts = [
        reorder_gates(parameter.detach(), order, specification.gates, dim=0)
        for parameter in module.parameters()
    ]
    W, U, b_ih, b_hh = parts
    bias = torch.stack((b_ih, b_hh)) if specification.two_biases else b_ih + b_hh
    return [W.t().clone(), U.t().clone(), bias]


@pytest.mark.parametrize(("batch", "steps", "inputs", "units"), SIZES)
@pytest.mark.parametrize(
    ("cell", "module", "activation"),
    [
        ("lstm", nn.LSTM, "tanh"),
        ("gru", nn.GRU, "tanh"),
        ("simple_rnn", nn.RNN, "tanh"),
    ],
)
def test_equation_equals_torch(
    cell: str,
    module: type[nn.RNNBase],
    activation: str,
    batch: int,
    steps: int,
    inputs: int,
    units: int,
) -> None:
    torch.manual_seed(0)
    peer = module(inputs, units, batch_first=True, dtype=torch.float64)
    specification = Specification(cell, activation)
    weights = [weight.requires_grad_() for weight in _torch_weights(peer, specification)]
    x = torch.randn(batch, steps, inputs, dtype=torch.float64, requires_grad=True)
    state = [torch.randn(batch, units, dtype=torch.float64) for _ in specification.states]
    x_peer = x.detach().clone().requires_grad_()
    hx = tuple(part.unsqueeze(0) for part in state)
    outputs_peer, final_peer = peer(x_peer, hx if cell == "lstm" else hx[0])
    final_peer = final_peer if cell == "lstm" else (final_peer,)

    product = input_product(x, weights, None, specification)
    run = scan(product, weights, state, None, NO_NOISE, specification)

    assert torch.allclose(run.outputs, outputs_peer, rtol=1e-12, atol=1e-13)
    for ours, theirs in zip(run.final_state, final_peer, strict=True):
        assert torch.allclose(ours, theirs[0], rtol=1e-12, atol=1e-13)
    cotangent = torch.randn_like(run.outputs)
    grads = torch.autograd.grad((run.outputs * cotangent).sum(), [x, *weights])
    (outputs_peer * cotangent).sum().backward()
    assert torch.allclose(grads[0], x_peer.grad, rtol=1e-10, atol=1e-12)
    torch_order = ("r", "z", "h") if cell == "gru" else specification.gates
    W, U, b = (
        reorder_gates(grad, specification.gates, torch_order).transpose(0, -1) for grad in grads[1:]
    )
    assert torch.allclose(W, peer.weight_ih_l0.grad, rtol=1e-10, atol=1e-12)
    assert torch.allclose(U, peer.weight_hh_l0.grad, rtol=1e-10, atol=1e-12)
    recurrent_bias = b[:, 1] if specification.two_biases else b
    assert torch.allclose(recurrent_bias, peer.bias_hh_l0.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_reverse_is_the_flipped_sequence(cell: str) -> None:
    torch.manual_seed(0)
    units, gates = 3, len(Specification(cell).gates)
    weights = [torch.randn(2, gates * units), torch.randn(units, gates * units)]
    x = torch.randn(2, 5, 2)
    state = [torch.randn(2, units) for _ in Specification(cell).states]
    backwards = Specification(cell, reverse=True)
    run = scan(
        input_product(x, weights, None, backwards), weights, state, None, NO_NOISE, backwards
    )
    forwards = Specification(cell)
    flipped = input_product(x.flip(1), weights, None, forwards)
    expected = scan(flipped, weights, state, None, NO_NOISE, forwards)
    assert torch.equal(run.outputs, expected.outputs.flip(1))
    assert torch.equal(run.final_state[0], expected.final_state[0])


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_gradcheck(cell: str, reset_after: bool, reverse: bool) -> None:
    """First and second derivatives by finite differences, with holes in the mask and dropout."""
    torch.manual_seed(0)
    specification = Specification(cell, reset_after=reset_after, reverse=reverse)
    columns = 2 * len(specification.gates)
    bias = (2, columns) if specification.two_biases else (columns,)
    tensors = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in [(2, 3, 2), (2, columns), (2, columns), bias]
    ]
    state = [
        torch.randn(2, 2, dtype=torch.float64, requires_grad=True) for _ in specification.states
    ]
    mask = torch.tensor([[True, False, True], [False, False, False]])
    dropout = torch.tensor([[2.0, 0.0], [1.0, 2.0]], dtype=torch.float64)

    def run(x: Tensor, W: Tensor, U: Tensor, b: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        weights = [W, U, b]
        product = input_product(x, weights, mask, specification)
        result = scan(product, weights, state, mask, Noise(dropout), specification)
        return result.outputs, *result.final_state

    assert torch.autograd.gradcheck(run, (*tensors, *state))
    assert torch.autograd.gradgradcheck(run, (*tensors, *state))


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_masked_steps_carry_the_state_and_hide_nan(cell: str) -> None:
    torch.manual_seed(0)
    specification = Specification(cell)
    columns = 3 * len(specification.gates)
    weights = [torch.randn(2, columns), torch.randn(3, columns)]
    x = torch.randn(1, 4, 2)
    x[0, 1] = float("nan")
    state = [torch.randn(1, 3) for _ in specification.states]
    mask = torch.tensor([[True, False, True, True]])
    product = input_product(x, weights, mask, specification)
    run = scan(product, weights, state, mask, NO_NOISE, specification)
    shorter = input_product(x[:, [0, 2, 3]], weights, None, specification)
    expected = scan(shorter, weights, state, None, NO_NOISE, specification)
    assert torch.allclose(run.outputs[:, [0, 2, 3]], expected.outputs)
    assert torch.equal(run.outputs[:, 1], run.outputs[:, 0])
    assert torch.allclose(run.final_state[-1], expected.final_state[-1])
    assert torch.isfinite(run.gates).all()
