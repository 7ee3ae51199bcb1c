"""Where attention looks: the weights are those that the layer used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatewise.errors import InputError
from gatewise.inspect import measure_attention, render_attention
from gatewise.inspect.attention import AttentionMeasure
from gatewise.layers import (
    LSTM,
    AdditiveAttention,
    Attention,
    Dense,
    Embedding,
    GlobalAveragePooling1D,
    Input,
)
from gatewise.models import Model

X = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
REAL = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]).bool()


class Looking(nn.Module):
    """Attention over an LSTM's outputs, used as often as there are queries to ask."""

    def __init__(self, attention: Any, recurrent: Any, uses: int = 1, **asked: Any) -> None:
        super().__init__()
        self.recurrent, self.attention = recurrent, attention
        self.uses, self.asked = uses, asked

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        states = self.recurrent(x)
        states = states[0] if isinstance(states, tuple) else states
        masks = None if mask is None else [mask, mask]
        for _ in range(self.uses):
            states = self.attention([states, states], mask=masks, **self.asked)
        return states


@pytest.mark.parametrize("attention", [Attention(use_scale=True), AdditiveAttention()])
@pytest.mark.parametrize("mask", [None, REAL])
def test_the_weights_are_the_layers_own(attention: Any, mask: Tensor | None) -> None:
    model = Looking(attention, nn.LSTM(3, 4, batch_first=True))
    inputs = X if mask is None else (X, mask)
    model(X, mask)
    states = model.recurrent(X)[0]
    masks = None if mask is None else [mask, mask]
    _, expected = attention([states, states], mask=masks, return_attention_scores=True)
    one = measure_attention(model, inputs)["attention"]
    np.testing.assert_allclose(one.weights, expected.detach(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(one.weights.sum(axis=-1), 1, rtol=1e-5)
    assert (one.queries is None) == (mask is None)
    if mask is not None:
        assert np.isnan(one.entropy[1, 3:]).all() and (one.weights[1, :, 3:] == 0).all()
        np.testing.assert_allclose(one.looked_at[1], one.weights[1, :3].mean(axis=0), rtol=1e-6)
    assert "attention: a query spreads its weight over" in render_attention(
        measure_attention(model, inputs)
    )


def test_a_layer_used_twice_is_measured_twice_and_asked_weights_still_come() -> None:
    model = Looking(Attention(), LSTM(4, return_sequences=True), uses=2)
    model(X)
    measure = measure_attention(model, X)
    assert [one.name for one in measure.layers] == [
        "attention, use 1 of 2",
        "attention, use 2 of 2",
    ]
    asking = Looking(Attention(), nn.LSTM(3, 4, batch_first=True), return_attention_scores=True)
    assert isinstance(asking(X), tuple)
    assert measure_attention(asking, X).layers[0].weights.shape == (2, 6, 6)


def test_a_functional_model_brings_its_masks() -> None:
    ids = Input((6,), dtype="int64")
    states = LSTM(4, return_sequences=True)(Embedding(9, 3, mask_zero=True)(ids))
    looked = Attention(name="looking")([states, states])
    model = Model(ids, Dense(1)(GlobalAveragePooling1D()(looked)))
    tokens = np.array([[1, 2, 3, 4, 5, 6], [7, 8, 1, 0, 0, 0]])
    one = measure_attention(model, tokens)["looking"]
    np.testing.assert_array_equal(one.values, tokens > 0)
    assert (one.weights[1, :, 3:] == 0).all() and one.weights.shape == (2, 6, 6)
    assert np.isnan(one.entropy[1, 3:]).all()


def test_torch_s_multihead_attention() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.MultiheadAttention(4, 2, batch_first=True)
            self.widen = nn.Linear(3, 4)

        def forward(self, x: Tensor, padding: Tensor) -> Tensor:
            x = self.widen(x)
            y, weights = self.heads(x, x, x, key_padding_mask=padding, need_weights=False)
            assert weights is None
            return y

    model = Heads()
    one = measure_attention(model, (X, ~REAL))["heads"]
    x = model.widen(X)
    expected = model.heads(x, x, x, key_padding_mask=~REAL)[1]
    np.testing.assert_allclose(one.weights, expected.detach(), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(one.values, REAL)


def test_entropy_of_known_weights() -> None:
    from gatewise.inspect import AttentionWeights

    weights = np.array([[[1.0, 0.0, 0.0, 0.0], [0.25] * 4]])
    one = AttentionWeights("a", "Attention", 1, 1, weights, None, None)
    np.testing.assert_allclose(one.entropy, [[0.0, np.log(4)]])
    assert one.focus.tolist() == [[0, 0]]
    text = render_attention(AttentionMeasure((one,), 1))
    assert "over 2 of 4 values" in text
    assert text.splitlines()[-2] == "  query 0    █···  most at 0: 1"
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(InputError, match="holds no attention layer"):
        measure_attention(nn.LSTM(3, 4), X)
