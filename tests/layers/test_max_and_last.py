"""The largest value over the real steps beside the last state, of one and of two directions."""

from __future__ import annotations

import json

import pytest
import torch

from gatewise.errors import InputError
from gatewise.layers import GRU, LSTM, Bidirectional, MaxAndLast, get_layer_class
from gatewise.models import Sequential, load_model

MASK = torch.tensor([[True, True, True], [True, True, False], [False, True, False]])


def test_the_last_state_is_that_of_the_recurrent_layer():
    """A layer that returns its last state alone, with the same weights, gives the second half."""
    x = torch.randn(3, 5, 2)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    for directions in (1, 2):

        def layer(sequences: bool, directions: int = directions):
            if directions == 1:
                return LSTM(4, return_sequences=sequences)
            return Bidirectional(GRU(4, return_sequences=sequences))

        every, last = layer(True), layer(False)
        every(x)
        last(x)
        last.set_weights(every.get_weights())
        pooled = MaxAndLast(directions)(every(x, mask=mask), mask=mask)
        width = 4 * directions
        assert pooled.shape == (3, 2 * width)
        torch.testing.assert_close(pooled[:, width:], last(x, mask=mask))


def test_the_maximum_is_over_the_real_steps():
    x = torch.randn(3, 3, 4)
    x[~MASK] = 1e9
    pooled = MaxAndLast()(x, mask=MASK)
    for row in range(3):
        torch.testing.assert_close(pooled[row, :4], x[row][MASK[row]].amax(dim=0))
    torch.testing.assert_close(pooled[2, 4:], x[2, 1])


def test_padding_changes_no_bit_and_gets_no_gradient():
    x = torch.randn(3, 3, 4, requires_grad=True)
    for directions in (1, 2):
        layer = MaxAndLast(directions)
        padded = torch.where(MASK[..., None], x, torch.nan)
        pooled = layer(padded, mask=MASK)
        assert torch.equal(pooled, layer(torch.where(MASK[..., None], x, 5.0), mask=MASK))
        (gradient,) = torch.autograd.grad(pooled.sum(), x)
        assert torch.isfinite(gradient).all()
        assert (gradient[~MASK] == 0).all()


def test_a_series_without_steps_gives_zeros():
    x = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True] * 3])
    pooled = MaxAndLast(2)(x, mask=mask)
    assert (pooled[0] == 0).all()
    pooled.sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all() and (x.grad[0] == 0).all()


def test_bad_shapes_and_arguments():
    with pytest.raises(InputError, match="read in 1 or 2"):
        MaxAndLast(3)
    with pytest.raises(InputError, match="needs return_sequences=True"):
        MaxAndLast()(torch.zeros(2, 3))
    with pytest.raises(InputError, match=r"\(B, T, F\), F even"):
        MaxAndLast(2)(torch.zeros(2, 3, 5))


def test_a_model_file_keeps_it(tmp_path):
    layer = MaxAndLast(2, name="summary")
    config = json.loads(json.dumps(layer.get_config()))
    assert get_layer_class("MaxAndLast").from_config(config).get_config() == config
    model = Sequential([LSTM(2, return_sequences=True, input_shape=(None, 2)), MaxAndLast()])
    model.save(tmp_path / "m.safetensors")
    x = torch.randn(2, 3, 2)
    assert torch.equal(load_model(tmp_path / "m.safetensors")(x), model(x))
