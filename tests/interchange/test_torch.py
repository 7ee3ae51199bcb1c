"""torch's recurrent modules become layers and come back, outputs and weights equal."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gatewise import layers
from gatewise.errors import InputError, UnknownNameError, UnsupportedError
from gatewise.interchange.torch import (
    from_torch,
    to_torch,
    weights_from_torch,
    weights_to_torch,
)

MODULES = {
    "lstm": lambda: nn.LSTM(3, 4, batch_first=True),
    "gru, time first": lambda: nn.GRU(3, 4),
    "relu": lambda: nn.RNN(3, 5, nonlinearity="relu"),
    "no bias": lambda: nn.GRU(3, 4, bias=False),
    "deep": lambda: nn.LSTM(
        3, 4, num_layers=3, bidirectional=True, dropout=0.3, dtype=torch.double
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_outputs_of_a_module(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    x = torch.randn(2, 6, 3, dtype=module.weight_ih_l0.dtype)
    wanted = module(x if module.batch_first else x.transpose(0, 1))[0]
    wanted = wanted if module.batch_first else wanted.transpose(0, 1)
    torch.testing.assert_close(from_torch(module)(x), wanted)


def test_a_deep_module_keeps_its_dropout_and_its_mode() -> None:
    module = MODULES["deep"]()
    model = from_torch(module)
    kinds = [type(layer).__name__ for layer in model.layers]
    both, dropout = "Bidirectional", "Dropout"
    assert kinds == [both, dropout, both, dropout, both]
    assert model.layers[1].rate == 0.3
    assert module.training


@pytest.mark.parametrize("name", ["lstm", "gru, time first", "relu", "no bias"])
def test_there_and_back_is_exact(name: str) -> None:
    module = MODULES[name]()
    cell = {nn.LSTM: "lstm", nn.GRU: "gru", nn.RNN: "simple_rnn"}[type(module)]
    again = to_torch(from_torch(module).layers[0])
    assert type(again) is type(module) and again.batch_first
    first = weights_from_torch(cell, module.state_dict())
    second = weights_from_torch(cell, again.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    state = weights_to_torch(cell, first)
    assert all(torch.equal(state[key], again.state_dict()[key]) for key in again.state_dict())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.LSTM(2, go_backwards=True), "go_backwards=True; flip the input"),
        (layers.LSTM(2, dropout=0.1), "dropout, which"),
        (layers.GRU(2, reset_after=False), "reset_after=False"),
        (layers.GRU(2, activation="relu"), "torch has tanh and sigmoid"),
        (layers.SimpleRNN(2, activation="elu"), "torch has tanh and relu"),
    ],
)
def test_what_torch_cannot_say(layer: layers.Recurrent, message: str) -> None:
    layer.build((None, None, 3))
    with pytest.raises(UnsupportedError, match=message):
        to_torch(layer)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("bias", [True, False])
def test_a_projected_lstm_goes_both_ways(bias: bool) -> None:
    x = torch.randn(2, 5, 3)
    theirs = nn.LSTM(3, 6, 2, bias=bias, bidirectional=True, proj_size=2, batch_first=True)
    torch.testing.assert_close(from_torch(theirs)(x), theirs(x)[0])
    layer = layers.LSTM(6, projection=2, use_bias=bias, return_sequences=True)
    expected = layer(x)  # builds it
    torch.testing.assert_close(to_torch(layer)(x)[0], expected)
    layer = layers.LSTM(6, layer_norm=True)
    layer(x)
    with pytest.raises(UnsupportedError, match="layer_norm=True"):
        to_torch(layer)


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="to_torch: lstm has no weights yet"):
        to_torch(layers.LSTM(2))
    with pytest.raises(InputError, match=r"expected one of torch\.nn\.LSTM, .* but got Linear"):
        from_torch(nn.Linear(2, 2))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"has no 'weight_ih_l1'\. It holds: weight_ih_l0"):
        weights_from_torch("lstm", nn.LSTM(2, 2).state_dict(), "_l1")
    with pytest.raises(UnknownNameError, match="Did you mean 'lstm'"):
        weights_from_torch("lstn", {})
    with pytest.raises(InputError, match="but got 0 weights"):
        weights_to_torch("gru", [])
    with pytest.raises(UnsupportedError, match="reset_after=False"):
        weights_to_torch("gru", [torch.zeros(2, 6), torch.zeros(2, 6), torch.zeros(6)])
