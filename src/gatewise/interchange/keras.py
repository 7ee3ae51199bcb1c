"""A Keras Sequential as gatewise's, and back: layers, arguments and weights.

Keras may run on any backend here. Optimizers and their state stay behind: compile anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from gatewise import layers
from gatewise.errors import InputError, UnsupportedError
from gatewise.interchange.agreement import assert_equal_outputs
from gatewise.models import Sequential

try:
    import keras
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "gatewise.interchange.keras needs Keras 3 on an installed backend. "
        "Install it with: pip install 'gatewise[keras]', and set KERAS_BACKEND=torch.",
        name=error.name,
    ) from error

SUPPORTED = (
    "Bidirectional",
    "Dense",
    "Dropout",
    "Embedding",
    "GRU",
    "LSTM",
    "Masking",
    "SimpleRNN",
)
"""The layers that are converted, by the name they have on both sides."""

_RECURRENT = ("GRU", "LSTM", "SimpleRNN")
# What changes how a layer computes but not what; types are those of the model.
_WITHOUT_MEANING = {
    "dtype",
    "implementation",
    "input_length",
    "input_shape",
    "recompute",
    "unroll",
    "use_kernel",
}
# Keras's Bidirectional repeats what its layers say.
_REPEATED = ("return_sequences", "return_state", "stateful", "zero_output_for_mask")


def from_keras(model: keras.Sequential) -> Sequential:
    """Return a gatewise ``Sequential`` with the layers and weights of a built Keras one.

    What has no counterpart raises ``UnsupportedError``, which names the layer and the argument.

    >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(2, name="memory")])
    >>> from_keras(model).layers[0].kernel.shape
    torch.Size([3, 8])
    """
    _check_kind(model, keras.Sequential, "from_keras")
    if not model.built:
        raise InputError(
            f"from_keras expected a built model but {model.name} has no weights yet. "
            "Begin it with keras.Input, or pass it data first."
        )
    ours = Sequential([_from_keras_layer(layer) for layer in model.layers])
    ours.build(model.input_shape)
    ours.to(getattr(torch, model.variable_dtype))
    for layer, original in zip(ours.layers, model.layers, strict=True):
        layer.set_weights([_numbers(weight.value) for weight in original.weights])
    _assert_equal(model, ours, model.input_shape)
    return ours


def to_keras(model: Sequential) -> keras.Sequential:
    """Return a Keras ``Sequential`` with the layers and weights of a built gatewise one.

    >>> model = Sequential([layers.Input((None, 3)), layers.GRU(2)])
    >>> to_keras(model).layers[0].cell.kernel.shape
    (3, 6)
    """
    _check_kind(model, Sequential, "to_keras")
    shape = model.input_shape
    if shape is None:
        raise InputError(
            f"to_keras expected a built model but {model.name} has no weights yet. "
            "Begin it with an Input, or pass it data first."
        )
    for layer in model.modules():
        if getattr(layer, "quantization", None) is not None:
            raise UnsupportedError(
                f"{layer.name} has weights of 8 bits, which Keras's layers of that kind have not. "
                "Hand to_keras the model as it was before quantize()."
            )
    weights = model.get_weights()
    dtype = str(weights[0].dtype) if weights else "float32"
    theirs = keras.Sequential([_to_keras_layer(layer, dtype) for layer in model.layers])
    theirs.build(shape)
    for layer, original in zip(theirs.layers, model.layers, strict=True):
        layer.set_weights(original.get_weights())
    _assert_equal(theirs, model, shape)
    return theirs


def _from_keras_layer(layer: Any) -> layers.Layer:
    kind = _supported(layer)
    config = layer.get_config()
    policy = getattr(layer, "compute_dtype", "float32")
    if policy not in ("float32", "float64"):
        raise UnsupportedError(
            f"{layer.name} computes in {policy}; gatewise computes in float32 and float64. "
            "Set its dtype to 'float32'."
        )
    if kind == "Bidirectional":
        for key in ("forward_layer", "backward_layer"):
            _supported(getattr(layer, key))
        config["layer"] = _from_keras_layer(layer.forward_layer)
        config["backward_layer"] = _from_keras_layer(layer.backward_layer)
        for key in _REPEATED:
            config.pop(key, None)
    return _made(getattr(layers, kind), layer.name, config)


def _to_keras_layer(layer: Any, dtype: str) -> keras.Layer:
    kind = _supported(layer)
    config = layer.get_config() | {"dtype": dtype}
    if kind == "Bidirectional":
        config["layer"] = _to_keras_layer(layer.forward_layer, dtype)
        config["backward_layer"] = _to_keras_layer(layer.backward_layer, dtype)
    return _made(getattr(keras.layers, kind), layer.name, config, kept={"dtype"})


def _made(
    target: Any, name: str, config: Mapping[str, Any], kept: frozenset[str] | set[str] = frozenset()
) -> Any:
    """Return ``target`` built with the arguments that it takes; one it lacks must say nothing."""
    taken = _arguments(target)
    arguments: dict[str, Any] = {}
    for key, value in config.items():
        if key in kept or (key in taken and key not in _WITHOUT_MEANING):
            arguments[key] = value
        elif key not in _WITHOUT_MEANING and value not in (None, False):
            raise UnsupportedError(
                f"{name} has {key}={value!r}, for which {target.__module__.split('.')[0]}'s "
                f"{target.__name__} has no argument. Convert the model without it."
            )
    return target(**arguments)


def _arguments(target: type) -> set[str]:
    """Return the names of a constructor's arguments, also those that it hands on to its bases."""
    taken: set[str] = set()
    for base in target.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        taken |= {parameter.name for parameter in parameters}
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    return taken | {"name", "trainable"}


def _supported(layer: Any) -> str:
    kind = type(layer).__name__
    if kind not in SUPPORTED:
        raise UnsupportedError(
            f"{layer.name} is a {kind}, which is not converted. Converted are: "
            f"{', '.join(SUPPORTED)}. Replace it, or copy the weights layer by layer: "
            "ours.set_weights(theirs.get_weights())."
        )
    if getattr(layer, "stateful", False):
        raise UnsupportedError(
            f"{layer.name} is stateful: the comparison that follows a conversion would move its "
            "state. Make a model with stateful=False and the same weights, and convert that."
        )
    return kind


def _check_kind(model: Any, kind: type, verb: str) -> None:
    if not isinstance(model, kind):
        raise InputError(
            f"{verb} expected a {kind.__module__.split('.')[0]} Sequential "
            f"but got a {type(model).__module__}.{type(model).__name__}."
        )


def _assert_equal(theirs: Any, ours: Sequential, shape: Any) -> None:
    """Run both on drawn numbers; the ids of an embedding stay in its vocabulary."""
    numbers = np.random.default_rng(0)
    size = [3, *(7 if length is None else length for length in shape[1:])]
    first = ours.layers[0] if ours.layers else None
    if isinstance(first, layers.Embedding):
        x = numbers.integers(0, first.input_dim, size)
    else:
        x = numbers.normal(size=size).astype(theirs.variable_dtype)
    wanted = _numbers(theirs(keras.ops.convert_to_tensor(x), training=False))
    was_training = ours.training
    ours.eval()
    with torch.no_grad():
        got = ours(torch.from_numpy(x))
    ours.train(was_training)
    assert_equal_outputs(ours.name, wanted, got.cpu().numpy())


def _numbers(value: Any) -> np.ndarray:
    """Return a backend's tensor as an array."""
    # Not through Keras for torch: it takes a way that NumPy 2 warns of.
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    return np.asarray(keras.ops.convert_to_numpy(value))
