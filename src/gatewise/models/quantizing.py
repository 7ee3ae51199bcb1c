"""A model's `quantize`: its recurrent layers with weights of 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewise.errors import UnsupportedError
from gatewise.layers.quantization import check_mode, check_quantizable, quantize_layer
from gatewise.layers.recurrent import Recurrent
from gatewise.models.parameters import require_built

if TYPE_CHECKING:
    from gatewise.models.model import Model


def quantize(model: Model, mode: str = "int8") -> None:
    """Round W and U of every recurrent layer to 8 bits, for inference and streams alone.

    In place, as Keras's `quantize`. `Dense`, `Embedding` and all other layers stay in float32, and
    all are frozen. The model still predicts, evaluates, streams and is saved; `fit` and a way back
    are refused. It cannot be undone: keep the file of the trained model. What a layer then computes
    stands at `LSTM.quantize`; `gatewise bench --int8 MODEL DATA` says what it costs in accuracy.

    Raises `UnsupportedError` for a model without recurrent layers of `gatewise.layers` or whose
    weights are not float32, `InputError` for one without weights or that was quantized before;
    then nothing is changed.

    >>> from gatewise.layers import LSTM, Dense
    >>> from gatewise.models import Sequential
    >>> model = Sequential([LSTM(4, input_shape=(None, 3)), Dense(1)])
    >>> model.quantize("int8")
    >>> [str(layer.get_weights()[0].dtype) for layer in model.layers]
    ['int8', 'float32']
    """
    check_mode(mode)
    require_built(model, "quantize()")
    layers = [module for module in model.modules() if isinstance(module, Recurrent)]
    if not layers:
        raise UnsupportedError(
            f"quantize rounds the weights of LSTM, GRU and SimpleRNN, and {model.name} has none of "
            "them. Leave it as it is."
        )
    for layer in layers:
        check_quantizable(layer)
    for layer in layers:
        quantize_layer(layer, mode)
    model.trainable = False
    if model.compiled is not None:
        model.compiled.unbind()
