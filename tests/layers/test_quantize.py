"""Layers with weights of 8 bits: streams, masks, wrappers, configurations and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gatewise.errors import InputError, UnknownNameError, UnsupportedError
from gatewise.kernels import cpu
from gatewise.layers import GRU, LSTM, RNN, Bidirectional, LSTMCell, SimpleRNN
from gatewise.layers.registered import get_layer_class

CELLS = {
    "lstm": (LSTM, {}),
    "lstm without bias": (LSTM, {"use_bias": False}),
    "lstm elu": (LSTM, {"activation": "elu"}),
    "gru": (GRU, {}),
    "gru before": (GRU, {"reset_after": False}),
    "simple rnn": (SimpleRNN, {}),
    "lstm peephole": (LSTM, {"peephole": True}),
    "lstm coupled": (LSTM, {"coupled_gates": True}),
    "lstm clipped": (LSTM, {"cell_clip": 0.4}),
    "lstm zoneout": (LSTM, {"zoneout": (0.1, 0.3)}),
    "lstm weight dropout": (LSTM, {"weight_dropout": 0.4}),
    "lstm projected": (LSTM, {"projection": 8}),
    "lstm normalized": (LSTM, {"layer_norm": True}),
    "lstm all": (
        LSTM,
        {
            "peephole": True,
            "coupled_gates": True,
            "cell_clip": 2.0,
            "zoneout": (0.1, 0.2),
            "weight_dropout": 0.3,
            "projection": 8,
            "layer_norm": True,
        },
    ),
    "gru zoneout": (GRU, {"zoneout": 0.2, "weight_dropout": 0.3}),
    "gru normalized": (GRU, {"layer_norm": True}),
}
each_cell = pytest.mark.parametrize("cell", CELLS)
each_kernel = pytest.mark.parametrize("kernel", ["auto", "reference"])


def _layer(cell: str, units: int = 21, inputs: int = 5, **arguments):
    kind, own = CELLS[cell]
    torch.manual_seed(3)
    layer = kind(units, return_sequences=True, **own, **arguments)
    layer.build((None, None, inputs))
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return layer


def _series(batch: int = 3, steps: int = 7, inputs: int = 5) -> Tensor:
    return torch.randn(batch, steps, inputs, generator=torch.Generator().manual_seed(8))


@each_cell
@each_kernel
def test_the_outputs_stay_near_those_of_float32(cell: str, kernel: str) -> None:
    layer, x = _layer(cell, use_kernel=kernel), _series(steps=20)
    before = layer(x).detach()
    layer.quantize("int8")
    off = (layer(x) - before).abs().max().item()
    assert 0 < off < 0.03 * before.abs().max().item()


@each_cell
@each_kernel
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_have_the_bits_of_the_whole(cell: str, kernel: str, batch: int) -> None:
    layer, x = _layer(cell, use_kernel=kernel), _series(batch)
    layer.quantize()
    stream = layer.stream(batch)
    steps = [stream.step(x[:, t]) for t in range(7)]
    assert torch.equal(torch.stack(steps, 1), layer(x))
    stream.reset()
    arrays = [stream.step(np.ascontiguousarray(x[:, t].numpy())) for t in range(7)]
    assert np.array_equal(np.stack(arrays, 1), layer(x).numpy())
    stream.reset()
    pieces = [stream.steps(x[:, :2]), stream.steps(x[:, 2:])]
    assert torch.equal(torch.cat(pieces, 1), layer(x))


def test_a_stream_with_a_mask_and_a_state_that_is_set() -> None:
    layer, x = _layer("lstm"), _series()
    layer.quantize()
    mask = torch.rand(3, 7, generator=torch.Generator().manual_seed(1)) > 0.4
    stream = layer.stream(3)
    state = [torch.full((3, 21), 0.25), torch.full((3, 21), -0.5)]
    stream.state = state
    x[~mask] = float("nan")
    steps = [stream.step(x[:, t], mask[:, t]) for t in range(7)]
    layer.return_state = True
    outputs, *final = layer(x, mask=mask, initial_state=state)
    begun = (mask.cumsum(1) > 0).unsqueeze(-1)  # before its first step a layer shows zeros
    assert torch.equal(torch.where(begun, torch.stack(steps, 1), 0), outputs)
    for one, other in zip(stream.state, final, strict=True):
        assert torch.equal(one, other)


@each_cell
def test_what_lies_in_the_padding_does_not_matter(cell: str) -> None:
    layer, x = _layer(cell), _series(4, 6)
    layer.quantize()
    mask = torch.arange(6) < torch.tensor([0, 2, 5, 6]).unsqueeze(1)
    clean = layer(torch.where(mask.unsqueeze(-1), x, 0), mask=mask)
    x[~mask] = float("nan")
    assert torch.equal(layer(x, mask=mask), clean)
    for row, length in ((1, 2), (2, 5)):
        alone = layer(x[row : row + 1, :length])[0]
        found = layer(x, mask=mask)[row, :length]
        if layer.kernel_choice(x).kernel == "cpu":
            assert torch.equal(found, alone)
        else:  # torch's own functions promise no bits
            torch.testing.assert_close(found, alone)


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.5},
        {"recurrent_dropout": 0.5},
        {"weight_dropout": 0.5},
        {"zoneout": (0.3, 0.5)},
        {"weight_dropout": 0.3, "recurrent_dropout": 0.3, "zoneout": 0.2, "projection": 8},
    ],
)
def test_dropout_acts_as_in_a_layer_of_floats(options: dict[str, float]) -> None:
    layer, x = _layer("lstm", seed=5, **options), _series()
    twin = _layer("lstm", seed=5, **options)
    layer.quantize()
    expected, found = twin(x, training=True).detach(), layer(x, training=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
    assert (layer(x) - found).abs().max() > 0.1


def test_a_projection_becomes_integers_and_the_rest_stays() -> None:
    layer = _layer("lstm all")
    floats, count = layer.projection.detach().clone(), layer.count_params()
    layer.quantize()
    assert layer.count_params() == count
    integers = {name for name, one in layer.named_parameters() if one.dtype == torch.int8}
    assert integers == {"kernel", "recurrent_kernel", "projection"}
    scale = layer.projection_scale
    assert scale.shape == (8,) and "projection_scale" in layer.state_dict()
    assert (layer.projection * scale - floats).abs().max() <= scale.max() / 2


@pytest.mark.parametrize("cell", ["lstm all", "gru zoneout"])
def test_both_directions_with_options(cell: str) -> None:
    layer = Bidirectional(_layer(cell))
    layer.build((None, None, 5))
    x, mask = _series(4, 6), torch.arange(6) < torch.tensor([0, 2, 5, 6]).unsqueeze(1)
    before = layer(x, mask=mask).detach()
    for one in (layer.forward_layer, layer.backward_layer):
        one.quantize()
    found = layer(x, mask=mask)
    assert 0 < (found - before).abs().max() < 0.05 * before.abs().max()
    x[~mask] = float("nan")
    assert torch.equal(layer(x, mask=mask), found)


def test_weights_and_counts() -> None:
    layer = _layer("lstm")
    floats, count = layer.kernel.detach().clone(), layer.count_params()
    layer.quantize()
    assert layer.count_params() == count and not layer.trainable
    assert [str(w.dtype) for w in layer.get_weights()] == ["int8", "int8", "float32"]
    assert (layer.kernel * layer.kernel_scale - floats).abs().max() <= layer.kernel_scale.max() / 2
    layer.trainable = True  # has no effect on weights that cannot train
    assert layer.trainable_weights == []
    assert set(layer.state_dict()) == {
        *("kernel", "recurrent_kernel", "bias", "kernel_scale", "recurrent_kernel_scale")
    }


def test_the_choice_says_so() -> None:
    layer = _layer("lstm")
    layer.quantize()
    reason = layer.kernel_choice(_series()).reason
    assert reason.endswith("weights of 8 bits")
    if cpu.available():
        assert reason == f"native, {cpu.isa()}, weights of 8 bits"


@pytest.mark.parametrize(
    "layer",
    [
        LSTM(4),
        Bidirectional(GRU(3, return_sequences=True)),
        RNN(LSTMCell(3)),
        LSTM(4, name="lstm_all", peephole=True, cell_clip=3.0, projection=2, layer_norm=True),
    ],
    ids=lambda layer: layer.name,
)
def test_a_configuration_and_a_state_dict_make_the_layer_again(layer) -> None:
    from gatewise.layers.recurrent import Recurrent

    layer.build((None, None, 5))
    for inner in layer.modules():
        if isinstance(inner, Recurrent):
            inner.quantize()
    again = get_layer_class(type(layer).__name__).from_config(layer.get_config())
    again.build((None, None, 5))
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(_series()), layer(_series()))
    assert {str(weight.dtype) for weight in again.parameters()} == {"torch.int8", "torch.float32"}


def test_a_mode_that_there_is_not() -> None:
    with pytest.raises(UnknownNameError, match="Unknown quantization mode 'int4'"):
        _layer("gru").quantize("int4")


def test_refusals_leave_the_layer_as_it_was() -> None:
    with pytest.raises(InputError, match="no weights yet"):
        LSTM(3).quantize()
    layer = _layer("gru").double()
    with pytest.raises(UnsupportedError, match=r"is torch\.float64\. Cast the model first"):
        layer.quantize()
    assert layer.quantization is None and layer.kernel.dtype == torch.float64
    layer = layer.float()
    with torch.no_grad():
        layer.recurrent_kernel[2, 3] = float("nan")
    with pytest.raises(InputError, match="recurrent_kernel holds a NaN"):
        layer.quantize()
    assert layer.kernel.dtype == torch.float32


def test_more_rows_than_a_sum_holds_are_refused() -> None:
    layer = SimpleRNN(1)
    layer.build((None, None, 133_145))
    with pytest.raises(UnsupportedError, match="may not fit a sum of 32 bits"):
        layer.quantize()


def test_weights_beside_the_usual_ones_are_refused() -> None:
    layer = _layer("lstm")
    layer.add_weight("peephole", (3, 21))
    with pytest.raises(UnsupportedError, match="has peephole too"):
        layer.quantize()
    assert layer.quantization is None


def test_twice_is_refused() -> None:
    layer = _layer("gru")
    layer.quantize()
    with pytest.raises(InputError, match="quantize it once"):
        layer.quantize()


def test_other_weights_need_their_scales() -> None:
    layer = _layer("gru")
    floats = layer.get_weights()
    layer.quantize()
    before = layer(_series())
    with pytest.raises(UnsupportedError, match="beside scales of other numbers"):
        layer.set_weights(floats)
    assert torch.equal(layer(_series()), before)


def test_a_cast_after_it_is_an_error_with_the_cure() -> None:
    layer = _layer("gru")
    layer.quantize()
    before = layer(_series())
    with pytest.raises(InputError, match=r"Cast it back: model\.float\(\)"):
        layer.double()(_series())
    assert torch.equal(layer.float()(_series()), before)
