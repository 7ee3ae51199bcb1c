"""Gates and memory as tensors in one's own model: the equation's numbers, and its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatewise.nn
from gatewise import cells
from gatewise.errors import InputError, UnsupportedError
from gatewise.inspect import measure_gates, return_cell_sequence, return_gates
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, SimpleRNN

X = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
HOLES = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [1, 1, 0, 0, 0]]).bool()


def built(layer: Any) -> Any:
    torch.manual_seed(0)
    layer.build((None, None, 4))
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    return layer.double()


LAYERS = {
    "LSTM": lambda: LSTM(3),
    "LSTM backwards": lambda: LSTM(3, go_backwards=True, return_sequences=True),
    "GRU": lambda: GRU(3),
    "GRU before": lambda: GRU(3, reset_after=False),
    "Bidirectional": lambda: Bidirectional(LSTM(3, return_sequences=True)),
}


@pytest.mark.parametrize("mask", [None, HOLES])
@pytest.mark.parametrize("name", LAYERS)
def test_the_gates_are_those_that_the_kernel_saved(name: str, mask: Tensor | None) -> None:
    layer = built(LAYERS[name]())

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, mask=mask)

    result, gates = return_gates(layer, X, mask=mask)
    assert torch.equal(result, layer(X, mask=mask))
    measured = measure_gates(Model(), X, sample=None)
    assert len(gates) == sum(len(set(one.signals) - {"h", "c"}) for one in measured.sets)
    for one in measured.sets:
        for signal in set(one.signals) - {"h", "c"}:
            values = gates[f"{one.label} {signal}".strip()]
            expected = torch.from_numpy(one.signals[signal].values).nan_to_num(0.0)
            torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mask", [None, HOLES])
@pytest.mark.parametrize("backwards", [False, True])
def test_gates_and_memory_pass_the_gradients_of_the_equation(
    mask: Tensor | None, backwards: bool
) -> None:
    layer = built(LSTM(3, go_backwards=backwards))
    state = [torch.randn(3, 3).double() for _ in range(2)]
    weights = layer.weight_list()
    product = cells.input_product(X, weights, mask, layer.specification)
    scan = cells.scan(product, weights, state, mask, cells.NO_NOISE, layer.specification)
    _, gates = return_gates(layer, X, mask=mask, initial_state=state)
    _, memory = return_cell_sequence(layer, X, mask=mask, initial_state=state)
    torch.testing.assert_close(memory, scan.saved, rtol=1e-10, atol=1e-12)
    given = torch.cat([gates[gate] for gate in "ifgo"], dim=-1)
    weighting = torch.randn_like(given)
    for ours, theirs in (
        ((given * weighting).sum(), (scan.gates * weighting).sum()),
        (memory.square().sum(), scan.saved.square().sum()),
    ):
        for grad, expected in zip(
            torch.autograd.grad(ours, weights, retain_graph=True),
            torch.autograd.grad(theirs, weights, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-11)


def test_recurrent_dropout_is_the_layers_own() -> None:
    layer = built(LSTM(3, recurrent_dropout=0.5, return_state=True, seed=1)).train()
    (_, _, c), memory = return_cell_sequence(layer, X)
    torch.testing.assert_close(memory[:, -1], c, rtol=1e-10, atol=1e-12)


def test_a_torch_style_stack_names_its_layers() -> None:
    _, gates = return_gates(gatewise.nn.GRU(4, 3, num_layers=2, batch_first=True).double(), X)
    assert sorted(gates)[:3] == ["layer 0 candidate", "layer 0 r", "layer 0 z"]
    assert len(gates) == 6


def test_bad_use_gets_a_clear_error() -> None:
    with pytest.raises(InputError, match="Dense is no recurrent layer"):
        return_gates(Dense(2), X)
    with pytest.raises(UnsupportedError, match=r"Use gatewise\.nn\.LSTM"):
        return_gates(nn.LSTM(4, 3), X)
    with pytest.raises(InputError, match="a simple RNN is its h alone"):
        return_gates(built(SimpleRNN(3)), X)
    with pytest.raises(InputError, match="only an LSTM has"):
        return_cell_sequence(built(GRU(3)), X)
    with pytest.raises(InputError, match=r"2 weight sets \(forward, backward\)"):
        return_cell_sequence(built(Bidirectional(LSTM(3))), X)
