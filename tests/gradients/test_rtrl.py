"""Real-time recurrent learning is exact, whatever the chunk, the cell, the depth and the mask."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from gatewise.errors import UnsupportedError
from gatewise.gradients import BPTT, RTRL, rtrl
from gatewise.layers import GRU, LSTM, Activation, Dense, Dropout, Embedding, Masking
from gatewise.models import Sequential

CELLS = ("lstm", "gru", "simple_rnn")
STEPS = 7


@pytest.mark.parametrize("every", [1, 3, STEPS])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_rtrl_equals_bptt(tools: Any, cell: str, depth: int, every: int) -> None:
    for sequences in (True, False):
        model = tools.build(cell, depth, sequences)
        x, y = tools.series(steps=STEPS, sequences=sequences)
        for mask in (None, torch.arange(STEPS) < torch.tensor([[STEPS], [4], [1]])):
            exact = tools.gradients_of(model, BPTT(), x, y, mask)
            tools.assert_same(tools.gradients_of(model, RTRL(every), x, y, mask), exact)


@pytest.mark.parametrize("cell", CELLS)
def test_rtrl_equals_bptt_in_single_precision(tools: Any, cell: str) -> None:
    torch.set_default_dtype(torch.float32)
    model = tools.build(cell, 2)
    x, y = tools.series(steps=STEPS)
    exact = tools.gradients_of(model, BPTT(), x, y)
    for every in (1, 3, STEPS):
        tools.assert_same(tools.gradients_of(model, RTRL(every), x, y), exact, 1e-5)


def test_every_weight_that_the_states_depend_on_takes_part(tools: Any) -> None:
    model = Sequential(
        [
            Embedding(6, 3, mask_zero=True),
            GRU(3, return_sequences=True, reset_after=False),
            Dense(2, activation="tanh"),
            Activation("sigmoid"),
            LSTM(2),
            Dropout(0.5),
            Dense(1),
        ]
    )
    ids, y = torch.tensor([[1, 2, 3, 4, 5], [5, 1, 0, 0, 0]]), torch.randn(2, 1)
    exact = tools.gradients_of(model, BPTT(), ids, y)
    assert exact["embedding.embeddings"].abs().sum() > 0
    for every in (1, 2, 5):
        tools.assert_same(tools.gradients_of(model, RTRL(every), ids, y), exact)


def test_masks_with_holes_and_nan_in_the_padding(tools: Any) -> None:
    model = Sequential([Masking(input_shape=(None, 2)), LSTM(3, return_sequences=True), Dense(1)])
    x, y = tools.series(batch=2, steps=6)
    x[0, 2], x[0, 5], x[1, 0] = 0, 0, 0
    exact = tools.gradients_of(model, BPTT(), x, y)
    tools.assert_same(tools.gradients_of(model, RTRL(), x, y), exact)

    plain = tools.build("lstm", 1)
    mask = torch.tensor([[True, False, True, True, False, False], [False] * 5 + [True]])
    exact = tools.gradients_of(plain, BPTT(), x, y, mask)
    x[~mask], y[~mask] = torch.nan, torch.nan
    tools.assert_same(tools.gradients_of(plain, RTRL(2), x, y, mask), exact)


def test_frozen_layers_stay_out(tools: Any) -> None:
    model = tools.build("lstm", 2)
    model.layers[0].trainable = False
    x, y = tools.series()
    exact = tools.gradients_of(model, BPTT(), x, y)
    tools.assert_same(tools.gradients_of(model, RTRL(), x, y), exact)
    assert model.layers[0].kernel.grad is None


def test_a_matrix_that_would_not_fit_is_refused_with_its_size(
    tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tools.build("lstm", 1, units=3)
    x, y = tools.series()
    # 3 series, 6 states, 4·3·(2 + 3 + 1) weights of 8 bytes, and as much again while it moves on.
    size = 3 * 6 * 72 * 8
    monkeypatch.setattr(rtrl, "_memory", lambda device: 2 * size)
    tools.gradients_of(model, RTRL(), x, y)
    monkeypatch.setattr(rtrl, "_memory", lambda device: 2 * size - 1)
    with pytest.raises(
        UnsupportedError, match=r"3 series × 6 states × 72 weights takes 10.12 KiB.*SnAp1"
    ):
        tools.gradients_of(model, RTRL(), x, y)
    monkeypatch.undo()
    large = Sequential([LSTM(1024, input_shape=(None, 2)), Dense(1)])
    size = 3 * 2048 * (4 * 1024 * (2 + 1024 + 1)) * 8 / 2**30
    with pytest.raises(UnsupportedError, match=re.escape(f"{size:.1f} GiB")):
        tools.gradients_of(large, RTRL(), x, torch.randn(3, 1))


def test_dropout_in_front_of_the_states_is_refused() -> None:
    model = Sequential([LSTM(3, dropout=0.1, input_shape=(None, 2)), Dense(1)])
    with pytest.raises(UnsupportedError, match="behind the last recurrent layer"):
        RTRL().supports(model)
