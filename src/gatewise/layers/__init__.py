"""Layers with Keras's names, arguments and weights, as ``torch.nn`` modules."""

from __future__ import annotations

from gatewise.errors import unknown_name
from gatewise.layers import initializers, regularizers
from gatewise.layers.dense import Activation, Dense
from gatewise.layers.dropout import Dropout
from gatewise.layers.embedding import Embedding
from gatewise.layers.gru import GRU
from gatewise.layers.input import Input
from gatewise.layers.layer import Layer, RankError, Shape
from gatewise.layers.lstm import LSTM
from gatewise.layers.masking import Masking
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.simple_rnn import SimpleRNN
from gatewise.layers.wrappers import Bidirectional

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        LSTM, GRU, SimpleRNN, Bidirectional, Dense, Activation, Dropout, Embedding, Masking,
    )
}  # fmt: skip
"""The layers that a saved model can name."""


def get_layer_class(name: str) -> type[Layer]:
    """Return a layer's class by its name.

    >>> get_layer_class("LSTM")
    <class 'gatewise.layers.lstm.LSTM'>
    """
    if name not in LAYERS:
        raise unknown_name("layer", name, LAYERS)
    return LAYERS[name]


__all__ = [
    "GRU",
    "LAYERS",
    "LSTM",
    "Activation",
    "Bidirectional",
    "Dense",
    "Dropout",
    "Embedding",
    "Input",
    "Layer",
    "Masking",
    "RankError",
    "Recurrent",
    "Shape",
    "SimpleRNN",
    "get_layer_class",
    "initializers",
    "regularizers",
]
