"""Streams give, however a series is cut, the bits that a layer gives for the whole of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from gatewise import Sequential
from gatewise.errors import InputError, UnsupportedError
from gatewise.kernels import cpu
from gatewise.layers import (
    GRU,
    LSTM,
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Masking,
    SimpleRNN,
)

CELLS = {
    "lstm": (LSTM, {}),
    "lstm without bias": (LSTM, {"use_bias": False}),
    "lstm hard": (LSTM, {"recurrent_activation": "hard_sigmoid", "activation": "relu"}),
    "gru": (GRU, {}),
    "gru before": (GRU, {"reset_after": False}),
    "simple rnn": (SimpleRNN, {}),
}
each_cell = pytest.mark.parametrize("cell", CELLS)
each_kernel = pytest.mark.parametrize("kernel", ["cpu", "reference"])


def _layer(cell: str, units: int = 21, inputs: int = 5, **arguments):
    kind, own = CELLS[cell]
    torch.manual_seed(3)
    layer = kind(units, return_sequences=True, **own, **arguments)
    layer.build((None, None, inputs))
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return layer


def _series(batch: int, steps: int, inputs: int = 5, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(8)
    return torch.randn(batch, steps, inputs, generator=generator, dtype=dtype)


def _cut(stream, x, lengths, mask=None):
    """Feed a series to a stream in pieces of these lengths; return the outputs side by side."""
    outputs, first = [], 0
    for length in lengths:
        piece = slice(first, first + length)
        outputs.append(stream.steps(x[:, piece], None if mask is None else mask[:, piece]))
        first += length
    assert first == x.shape[1]
    return torch.cat(outputs, 1)


def _kernel_or_skip(kernel: str) -> str:
    if kernel == "cpu" and not cpu.available():
        pytest.skip(cpu.unavailable_reason())
    return kernel


@each_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 3, 9])
@pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
def test_steps_have_the_bits_of_the_whole(cell: str, dtype: torch.dtype, batch: int) -> None:
    layer = _layer(cell).to(dtype)
    x = _series(batch, 7, dtype=dtype)
    stream = layer.stream(batch)
    steps = [stream.step(x[:, t]) for t in range(7)]
    assert torch.equal(torch.stack(steps, 1), layer(x).detach())
    stream.reset()
    arrays = [stream.step(x[:, t].numpy()) for t in range(7)]
    assert all(isinstance(array, np.ndarray) for array in arrays)
    assert np.array_equal(np.stack(arrays, 1), layer(x).detach().numpy())


@each_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("batch", "units"), [(1, 21), (1, 128), (2, 128), (3, 21), (9, 40), (40, 8)]
)
@pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
def test_pieces_of_any_lengths_have_the_bits_of_the_whole(
    cell: str, dtype: torch.dtype, batch: int, units: int
) -> None:
    layer = _layer(cell, units, inputs=13).to(dtype)
    x = _series(batch, 90, inputs=13, dtype=dtype)
    expected = layer(x).detach()
    stream = layer.stream(batch)
    for lengths in ([90], [1, 40, 2, 47], [3, 1, 1, 85]):
        stream.reset()
        assert torch.equal(_cut(stream, x, lengths), expected)
        assert torch.equal(stream.state[0], expected[:, -1])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
def test_pieces_for_any_number_of_threads(threads: int) -> None:
    layers = [_layer(cell, 128, inputs=100) for cell in ("lstm", "gru")]
    before = torch.get_num_threads()
    for layer, batch in itertools.product(layers, (1, 2, 5)):
        x = _series(batch, 70, inputs=100)
        expected = layer(x).detach()
        mask = torch.rand(batch, 70, generator=torch.Generator().manual_seed(1)) > 0.3
        mask[:, 0] = True
        masked = layer(x, mask=mask).detach()
        try:
            torch.set_num_threads(threads)
            stream = layer.stream(batch)
            assert torch.equal(_cut(stream, x, [50, 20]), expected)
            stream.reset()
            assert torch.equal(_cut(stream, x, [1, 69], mask), masked)
        finally:
            torch.set_num_threads(before)


@pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
def test_contiguous_arrays_take_the_short_way_to_the_same_bits(monkeypatch) -> None:
    layer, x = _layer("lstm"), _series(2, 6)
    stream = layer.stream(2)
    monkeypatch.setattr(type(stream), "advance", None)
    arrays = [np.ascontiguousarray(x[:, t].numpy()) for t in range(6)]
    arrays[2].setflags(write=False)
    steps = [stream.step(array) for array in arrays]
    assert np.array_equal(np.stack(steps, 1), layer(x).detach().numpy())
    assert len({step.ctypes.data for step in steps}) == 6
    stream.reset()
    pieces = [stream.steps(x[:, piece].contiguous().numpy()) for piece in (slice(4), slice(4, 6))]
    assert np.array_equal(np.concatenate(pieces, 1), layer(x).detach().numpy())


@each_cell
@each_kernel
def test_every_kernel_streams_with_masks_and_resets(cell: str, kernel: str) -> None:
    layer = _layer(cell, use_kernel=_kernel_or_skip(kernel)).double()
    x = _series(4, 9, dtype=torch.float64)
    mask = torch.rand(4, 9, generator=torch.Generator().manual_seed(1)) > 0.4
    x = torch.where(mask.unsqueeze(-1), x, float("nan"))
    stream = layer.stream(4)
    steps = [stream.step(x[:, t], mask[:, t]) for t in range(5)]
    expected = layer(x[:, :5], mask=mask[:, :5])
    torch.testing.assert_close(torch.stack(steps, 1), expected.detach(), rtol=1e-12, atol=1e-12)
    stream.reset([1, 3])
    steps = torch.stack([stream.step(x[:, t], mask[:, t]) for t in range(5, 9)], 1)
    restarted = layer(x[:, 5:], mask=mask[:, 5:]).detach()
    whole = layer(x, mask=mask).detach()[:, 5:]
    torch.testing.assert_close(steps[[1, 3]], restarted[[1, 3]], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(steps[[0, 2]], whole[[0, 2]], rtol=1e-12, atol=1e-12)
    stream.reset()
    pieces = _cut(stream, x, [5, 4], mask)
    begun = (mask.cumsum(1) > 0).unsqueeze(-1)  # before its first step a layer shows zeros
    whole = layer(x, mask=mask).detach()
    torch.testing.assert_close(pieces * begun, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(stream.state[0], whole[:, -1], rtol=1e-12, atol=1e-12)


def test_state_can_be_read_and_set() -> None:
    layer, x = _layer("lstm"), _series(2, 8)
    first, second = layer.stream(2), layer.stream(2)
    for t in range(5):
        first.step(x[:, t])
    before = first.state
    second.state = before
    after = [first.step(x[:, 5]), second.step(x[:, 5])]
    assert torch.equal(after[0], after[1])
    assert torch.equal(second.state[0], after[1])
    assert not torch.equal(second.state[0], before[0])
    with pytest.raises(InputError, match=r"state \(2, 21\), \(2, 21\).*got \(1, 21\)"):
        first.state = [part[:1] for part in before]


def test_a_stream_keeps_its_weights_and_ignores_training_mode() -> None:
    layer = _layer("gru", dropout=0.5, recurrent_dropout=0.5)
    x = _series(1, 3)
    expected = layer(x).detach()
    stream = layer.stream()
    layer.train()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
    steps = [stream.step(x[:, t]) for t in range(3)]
    torch.testing.assert_close(torch.stack(steps, 1), expected)
    assert not steps[0].requires_grad


def test_zero_output_for_mask() -> None:
    layer, x = _layer("lstm", zero_output_for_mask=True), _series(2, 2)
    stream = layer.stream(2)
    stream.step(x[:, 0])
    h = stream.step(x[:, 1], [True, False])
    assert h[0].abs().min() > 0
    assert torch.equal(h[1], torch.zeros(21))
    assert stream.state[0][1].abs().max() > 0
    before = stream.state[0][1]
    h = stream.steps(x, [[True, True], [False, True]])
    assert torch.equal(h[1, 0], torch.zeros(21))
    assert h[1, 1].abs().min() > 0
    assert not torch.equal(h[1, 1], before)


def test_weights_and_steps_of_any_layout() -> None:
    layer, x = _layer("lstm"), _series(3, 4)
    expected = layer(x).detach()
    for weight in (layer.kernel, layer.recurrent_kernel):
        weight.data = weight.data.t().contiguous().t()
    stream = layer.stream(3)
    for t in range(4):
        transposed = np.asfortranarray(x[:, t].numpy().astype(np.float64))
        assert np.array_equal(stream.step(transposed), expected[:, t].numpy())
    stream.reset()
    strided = np.asfortranarray(x.numpy().astype(np.float64))
    assert np.array_equal(stream.steps(strided), expected.numpy())
    stream.reset()
    assert torch.equal(stream.steps(x.transpose(0, 1).contiguous().transpose(0, 1)), expected)


def _models():
    return {
        "classifier": [LSTM(9), Dropout(0.5), Dense(2, activation="softmax")],
        "stack": [LSTM(6, return_sequences=True), GRU(7, return_sequences=True), SimpleRNN(5)],
        "each step": [GRU(6, return_sequences=True), Dense(3), Activation("tanh")],
        "masked": [Masking(0.0), LSTM(4), Dense(1)],
        "nested": [Sequential([LSTM(6, return_sequences=True)]), LSTM(5), Dense(2)],
    }


@pytest.mark.parametrize("name", _models())
def test_a_model_s_step_is_its_output_for_the_series_so_far(name: str) -> None:
    torch.manual_seed(0)
    model = Sequential(_models()[name])
    model.build((None, None, 5))
    x = _series(3, 6)
    x[1, 2] = x[2, :2] = 0
    stream = model.stream(3)
    for t in range(6):
        y = stream.step(x[:, t])
        whole = model(x[:, : t + 1]).detach()
        torch.testing.assert_close(y, whole[:, -1] if whole.dim() == 3 else whole)
    stream.reset()
    each = torch.stack([stream.step(x[:, t]) for t in range(6)], 1)
    stream.reset()
    torch.testing.assert_close(_cut(stream, x, [2, 1, 3]), each)
    stream.reset()
    assert isinstance(stream.steps(x.numpy()), np.ndarray)
    stream.reset()
    again = stream.step(x[:, 0].numpy())
    whole = model(x[:, :1]).detach()
    assert isinstance(again, np.ndarray)
    np.testing.assert_allclose(again, whole[:, -1] if whole.dim() == 3 else whole, rtol=1e-6)


def test_a_model_of_token_ids_streams_ids_and_skips_padding() -> None:
    torch.manual_seed(0)
    model = Sequential([Embedding(11, 4, mask_zero=True), LSTM(6), Dense(1)])
    ids = np.array([[3, 0, 7, 10], [0, 5, 1, 0]])
    model.build((None, None))
    stream = model.stream(2)
    for t in range(4):
        y = stream.step(ids[:, t])
    np.testing.assert_allclose(y, model(torch.tensor(ids)).detach().numpy(), rtol=1e-6)
    stream.reset()
    np.testing.assert_allclose(stream.steps(ids)[:, -1], y, rtol=1e-6)
    with pytest.raises(InputError, match="token id 11"):
        stream.step(np.array([11, 1]))


def test_what_cannot_be_streamed_says_so() -> None:
    layer = _layer("lstm")
    with pytest.raises(
        InputError, match=r"expected one step \(2, 5\) but got \(2, 7, 5\).*with steps\(x\)"
    ):
        layer.stream(2).step(_series(2, 7))
    for wrong in (_series(2, 7)[:, 0], _series(3, 7), _series(2, 0), _series(2, 7, inputs=4)):
        for value in (wrong, wrong.numpy()):
            with pytest.raises(InputError, match=r"at least one step \(2, None, 5\) but got \("):
                layer.stream(2).steps(value)
    with pytest.raises(InputError, match="batch to be a positive whole number but got 0"):
        layer.stream(0)
    with pytest.raises(InputError, match=r"rows 0 to 1, but reset got 2"):
        layer.stream(2).reset(2)
    with pytest.raises(InputError, match=r"boolean mask \(2,\).*got \(3,\)"):
        layer.stream(2).step(_series(2, 1)[:, 0], torch.ones(3, dtype=torch.bool))
    with pytest.raises(InputError, match=r"boolean mask \(2, 4\).*got \(2,\)"):
        layer.stream(2).steps(_series(2, 4), torch.ones(2, dtype=torch.bool))
    with pytest.raises(InputError, match="no weights yet"):
        LSTM(3).stream()
    with pytest.raises(UnsupportedError, match="goes backwards"):
        _layer("lstm", go_backwards=True).stream()
    both = Sequential([Bidirectional(LSTM(3)), Dense(1)])
    both.build((None, None, 5))
    with pytest.raises(UnsupportedError, match="Bidirectional layer cannot be streamed"):
        both.stream()
    plain = Sequential([Dense(1)])
    plain.build((None, 5))
    with pytest.raises(UnsupportedError, match="no recurrent layer"):
        plain.stream()
