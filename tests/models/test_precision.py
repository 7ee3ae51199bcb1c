"""compile(precision="bfloat16"): which layers take it, where it goes, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import gatewise
from gatewise.errors import UnknownNameError, UnsupportedError
from gatewise.gradients import TBPTT
from gatewise.kernels import cpu
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, SimpleRNN
from gatewise.models import Sequential, load_model
from gatewise.models.precision import set_precision


def make(*layers, **compiled) -> Sequential:
    torch.manual_seed(0)
    model = Sequential([*(layers or (LSTM(6, input_shape=(None, 3)),)), Dense(1)])
    model.compile(optimizer="adam", loss="mse", **compiled)
    return model


def series() -> Tensor:
    return torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(1))


def test_the_layers_take_it_and_give_it_back() -> None:
    x, plain = series(), make()
    expected = plain(x)
    model = make(precision="bfloat16")
    assert model.layers[0].precision == "bfloat16" and model.compiled.precision == "bfloat16"
    found = model(x)
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    model.compile(optimizer="adam", loss="mse")
    assert torch.equal(model(x), expected)


def test_wrapped_layers_and_layers_of_gatewise_nn_take_it() -> None:
    model = make(
        Bidirectional(GRU(4, return_sequences=True), input_shape=(None, 3)),
        SimpleRNN(3),
        precision="bfloat16",
    )
    found = [m.precision for m in model.modules() if hasattr(m, "specification")]
    assert found == ["bfloat16"] * 3
    own = torch.nn.Sequential(gatewise.nn.LSTM(8, 5, num_layers=2), gatewise.nn.RNN(5, 5))
    set_precision(own, "bfloat16")
    assert [layer.specification.precision for layer in own] == ["bfloat16"] * 2


def test_a_layer_added_after_compile_takes_it() -> None:
    model = make(LSTM(6, return_sequences=True, input_shape=(None, 3)), precision="bfloat16")
    model.pop()
    model.add(LSTM(2))
    assert model.layers[-1].precision == "bfloat16"


@pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
def test_the_choice_and_the_summary_say_so() -> None:
    model = make(precision="bfloat16")
    choice = model.layers[0].kernel_choice(series())
    assert choice.kernel == "cpu" and "products in bfloat16" in choice.reason
    lines: list[str] = []
    model.summary(gates=True, print_fn=lines.append)
    assert "products in bfloat16" in "\n".join(lines)
    plain = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "bfloat16" in plain.layers[0].kernel_choice(series()).reason
        assert "bfloat16" in gatewise.nn.LSTM(3, 4).choice().reason
    assert "bfloat16" not in plain.layers[0].kernel_choice(series()).reason


def test_a_file_keeps_it(tmp_path: Path) -> None:
    model = make(precision="bfloat16")
    model.save(tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert again.compiled.precision == "bfloat16"
    assert torch.equal(again(series()), model(series()))
    model.save(tmp_path / "bare.safetensors", include_optimizer=False)
    assert load_model(tmp_path / "bare.safetensors").layers[0].precision == "float32"


def test_a_stream_gives_the_bits_of_the_whole() -> None:
    for layer in (LSTM(6, input_shape=(None, 3)), GRU(5, input_shape=(None, 3))):
        model, x = make(layer, precision="bfloat16"), series()
        stream = model.stream(batch=5)
        for t in range(7):
            y = stream.step(x[:, t])
        assert torch.equal(y, model(x))
        stream.reset()
        assert torch.equal(stream.steps(x)[:, -1], model(x))


def test_autocast_computes_what_compile_chooses() -> None:
    x, plain, model = series(), make(), make(precision="bfloat16")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = plain.layers[0](x)
    assert torch.equal(found, model.layers[0](x))


def test_what_cannot_be_honoured_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"LSTM, GRU and SimpleRNN.*the model has none"):
        Sequential([Dense(1, input_shape=(3,))]).compile(loss="mse", precision="bfloat16")
    with pytest.raises(UnknownNameError, match="Unknown precision 'half'"):
        make(precision="half")


@pytest.mark.parametrize(
    "name", ["bptt", "bptt:sqrt", "tbptt:3", "artbp:4", "rtrl", "snap1", "eprop"]
)
def test_every_gradient_algorithm_works_with_it(name: str) -> None:
    x = series()
    y = x.cumsum(1)[..., :1]
    layer = LSTM(6, return_sequences=True, input_shape=(None, 3))

    def trained(**compiled) -> Tensor:
        torch.manual_seed(3)
        model = make(layer.__class__.from_config(layer.get_config()), gradient=name, **compiled)
        torch.manual_seed(4)
        model.fit(x, y, epochs=1, batch_size=5, shuffle=False, verbose=0)
        return torch.cat([weight.detach().flatten() for weight in model.parameters()])

    found, expected = trained(precision="bfloat16"), trained()
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.01)


def test_truncation_after_the_whole_series_is_backpropagation() -> None:
    x = series()

    def gradient(algorithm) -> Tensor:
        model = make(gradient=algorithm, precision="bfloat16")
        gatewise.gradients.backward(model, x, x[:, 0, :1], gradient=algorithm)
        return model.layers[0].recurrent_kernel.grad

    torch.testing.assert_close(gradient(TBPTT(7)), gradient("bptt"))


@pytest.mark.parametrize("layer", [LSTM, GRU, SimpleRNN])
def test_a_small_task_is_learnt_as_in_float32(layer) -> None:
    """Which of two marks came first, some steps ago."""
    generator = torch.Generator().manual_seed(5)
    first = torch.randint(0, 2, (256,), generator=generator)
    x = 0.1 * torch.randn(256, 12, 2, generator=generator)
    rows = torch.arange(256)
    x[rows, 1, first] += 1
    x[rows, 5, 1 - first] += 1

    def accuracy(precision: str) -> float:
        torch.manual_seed(0)
        model = Sequential([layer(16, input_shape=(None, 2)), Dense(1, activation="sigmoid")])
        model.compile(
            optimizer=gatewise.optimizers.Adam(0.01), loss="binary_crossentropy",
            metrics=["accuracy"], precision=precision,
        )  # fmt: skip
        model.fit(x.numpy(), first.numpy().astype(np.float32), epochs=25, verbose=0)
        return model.evaluate(x.numpy(), first.numpy().astype(np.float32), verbose=0)[1]

    assert accuracy("float32") > 0.98
    assert accuracy("bfloat16") > 0.98
