"""Every layer goes to JSON and back, with its weights in Keras's order."""

from __future__ import annotations

import inspect
import json
from typing import Any

import keras
import numpy as np
import pytest
import torch

from gatewise import layers
from gatewise.errors import InputError, UnknownNameError

RECURRENT: dict[str, Any] = {
    "use_bias": False,
    "kernel_initializer": "he_normal",
    "recurrent_initializer": layers.initializers.Orthogonal(0.5, seed=2),
    "bias_initializer": layers.initializers.Constant(0.1),
    "kernel_regularizer": layers.regularizers.L2(0.3),
    "recurrent_regularizer": "l1",
    "bias_regularizer": "l1_l2",
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "seed": 4,
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": True,
    "zero_output_for_mask": True,
    "input_shape": (None, 4),
    "name": "mine",
    "trainable": False,
    "use_kernel": "reference",
}
UNCHANGING = {"unroll", "implementation", "weights", "input_length", "layer"}

LAYERS: list[Any] = [
    layers.LSTM(
        3,
        "relu",
        "hard_sigmoid",
        unit_forget_bias=False,
        recompute="gates",
        **{**RECURRENT, "use_bias": True},
    ),
    layers.GRU(3, "elu", "tanh", reset_after=False, **RECURRENT),
    layers.SimpleRNN(3, "softsign", **RECURRENT),
    layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode=None, name="both"),
    layers.Bidirectional(
        layers.LSTM(3), backward_layer=layers.GRU(3, go_backwards=True), trainable=False
    ),
    layers.Dense(3, "relu", False, "ones", "ones", "l1", "l2", name="d", trainable=False),
    layers.Activation("swish", name="a"),
    layers.Dropout(0.3, (None, 1, None), 7, name="o"),
    layers.Embedding(9, 4, "normal", "l2", mask_zero=True, name="e", input_shape=(None,)),
    layers.Masking(-1.0, name="m", input_shape=[None, 4]),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_round_trip(layer: Any) -> None:
    config = json.loads(json.dumps(layer.get_config()))
    again = layers.get_layer_class(type(layer).__name__).from_config(config)
    assert again.get_config() == config
    assert again.name == layer.name
    assert again.input_shape == layer.input_shape
    for copy in (layer, again):
        copy.build((2, 5, 4))
    assert [weight.shape for weight in again.parameters()] == [w.shape for w in layer.parameters()]
    assert [w.requires_grad for w in again.parameters()] == [
        w.requires_grad for w in layer.parameters()
    ]
    again.set_weights(layer.get_weights())
    x = np.random.default_rng(1).integers(0, 9, size=(2, 5, 4))
    x = x[..., 0] if isinstance(layer, layers.Embedding) else x.astype("float32")
    for ours, theirs in zip(flat(again(x)), flat(layer(x)), strict=True):
        assert torch.equal(ours, theirs)


def flat(result: Any) -> list[torch.Tensor]:
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN", "Dense", "Embedding"])
def test_every_argument_is_in_the_config(cell: str) -> None:
    arguments = set(inspect.signature(layers.LAYERS[cell]).parameters) - UNCHANGING
    given = next(layer for layer in LAYERS if type(layer).__name__ == cell)
    assert set(given.get_config()) == arguments


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN", "Dense", "Embedding", "Dropout"])
def test_arguments_have_the_order_and_defaults_of_keras(cell: str) -> None:
    ours = inspect.signature(layers.LAYERS[cell]).parameters
    theirs = inspect.signature(getattr(keras.layers, cell).__init__).parameters
    positional = [p for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [p.name for p in positional] == list(theirs)[1 : len(positional) + 1]
    for name in set(ours) & set(theirs):
        assert ours[name].default == theirs[name].default, name


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN", "Dense", "Embedding"])
def test_weights_have_the_order_and_shapes_of_keras(cell: str) -> None:
    arguments = (7, 3) if cell == "Embedding" else (3,)
    shape = (2, 5) if cell == "Embedding" else (2, 5, 4)
    ours, theirs = layers.LAYERS[cell](*arguments), getattr(keras.layers, cell)(*arguments)
    ours.build(shape)
    theirs.build(shape)
    assert [tuple(w.shape) for w in ours.parameters()] == [tuple(w.shape) for w in theirs.weights]
    assert [name for name, _ in ours.named_parameters()] == [w.name for w in theirs.weights]
    assert ours.count_params() == theirs.count_params()


def test_bidirectional_weights_and_names() -> None:
    layer = layers.Bidirectional(layers.LSTM(3, input_shape=(None, 4)))
    assert layer.input_shape == (None, 4)
    layer.build((None, *layer.input_shape))
    assert (layer.forward_layer.name, layer.backward_layer.name) == (
        "forward_lstm",
        "backward_lstm",
    )
    names = [name for name, _ in layer.named_parameters()]
    assert names == [
        f"{child}.{weight}"
        for child in ("forward_layer", "backward_layer")
        for weight in ("kernel", "recurrent_kernel", "bias")
    ]
    sets = layer.weight_sets()
    assert sets[1].sources["kernel"] == ("backward_layer.kernel",)
    assert sets[1].weights["kernel"] is layer.backward_layer.kernel
    assert [part.specification.reverse for part in sets] == [False, True]
    layer.trainable = False
    assert not any(weight.requires_grad for weight in layer.parameters())


def test_bidirectional_choice() -> None:
    one = layers.Bidirectional(layers.LSTM(3, use_kernel="reference"))
    assert one.choice().reason == "asked for by name"
    other = layers.LSTM(3, activation="gelu", go_backwards=True)
    mixed = layers.Bidirectional(layers.LSTM(3, use_kernel="reference"), backward_layer=other)
    assert mixed.choice().kernel == "reference"
    assert mixed.choice().reason.startswith("forward reference (asked for by name), backward")


def test_names() -> None:
    assert [layer(2).name for layer in (layers.LSTM, layers.GRU, layers.SimpleRNN)] == [
        "lstm",
        "gru",
        "simple_rnn",
    ]
    assert layers.LSTM(2).auto_named
    assert not layers.LSTM(2, name="encoder").auto_named


def test_what_json_cannot_hold_is_refused() -> None:
    own = layers.LSTM(3, activation=lambda x: x)
    with pytest.raises(InputError, match=r"The activation .*lambda.* has no name"):
        own.get_config()
    filled = layers.Dense(3, kernel_initializer=lambda shape, dtype: torch.ones(shape))
    with pytest.raises(InputError, match=r"The initializer .*lambda.* has no name"):
        filled.get_config()
    with pytest.raises(InputError, match=r"The regularizer .*lambda.* has no name"):
        layers.Dense(3, kernel_regularizer=lambda w: w.sum()).get_config()
    # Wrapping and building need no configuration.
    layer = layers.Bidirectional(own, "sum")
    assert layer(torch.ones(2, 3, 4)).shape == (2, 3)
    assert filled(torch.ones(1, 2)).tolist() == [[2.0, 2.0, 2.0]]


def test_unknown_layers() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown layer 'LSTN'\. Did you mean 'LSTM'"):
        layers.get_layer_class("LSTN")
