"""The same layer counted as each library stores it, against the libraries themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import gatewise.nn
from gatewise.inspect import SetLedger, measure_parameters, render_conventions
from gatewise.inspect.layout import cell_width
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, SimpleRNN
from gatewise.models import Sequential

keras = pytest.importorskip("keras")


def ledger_of(layer: Any) -> SetLedger:
    [one] = measure_parameters(Sequential([layer])).layers[0].sets
    return one


def counts(one: SetLedger) -> dict[str, int | None]:
    return {convention.library: convention.count for convention in one.conventions}


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_keras_and_torch_count_as_they_do_themselves(name: str, use_bias: bool) -> None:
    ours = {"LSTM": LSTM, "GRU": GRU, "SimpleRNN": SimpleRNN}[name]
    one = ledger_of(ours(7, use_bias=use_bias, input_shape=(None, 5)))
    theirs = getattr(keras.layers, name)(7, use_bias=use_bias)
    theirs.build((None, None, 5))
    kind = {"LSTM": nn.LSTM, "GRU": nn.GRU, "SimpleRNN": nn.RNN}[name]
    torch_count = sum(p.numel() for p in kind(5, 7, bias=use_bias).parameters())
    found = counts(one)
    assert found["Keras"] == theirs.count_params() == one.count
    assert found["PyTorch"] == found["cuDNN"] == found["ONNX"] == torch_count
    assert one.multiply_adds == sum(w.numel() for w in kind(5, 7, bias=False).parameters())


def test_a_torch_style_layer_has_keras_s_count_too() -> None:
    one = measure_parameters(nn.Sequential(gatewise.nn.LSTM(100, 128))).layers[0].sets[0]
    assert counts(one) == {"Keras": 117_248, "PyTorch": 117_760, "cuDNN": 117_760, "ONNX": 117_760}


def test_onnx_and_cudnn_store_two_biases_a_gate() -> None:
    # ONNX: W [1, 4H, I], R [1, 4H, H], B [1, 8H].
    one = ledger_of(LSTM(128, input_shape=(None, 100)))
    assert counts(one)["ONNX"] == 512 * 100 + 512 * 128 + 8 * 128


def test_what_a_library_does_not_have_is_said() -> None:
    projected = measure_parameters(nn.Sequential(gatewise.nn.LSTM(5, 7, proj_size=3)))
    one = projected.layers[0].sets[0]
    torch_count = sum(p.numel() for p in nn.LSTM(5, 7, proj_size=3).parameters())
    assert counts(one) == {
        "Keras": None, "PyTorch": torch_count, "cuDNN": torch_count, "ONNX": None,
    }  # fmt: skip
    assert "has no LSTM with a projected h" in render_conventions(projected)
    before = ledger_of(GRU(7, reset_after=False, input_shape=(None, 5)))
    remarks = {c.library: c.remark for c in before.conventions}
    assert "resets after" in remarks["PyTorch"] and "resets after" in remarks["cuDNN"]
    assert "linear_before_reset=0" in remarks["ONNX"]
    assert counts(before)["Keras"] == before.count


def test_the_text_names_every_set_and_fits_80_columns() -> None:
    model = Sequential([Bidirectional(GRU(64), input_shape=(None, 30)), Dense(2)])
    text = render_conventions(measure_parameters(model))
    assert "bidirectional (forward): 18,432 parameters" in text
    assert "18,048 multiply-adds a time step and" in text
    assert "  Keras    3·(64·30 + 64·64) + 2·3·64 = 18,432" in text
    assert "bidirectional (backward)" in text
    assert max(map(cell_width, text.splitlines())) <= 80
    nothing = measure_parameters(torch.nn.Linear(2, 2))
    assert render_conventions(nothing).startswith("No recurrent layer")
