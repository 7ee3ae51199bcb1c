"""The ledger: every count against `numel`, by hand, Keras and torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatewise.nn
from gatewise.inspect import SetLedger, measure_parameters
from gatewise.layers import (
    GRU,
    LSTM,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Masking,
    SimpleRNN,
)
from gatewise.models import Sequential


def the_program() -> Sequential:
    model = Sequential()
    model.add(LSTM(128, input_shape=(None, 100)))
    model.add(Dropout(0.5))
    model.add(Dense(1, activation="sigmoid"))
    return model


def ledger_of(layer: Any) -> list[SetLedger]:
    """Return the sets of a layer that is the only one of a model with 100 features."""
    return list(measure_parameters(Sequential([layer])).layers[0].sets)


def test_the_program_has_the_counts_that_it_must_have() -> None:
    ledger = measure_parameters(the_program())
    rows = [(layer.name, layer.kind, layer.output_shape, layer.count) for layer in ledger.layers]
    assert rows == [
        ("lstm", "LSTM", (None, 128), 117_248),
        ("dropout", "Dropout", (None, 128), 0),
        ("dense", "Dense", (None, 1), 129),
    ]
    assert (ledger.count, ledger.trainable_count, ledger.frozen_count) == (117_377, 117_377, 0)
    assert (ledger.bytes, ledger.frozen_bytes) == (4 * 117_377, 0)
    [one] = ledger.layers[0].sets
    assert one.formula == "4·(128·100 + 128·128) + 4·128 = 117,248"
    assert one.count == 117_248
    assert one.trainable
    shapes = {(w.gate, w.symbol): (w.shape, w.count) for w in one.weights}
    assert len(shapes) == 12
    for gate in "ifgo":
        assert shapes[gate, "W"] == ((100, 128), 12_800)
        assert shapes[gate, "U"] == ((128, 128), 16_384)
        assert shapes[gate, "b"] == ((128,), 128)


def test_an_embedding_adds_two_million() -> None:
    model = Sequential([Embedding(20_000, 100, mask_zero=True), LSTM(128), Dense(1)])
    model.build((None, None))
    ledger = measure_parameters(model)
    assert [layer.count for layer in ledger.layers] == [2_000_000, 117_248, 129]
    assert ledger.count == 2_117_377
    assert ledger.layers[0].output_shape == (None, None, 100)


@pytest.mark.parametrize(
    ("layer", "formula", "torch_formula"),
    [
        (
            GRU(128, input_shape=(None, 100)),
            "3·(128·100 + 128·128) + 2·3·128 = 88,320",
            "3·(128·100 + 128·128) + 2·3·128 = 88,320",
        ),
        (
            GRU(128, reset_after=False, input_shape=(None, 100)),
            "3·(128·100 + 128·128) + 3·128 = 87,936",
            "3·(128·100 + 128·128) + 2·3·128 = 88,320",
        ),
        (
            SimpleRNN(128, input_shape=(None, 100)),
            "128·100 + 128·128 + 128 = 29,312",
            "128·100 + 128·128 + 2·128 = 29,440",
        ),
        (
            LSTM(128, use_bias=False, input_shape=(None, 100)),
            "4·(128·100 + 128·128) = 116,736",
            "4·(128·100 + 128·128) = 116,736",
        ),
    ],
)
def test_formulas(layer: Any, formula: str, torch_formula: str) -> None:
    [one] = ledger_of(layer)
    assert (one.formula, one.torch_formula) == (formula, torch_formula)
    assert one.count == sum(parameter.numel() for parameter in layer.parameters())
    assert one.count == sum(weight.count for weight in one.weights)
    # eval() of the formula itself: the numbers put in give the count.
    left, right = formula.replace("·", "*").split(" = ")
    assert eval(left) == int(right.replace(",", ""))


@pytest.mark.parametrize(
    ("layer", "peer"),
    [
        (LSTM(8, input_shape=(None, 5)), nn.LSTM(5, 8)),
        (LSTM(8, use_bias=False, input_shape=(None, 5)), nn.LSTM(5, 8, bias=False)),
        (GRU(8, input_shape=(None, 5)), nn.GRU(5, 8)),
        (GRU(8, reset_after=False, input_shape=(None, 5)), nn.GRU(5, 8)),
        (SimpleRNN(8, input_shape=(None, 5)), nn.RNN(5, 8)),
    ],
)
def test_torchs_count_is_what_torch_counts(layer: Any, peer: nn.Module) -> None:
    [one] = ledger_of(layer)
    assert one.torch_count == sum(parameter.numel() for parameter in peer.parameters())
    assert one.torch_reason.startswith("the same") == (one.torch_count == one.count)


def test_a_gru_that_resets_after_shows_both_rows_of_its_bias() -> None:
    [one] = ledger_of(GRU(8, input_shape=(None, 5)))
    assert one.bias_rows == 2
    assert {w.shape for w in one.weights if w.name == "bias"} == {(2, 8)}
    assert {w.count for w in one.weights if w.name == "bias"} == {16}


def test_bidirectional_has_two_sets() -> None:
    sets = ledger_of(Bidirectional(LSTM(8), input_shape=(None, 5)))
    assert [one.label for one in sets] == ["forward", "backward"]
    assert [one.count for one in sets] == [448, 448]


@pytest.mark.parametrize("library", [torch.nn, gatewise.nn])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_torchs_layers_are_split_into_gates(kind: str, library: Any) -> None:
    module = getattr(library, kind)(5, 8, num_layers=2, bidirectional=True)
    model = nn.Sequential(module, nn.ReLU())
    ledger = measure_parameters(model)
    assert [layer.name for layer in ledger.layers] == ["0", "1"]
    [recurrent, relu] = ledger.layers
    assert (relu.count, relu.output_shape) == (0, None)
    labels = ["layer 0", "layer 0 reverse", "layer 1", "layer 1 reverse"]
    assert [one.label for one in recurrent.sets] == labels
    assert [one.input_size for one in recurrent.sets] == [5, 5, 16, 16]
    assert ledger.count == sum(parameter.numel() for parameter in module.parameters())
    for one in recurrent.sets:
        assert one.bias_rows == 2
        assert one.count == one.torch_count == sum(weight.count for weight in one.weights)
    assert sum(one.count for one in recurrent.sets) == ledger.count
    assert sum(one.bytes for one in recurrent.sets) == ledger.bytes


@pytest.mark.parametrize("library", [torch.nn, gatewise.nn])
def test_a_projection_is_counted(library: Any) -> None:
    module = library.LSTM(5, 8, proj_size=3)
    [one] = measure_parameters(module).layers[0].sets
    assert (one.units, one.output_size) == (8, 3)
    assert one.formula == "4·(8·5 + 8·3) + 2·4·8 + 3·8 = 344"
    assert one.count == sum(parameter.numel() for parameter in module.parameters())


def test_torchs_gates_are_read_in_their_own_order() -> None:
    module = nn.GRU(2, 3)
    module.weight_ih_l0.requires_grad_(False)
    [one] = measure_parameters(module).layers[0].sets
    assert one.gates == ("z", "r", "h")
    assert [weight.trainable for weight in one.weights] == [False] * 3 + [True] * 6
    assert not one.trainable


def test_frozen_layers_are_counted_apart() -> None:
    model = Sequential([LSTM(4, input_shape=(None, 3), trainable=False), Dense(2)])
    ledger = measure_parameters(model)
    assert (ledger.trainable_count, ledger.frozen_count) == (10, 128)
    assert (ledger.trainable_bytes, ledger.frozen_bytes) == (40, 512)
    assert [layer.trainable_count for layer in ledger.layers] == [0, 10]
    assert not ledger.layers[0].sets[0].trainable


def test_double_precision_takes_twice_the_bytes() -> None:
    model = the_program().double()
    ledger = measure_parameters(model)
    assert ledger.bytes == 8 * 117_377
    assert ledger.layers[0].sets[0].dtype == "float64"


def test_a_layer_at_two_places_counts_once() -> None:
    shared = LSTM(4, return_sequences=True)
    model = Sequential([Dense(4, input_shape=(None, 4)), shared, shared])
    ledger = measure_parameters(model)
    assert [(layer.name, layer.places) for layer in ledger.layers] == [("dense", 1), ("lstm", 2)]
    assert ledger.count == sum(parameter.numel() for parameter in model.parameters()) == 20 + 144
    twice = nn.Sequential(cell := nn.RNN(2, 2), nn.Tanh(), cell)
    assert [layer.places for layer in measure_parameters(twice).layers] == [2, 1]


def test_a_modules_own_parameters_get_a_line() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.inner = nn.ModuleDict({"rnn": gatewise.nn.RNN(3, 2), "empty": nn.ModuleList()})

        def forward(self, x: Tensor) -> Tensor:
            return self.inner["rnn"](x * self.scale)[0]

    ledger = measure_parameters(Scaled())
    assert [(layer.name, layer.count) for layer in ledger.layers] == [
        ("scaled", 3),
        ("inner.rnn", 14),
        ("inner.empty", 0),
    ]
    assert ledger.count == 17


def test_a_model_inside_a_model_is_one_line_with_all_its_sets() -> None:
    inner = Sequential([LSTM(4, return_sequences=True, input_shape=(None, 3)), GRU(2)])
    outer = Sequential([inner, Dense(1)])
    ledger = measure_parameters(outer)
    assert [layer.count for layer in ledger.layers] == [inner.count_params(), 3]
    assert [one.layer for one in ledger.layers[0].sets] == ["sequential.lstm", "sequential.gru"]


def test_an_unbuilt_model_is_shown_without_counts() -> None:
    ledger = measure_parameters(Sequential([LSTM(4), Dense(1)]))
    assert [(layer.built, layer.count, layer.output_shape) for layer in ledger.layers] == [
        (False, 0, None),
        (False, 0, None),
    ]
    lazy = measure_parameters(nn.Sequential(nn.LazyLinear(3)))
    assert (lazy.count, lazy.layers[0].built) == (0, False)


def test_layers_in_any_module_get_a_line_each() -> None:
    model = nn.ModuleDict({"body": the_program(), "drop": Dropout(0.5)})
    ledger = measure_parameters(model)
    names = [layer.name for layer in ledger.layers]
    assert names == ["body.lstm", "body.dropout", "body.dense", "drop"]


def test_the_kernel_is_the_one_chosen_with_the_mask_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    choice = LSTM.choice

    def spy(self: LSTM, dtype: Any, device: Any, mask: bool = False) -> Any:
        asked.append(mask)
        return choice(self, dtype, device, mask=mask)

    model = Sequential([LSTM(3, input_shape=(None, 3), return_sequences=True), Masking(), LSTM(4)])
    monkeypatch.setattr(LSTM, "choice", spy)
    ledger = measure_parameters(model)
    assert asked == [False, True]
    chosen = choice(model.layers[-1], mask=True)  # pyright: ignore[reportArgumentType]
    one = ledger.layers[-1].sets[0]
    assert (one.kernel, one.kernel_reason) == (chosen.kernel, chosen.reason)
    embedded = Sequential([Embedding(9, 3, mask_zero=True), LSTM(4)])
    embedded.build((None, None))
    measure_parameters(embedded)
    assert asked == [False, True, True]
