"""Columns of categories as vectors, beside columns of numbers."""

from __future__ import annotations

import json

import pytest
import torch

from gatewise.errors import InputError
from gatewise.layers import LSTM, EmbedColumns, get_layer_class
from gatewise.models import Sequential, load_model


def test_numbers_pass_and_categories_are_looked_up():
    layer = EmbedColumns([3, 2], [4, 1])
    x = torch.tensor([[[0.5, -1.0, 2.0, 1.0], [7.0, 8.0, 0.0, 0.0]]])
    y = layer(x)
    assert y.shape == (1, 2, 7) == (1, *layer.compute_output_shape((None, 2, 4))[1:])
    assert torch.equal(y[..., :2], x[..., :2])
    first, second = layer.get_weights()
    assert torch.equal(y[0, 0, 2:6], torch.as_tensor(first[2]))
    assert torch.equal(y[0, :, 6], torch.as_tensor(second[[1, 0], 0]))


def test_every_vector_that_was_used_gets_a_gradient():
    layer = EmbedColumns([3], [2])
    layer(torch.tensor([[[1.0, 0.0], [1.0, 2.0]]])).sum().backward()
    (table,) = layer.parameters()
    assert table.grad is not None
    assert table.grad.abs().sum(dim=1).tolist() == [2.0, 0.0, 2.0]


@pytest.mark.parametrize("wrong", [-1.0, 3.0])
def test_a_number_that_is_no_category_is_named(wrong: float):
    with pytest.raises(InputError, match=f"got the category {int(wrong)} in column 1 of 1"):
        EmbedColumns([3], [2])(torch.tensor([[[0.5, wrong]]]))


def test_bad_shapes_and_arguments():
    with pytest.raises(InputError, match="needs a width for each column"):
        EmbedColumns([3, 2], [4])
    with pytest.raises(InputError, match="its last 2 channels categories"):
        EmbedColumns([3, 2], [4, 4])(torch.zeros(1, 2, 1))


def test_a_model_file_keeps_it(tmp_path):
    layer = EmbedColumns([3, 2], [4, 1], "normal", name="kinds")
    config = json.loads(json.dumps(layer.get_config()))
    assert get_layer_class("EmbedColumns").from_config(config).get_config() == config
    model = Sequential([EmbedColumns([3], [2], input_shape=(None, 2)), LSTM(2)])
    model.save(tmp_path / "m.safetensors")
    x = torch.tensor([[[0.5, 2.0]]])
    assert torch.equal(load_model(tmp_path / "m.safetensors")(x), model(x))
