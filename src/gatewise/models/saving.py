"""Models in files: one safetensors file for architecture, weights, optimizer and preprocessing.

A file is data, never code: loading makes layers, losses and optimizers by their registered names
only, checks every tensor's name, shape and type before it reads any, and runs nothing from the
file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.data import preprocessor_from_json, preprocessor_to_json
from gatewise.errors import GatewiseError, InputError, ModelFileError, UnsupportedError
from gatewise.layers.registered import name_of_class
from gatewise.models import files, optimizer_state
from gatewise.models.compiled_files import compile_as, describe_compiled
from gatewise.models.describing import MODELS, make_model
from gatewise.models.files import Reader
from gatewise.models.model import Model
from gatewise.optimizers import BoundOptimizer
from gatewise.version import __version__

# A model has few layers; a file that names more wants to keep the machine busy.
_MOST_LAYERS = 10_000
_DTYPES = {str(t).removeprefix("torch."): t for t in (torch.float32, torch.float64, torch.bfloat16)}
# What constructors raise when a file gives them nonsense.
_REFUSALS = (
    GatewiseError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
)


def save_model(
    model: Model,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = True,
    include_optimizer: bool = True,
) -> None:
    """Write a model to one safetensors file.

    The file holds the architecture, the weights under their `state_dict` names, `model.labels`,
    `model.preprocessing` and, if the model is compiled and `include_optimizer` is left True, the
    loss, the metrics, and the optimizer with its state, so that training goes on as if it had
    never stopped. It is written beside the target, flushed to the disk and moved into place: a
    crash at any time leaves the old file whole.

    Raises `InputError` if the file exists and `overwrite=False`, if the model is not built, or if
    the name is of another format, and `UnsupportedError` for what a file cannot hold: layers of
    your own, and losses, metrics or optimizers that are code.

    >>> import tempfile, os
    >>> from gatewise.layers import LSTM
    >>> from gatewise.models import Sequential
    >>> model = Sequential([LSTM(3, input_shape=(None, 2))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, os.path.join(folder, "m.safetensors"))
    ...     load_model(os.path.join(folder, "m.safetensors")).output_shape
    (None, 3)
    """
    model._require_built("save()")
    if MODELS.get(type(model).__name__) is not type(model):
        raise UnsupportedError(
            "save() keeps Sequential models, Model(inputs, outputs) and Seq2Seq, and this is a "
            f"{type(model).__name__}, which is code. save_weights(path) keeps the weights of any "
            "model."
        )
    _refuse_own_layers(model)
    tensors = _weights_of(model)
    description: dict[str, Any] = {
        "gatewise_version": __version__,
        "kind": type(model).__name__,
        "architecture": model.get_config(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "labels": _label_names(model),
        "preprocessing": None,
        "compiled": None,
        "optimizer": None,
    }
    if model.preprocessing is not None:
        description["preprocessing"] = preprocessor_to_json(model.preprocessing)
    if include_optimizer and model.compiled is not None:
        description["compiled"] = describe_compiled(model)
        optimizer = model.compiled.optimizer
        if isinstance(optimizer, BoundOptimizer):
            description["optimizer"] = optimizer_state.numbers_of(optimizer)
            tensors |= optimizer_state.tensors_of(optimizer, model)
    files.write(path, tensors, description, overwrite=overwrite)


def load_model(path: str | os.PathLike[str], compile: bool = True) -> Any:
    """Return the model of a file that `model.save` wrote.

    `compile=False` leaves loss, metrics and optimizer aside. The model is in inference mode.

    Raises `ModelFileError` for a file that is damaged, cut short, of another format, of a newer
    version, or whose parts do not fit together.
    """
    with files.opened(path) as reader:
        description = reader.description()
        try:
            model = _make(reader, description)
            _fill(model, reader)
            if compile and description["compiled"] is not None:
                _compile(model, reader, description)
        except ModelFileError:
            raise
        except RecursionError as error:
            raise ModelFileError(f"{path} describes layers inside layers without end.") from error
        except _REFUSALS as error:
            raise ModelFileError(
                f"{path} describes no model that can be made: {_reason(error)}"
            ) from error
    return model


def save_weights(model: Model, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write the weights alone, under their `state_dict` names, as safe from crashes as a model."""
    model._require_built("save_weights()")
    files.write(path, _weights_of(model), {"gatewise_version": __version__}, overwrite=overwrite)


def load_weights(model: Model, path: str | os.PathLike[str]) -> None:
    """Read weights into a built model; a file of another model changes nothing.

    Any safetensors file will do whose tensors have the model's names, shapes and types.
    """
    model._require_built("load_weights()")
    with files.opened(path) as reader:
        _fill(model, reader)


def _weights_of(model: Model) -> dict[str, Tensor]:
    """Return the state by name; tied parameters would come apart in a file, so they are refused."""
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(parameter), name)
        if first != name:
            raise UnsupportedError(
                f"{first} and {name} are one tensor, which a file would tear apart. Add the same "
                "layer twice instead of sharing its weight."
            )
    return dict(model.state_dict())


def _refuse_own_layers(model: Model) -> None:
    for layer in model.layers:
        if isinstance(layer, Model):
            _refuse_own_layers(layer)
        else:
            name_of_class(layer)  # raises for one that has no name in a file


def _make(reader: Reader, description: Mapping[str, Any]) -> Model:
    """Return the described model with weights that take no memory yet."""
    dtype = _DTYPES.get(description["dtype"])
    if dtype is None:
        raise ModelFileError(f"{reader.path} has weights of type {description['dtype']!r}.")
    kind, architecture = description.get("kind", "Sequential"), description["architecture"]
    if (places := _places(kind, architecture)) > _MOST_LAYERS:
        raise ModelFileError(f"{reader.path} names {places} layers.")
    # On the "meta" device a weight has a shape and no numbers: a file cannot ask for more memory
    # than its own tensors take. What initializers would draw is given back.
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = make_model(kind, architecture)
    if not model.built:
        raise ModelFileError(f"{reader.path} does not say for which input its model was built.")
    model.to(dtype)
    model.labels = _labels(reader, description["labels"])
    if description["preprocessing"] is not None:
        model.preprocessing = preprocessor_from_json(description["preprocessing"])
    return model


def _places(kind: str, architecture: Mapping[str, Any]) -> int:
    """Return at how many places a layer would be applied, those of models inside included."""
    of_each = {
        name: _places(layer["class"], layer["config"]) if layer["class"] in MODELS else 1
        for name, layer in architecture["layers"].items()
    }
    if kind == "Functional":
        called = sum(of_each[call["layer"]] for call in architecture["calls"])
        return max(called, len(architecture["layers"]))
    return sum(of_each[name] for name in architecture["order"])


def _label_names(model: Model) -> list[str] | None:
    if model.labels is None or _are_names(model.labels):
        return model.labels
    raise InputError(
        f"model.labels is a list of strings, one a class, but it is {model.labels!r}. "
        "Convert it: [str(label) for label in labels]."
    )


def _are_names(labels: Any) -> bool:
    return isinstance(labels, list) and all(isinstance(one, str) for one in labels)


def _labels(reader: Reader, labels: Any) -> list[str] | None:
    if labels is None or _are_names(labels):
        return labels
    raise ModelFileError(f"{reader.path} holds labels that are no list of names.")


def _fill(model: nn.Module, reader: Reader) -> None:
    """Put the file's tensors into the model, after every name, shape and type has been compared."""
    expected = model.state_dict()
    stored = {k: v for k, v in reader.stored.items() if not optimizer_state.is_state(k)}
    missing = sorted(expected.keys() - stored.keys())
    extra = sorted(stored.keys() - expected.keys())
    if missing or extra:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has {', '.join(extra)} too many"] if extra else []
        raise ModelFileError(f"{reader.path} does not fit the model: it {' and '.join(parts)}.")
    for name, tensor in expected.items():
        if stored[name].shape != tuple(tensor.shape):
            raise ModelFileError(
                f"{name} has shape {stored[name].shape} in {reader.path} but "
                f"{tuple(tensor.shape)} in the model."
            )
        if stored[name].dtype != tensor.dtype:
            raise ModelFileError(
                f"{name} has type {stored[name].dtype} in {reader.path} but {tensor.dtype} in the "
                "model. Bring the model to the file's type first, such as model.double()."
            )
    contents = {name: reader.tensor(name) for name in expected}
    model.load_state_dict(contents, assign=any(t.is_meta for t in expected.values()))


def _compile(model: Model, reader: Reader, description: Mapping[str, Any]) -> None:
    """Compile the model as the file says, and give the optimizer its state."""
    compile_as(model, description["compiled"])
    if description["optimizer"] is not None:
        optimizer = model.optimizer
        assert isinstance(optimizer, BoundOptimizer)
        optimizer_state.restore(optimizer, model, reader, description["optimizer"])


def _reason(error: Exception) -> str:
    """Return what went wrong in words."""
    if isinstance(error, KeyError):
        return f"{error} is missing."
    return str(error) or type(error).__name__
