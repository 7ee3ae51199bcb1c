"""Layers with Keras's names, arguments and weights, as ``torch.nn`` modules."""

from __future__ import annotations

from typing import Any

from gatewise.errors import missing
from gatewise.layers import initializers, regularizers
from gatewise.layers.attention import AdditiveAttention, Attention
from gatewise.layers.convolution import Conv1D
from gatewise.layers.dense import Activation, Dense
from gatewise.layers.dropout import Dropout, SpatialDropout1D
from gatewise.layers.dropout_cell import DropoutRNNCell
from gatewise.layers.embed_columns import EmbedColumns
from gatewise.layers.embedding import Embedding
from gatewise.layers.gru import GRU
from gatewise.layers.input import Input, InputLayer
from gatewise.layers.layer import Layer, RankError, Shape
from gatewise.layers.lstm import LSTM
from gatewise.layers.masking import Masking
from gatewise.layers.max_and_last import MaxAndLast
from gatewise.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
)
from gatewise.layers.merging_functions import (
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from gatewise.layers.normalization import BatchNormalization, LayerNormalization
from gatewise.layers.pooling import (
    AveragePooling1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
)
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.registered import LAYERS, get_layer_class, register
from gatewise.layers.regularization import ActivityRegularization
from gatewise.layers.reshaping import Flatten, Permute, RepeatVector, Reshape
from gatewise.layers.rnn import RNN
from gatewise.layers.rnn_cells import GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells
from gatewise.layers.simple_rnn import SimpleRNN
from gatewise.layers.symbol import Symbol
from gatewise.layers.time_distributed import TimeDistributed
from gatewise.layers.torch_layer import TorchLayer
from gatewise.layers.wrapper import Wrapper
from gatewise.layers.wrappers import Bidirectional

LAYERS.update(
    {
        layer.__name__: layer
        for layer in (
            LSTM, GRU, SimpleRNN, Bidirectional, Dense, Activation, Dropout, Embedding, Masking,
            InputLayer, RNN, GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells,
            Add, AdditiveAttention, Attention, Average, AveragePooling1D, BatchNormalization,
            Concatenate, Conv1D, Dot, EmbedColumns, Flatten, GlobalAveragePooling1D,
            GlobalMaxPooling1D, LayerNormalization, MaxAndLast, MaxPooling1D, Maximum, Minimum,
            Multiply, Permute, RepeatVector, ActivityRegularization, Reshape, SpatialDropout1D,
            Subtract, TimeDistributed,
        )
    }
)  # fmt: skip


_INSTEAD = {
    "CuDNNGRU": 'Use GRU(use_kernel="cudnn").',
    "CuDNNLSTM": 'Use LSTM(use_kernel="cudnn").',
    "ELU": "Use Activation('elu').",
    "GaussianDropout": "The nearest is Dropout.",
    "GaussianNoise": "The nearest is Dropout.",
    "InputSpec": "Check shapes in your layer's build.",
    "Lambda": "Write a Layer with a call(self, x), which can be saved, too.",
    "LeakyReLU": "Use Activation(torch.nn.LeakyReLU()).",
    "MultiHeadAttention": "The nearest is Attention.",
    "Normalization": "Use gatewise.data.StandardScaler.",
    "PReLU": "Use torch.nn.PReLU in a Layer of your own.",
    "ReLU": "Use Activation('relu').",
    "Softmax": "Use Activation('softmax').",
    "StringLookup": "Use gatewise.data.Vocabulary.",
    "TextVectorization": "Use gatewise.data.Vocabulary.",
}


def __getattr__(name: str) -> Any:
    """Say which layer is nearest to one that does not exist here."""
    known = [*LAYERS, "DropoutRNNCell", "Input", "Layer", "TorchLayer", "Wrapper"]
    raise missing("gatewise.layers", name, known, _INSTEAD)


__all__ = [
    "GRU",
    "LAYERS",
    "LSTM",
    "RNN",
    "Activation",
    "ActivityRegularization",
    "Add",
    "AdditiveAttention",
    "Attention",
    "Average",
    "AveragePooling1D",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Dense",
    "Dot",
    "Dropout",
    "DropoutRNNCell",
    "EmbedColumns",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Input",
    "InputLayer",
    "LSTMCell",
    "Layer",
    "LayerNormalization",
    "Masking",
    "MaxAndLast",
    "MaxPooling1D",
    "Maximum",
    "Minimum",
    "Multiply",
    "Permute",
    "RankError",
    "Recurrent",
    "RepeatVector",
    "Reshape",
    "Shape",
    "SimpleRNN",
    "SimpleRNNCell",
    "SpatialDropout1D",
    "StackedRNNCells",
    "Subtract",
    "Symbol",
    "TimeDistributed",
    "TorchLayer",
    "Wrapper",
    "add",
    "average",
    "concatenate",
    "dot",
    "get_layer_class",
    "initializers",
    "maximum",
    "minimum",
    "multiply",
    "register",
    "regularizers",
    "subtract",
]
