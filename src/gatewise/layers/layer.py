"""The base of every layer: a ``torch.nn.Module`` with Keras's manners."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from gatewise.arguments import accepted_keywords, check_keywords
from gatewise.arrays import numbers, real
from gatewise.errors import InputError
from gatewise.layers import activity, initializers, regularizers
from gatewise.layers.arguments import CURES, own_arguments
from gatewise.layers.by_call import adopt, shape_by_running
from gatewise.layers.initializers import InitializerLike
from gatewise.layers.modes import in_mode
from gatewise.layers.registry import snake_case
from gatewise.layers.regularizers import Penalty, RegularizerLike
from gatewise.layers.symbol import Call, call_on_symbols, is_shape, is_symbolic

Shape = tuple[int | None, ...]
"""A shape whose unknown sizes are None; (None, 10, 3) is any batch of 10 steps of 3 features."""


class RankError(InputError):
    """Data or a shape with the wrong number of axes; a container can say which layer gave it."""

    def __init__(self, message: str, *, shape: Shape, layer: Layer) -> None:
        super().__init__(message)
        self.shape = shape
        self.layer = layer


class Layer(nn.Module):
    """A step of a model: builds its weights when it learns its input shape, then maps tensors.

    It starts in inference mode, as a layer called in Keras does; ``fit`` (or ``train()``)
    switches. The input may be a tensor or an array; one of another number type is cast to that of
    the weights, which are made in ``torch.get_default_dtype()``.

    ``input_shape`` is the shape of one sample, without the batch axis: (None, 100) is any number of
    steps of 100 features. A layer without one is built by its first data.

    A layer of your own is written as in Keras, with ``build``, ``add_weight``, ``call`` and
    ``get_config``; decorate it with :func:`gatewise.layers.register` to have it in model files.

    >>> class Scale(Layer):
    ...     def build(self, input_shape):
    ...         self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones")
    ...     def call(self, x):
    ...         return x * self.factor
    >>> Scale()(torch.tensor([[2.0, 3.0]])).tolist()
    [[2.0, 3.0]]
    """

    takes_mask: ClassVar[bool] = False
    """Whether ``forward`` has an argument ``mask``."""
    supports_masking: bool = False
    """Whether a mask that comes in with the data goes on with the result."""
    _given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    """The constructor's arguments, of a layer that says nothing of them in a `get_config`."""

    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        """Refuse unknown arguments with a message that says what there is."""
        check_keywords(cls, keywords, CURES)
        layer = super().__new__(cls)
        if cls.get_config is Layer.get_config:
            layer.__dict__["_given"] = arguments, keywords
        return layer

    def __init__(
        self,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
        activity_regularizer: RegularizerLike | None = None,
    ) -> None:
        super().__init__()
        self.training = False
        self.auto_named = name is None
        self.name = name or snake_case(type(self).__name__)
        self.input_shape = None if input_shape is None else checked_shape(input_shape)
        self.build_shape: Shape | None = None
        self.built = False
        self.regularizers: dict[str, Penalty] = {}
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._trainable = bool(trainable)
        self._never_trained: set[str] = set()
        self.calls: list[Call] = []
        self.weights_to_come: Tensor | None = None
        self._building = False

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Take Keras's ``build`` and ``call`` for what they are called here."""
        super().__init_subclass__(**keywords)
        adopt(cls)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if is_symbolic(arguments, keywords):
            return call_on_symbols(self, arguments, keywords)
        if not self.built:
            place_weights_to_come(self, arguments)
        training = keywords.pop("training", None)
        if training is None or bool(training) == self.training:
            result = super().__call__(*arguments, **keywords)
        else:
            with in_mode(self, bool(training)):
                result = super().__call__(*arguments, **keywords)
        if self.activity_regularizer is not None:
            activity.note(self.activity_regularizer, result)
        return result

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move or convert the layer, and remember it for the weights that are still to come."""
        if not self.built:
            like = self.weights_to_come
            self.weights_to_come = fn(torch.empty(0) if like is None else like)
        return super()._apply(fn, recurse)

    @property
    def output(self) -> Any:
        """The symbol that this layer returned when a model was drawn, to cut a model out of it."""
        return self._only_call().result

    @property
    def input(self) -> Any:
        """What this layer was called on when a model was drawn."""
        call = self._only_call()
        return call.arguments[0] if call.arguments else call.result

    def _only_call(self) -> Call:
        if len(self.calls) != 1:
            found = "is in no functional model" if not self.calls else "was called several times"
            raise InputError(
                f"{self.name} {found}, so it has not one output. "
                + (
                    "Draw the model with Input(...), or read model.inputs of a Sequential first."
                    if not self.calls
                    else "Read one of them: layer.calls[0].result."
                )
            )
        return self.calls[0]

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Parameter) and not self.__dict__.get("built", True):
            # `self.w = self.add_weight(...)`: the attribute is the weight's name.
            for known, parameter in list(self.__dict__.get("_parameters", {}).items()):
                if parameter is value and known != name:
                    del self._parameters[known]
                    if known in self.regularizers:
                        self.regularizers[name] = self.regularizers.pop(known)
                    if known in self._never_trained:
                        self._never_trained.add(name)
        super().__setattr__(name, value)

    @property
    def trainable(self) -> bool:
        """Whether training moves the weights; setting it freezes or frees those built later too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for name, parameter in self.named_parameters(recurse=False):
            parameter.requires_grad_(self._trainable and name not in self._never_trained)
        for child in self.children():
            if isinstance(child, Layer):
                child.trainable = value

    def build(self, input_shape: Any) -> None:
        """Create the weights for a shape with its batch axis, such as (None, None, 100)."""
        if self._building:
            return  # `super().build()` in a build of the user's own
        shape = checked_shapes(input_shape)
        self.check_input_shape(shape)
        if self.built:
            return
        self._building = True
        try:
            self.create_weights(shape)
        finally:
            self._building = False
        self.build_shape = any_batch(shape)
        self.weights_to_come = None
        self.built = True

    def create_weights(self, input_shape: Shape) -> None:
        """Create the parameters; a layer without weights has nothing to do."""

    def check_input_shape(self, shape: Shape) -> None:
        """Raise ``InputError`` if this layer cannot take data of this shape."""

    def add_weight(
        self,
        name: Any = None,
        shape: Any = None,
        initializer: InitializerLike | None = None,
        regularizer: RegularizerLike | None = None,
        *,
        trainable: bool = True,
        dtype: torch.dtype | None = None,
    ) -> nn.Parameter:
        """Create, register and return one parameter; without a name, its attribute names it."""
        if isinstance(name, Sequence) and not isinstance(name, str):
            shape, name = name, shape if isinstance(shape, str) else None  # Keras 3's order
        if name is None:
            taken = sum(known.startswith("weight") for known in self._parameters)
            name = f"weight_{taken}" if taken else "weight"
        initialize = initializers.get("glorot_uniform" if initializer is None else initializer)
        like = self.weights_to_come
        dtype = dtype or (torch.get_default_dtype() if like is None else like.dtype)
        value = torch.as_tensor(initialize(tuple(shape or ()), dtype=dtype))
        if value.shape != tuple(shape or ()):
            raise InputError(
                f"The initializer of {self.name}.{name} returned the shape {tuple(value.shape)} "
                f"where {tuple(shape or ())} was asked for."
            )
        value = value.detach().to(dtype)
        value = value if like is None else value.to(like.device)
        parameter = nn.Parameter(value, requires_grad=self._trainable and trainable)
        self.register_parameter(name, parameter)
        if not trainable:
            self._never_trained.add(name)
        if regularizer is not None:
            self.regularizers[name] = regularizers.get(regularizer)  # pyright: ignore
        return parameter

    def receive(self, x: Any) -> Tensor:
        """Return the input as a tensor that fits this layer, which is built if it was not yet."""
        if not isinstance(x, Tensor):
            x = as_tensor(x, like=self._weight())
        if self.built:
            self.check_input_shape(tuple(x.shape))
        else:
            self.build(tuple(x.shape))
        weight = self._weight()
        if weight is None or x.dtype is weight.dtype:
            return x
        return real(x, "The data").to(weight.dtype)

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Return the mask that goes with the result of ``forward(x)``."""
        return mask if self.supports_masking else None

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Return the shape of the result for an input shape, both with the batch axis."""
        if getattr(self, "by_call", False):
            return shape_by_running(self, input_shape)
        return checked_shape(input_shape)

    def regularization(self) -> Tensor | None:
        """Return the sum of the penalties on the weights that train, or None if there are none."""
        penalties = self.losses
        return torch.stack(penalties).sum() if penalties else None

    @property
    def losses(self) -> list[Tensor]:
        """The penalty of each regularized weight that trains."""
        return [
            regularizer(getattr(layer, name))
            for layer in self.modules()
            if isinstance(layer, Layer)
            for name, regularizer in layer.regularizers.items()
            if getattr(layer, name).requires_grad
        ]

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of the weights in Keras's order (kernel, recurrent kernel, bias)."""
        return [parameter.detach().cpu().numpy().copy() for parameter in self.parameters()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the weights from arrays in the order of :meth:`get_weights`."""
        parameters = list(self.named_parameters())
        if not self.built and len(weights) > 0:
            raise InputError(self._unbuilt("set_weights"))
        if len(weights) != len(parameters):
            names = ", ".join(f"{name} {tuple(p.shape)}" for name, p in parameters) or "none"
            raise InputError(
                f"{self.name} has {len(parameters)} weights ({names}) but got {len(weights)}."
            )
        values = [as_tensor(weight, like=None) for weight in weights]
        for (name, parameter), value in zip(parameters, values, strict=True):
            if parameter.shape != value.shape:
                raise InputError(
                    f"{self.name}.{name} has the shape {sizes(tuple(parameter.shape))} "
                    f"but got {sizes(tuple(value.shape))}."
                )
        with torch.no_grad():
            for (_, parameter), value in zip(parameters, values, strict=True):
                parameter.copy_(value)

    @property
    def weights(self) -> list[nn.Parameter]:
        """Every parameter, in the order of :meth:`get_weights`."""
        return list(self.parameters())

    @property
    def trainable_weights(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @property
    def non_trainable_weights(self) -> list[nn.Parameter]:
        """The parameters that training leaves as they are, or that are no matter of gradients."""
        return [parameter for parameter in self.parameters() if not parameter.requires_grad]

    @property
    def variables(self) -> list[Tensor]:
        """The weights, and what else the layer keeps: states, how many dropout masks it drew."""
        return [*self.parameters(), *self.buffers()]

    @property
    def trainable_variables(self) -> list[nn.Parameter]:
        """As :attr:`trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Tensor]:
        """The weights that do not train, and what else the layer keeps."""
        return [*self.non_trainable_weights, *self.buffers()]

    def count_params(self) -> int:
        """Return how many numbers the weights hold."""
        if not self.built and type(self).create_weights is not Layer.create_weights:
            raise InputError(self._unbuilt("count_params"))
        return sum(math.prod(parameter.shape) for parameter in self.parameters())

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON, for :meth:`from_config`.

        A layer of your own need not define it as long as all its arguments are plain values.
        """
        shape = None if self.input_shape is None else list(self.input_shape)
        config = {"name": self.name, "trainable": self.trainable, "input_shape": shape}
        if type(self).get_config is not Layer.get_config:
            return config
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        accepted, open_ended = accepted_keywords(type(self))
        if not open_ended:
            config = {key: value for key, value in config.items() if key in accepted}
        return {**config, **own_arguments(self, self._given)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a new layer from what :meth:`get_config` gave; its weights start anew."""
        return cls(**config)

    def _weight(self) -> Tensor | None:
        """Return a parameter that sets the number type and device of the input, if any does."""
        return None

    def _unbuilt(self, method: str) -> str:
        return (
            f"{self.name} has no weights yet, so {method} cannot serve. "
            "Give it an input_shape inside a model, call build((None, ...)), or pass it data first."
        )


def as_tensor(value: Any, like: Tensor | None) -> Tensor:
    """Return a copy of an array or a list as a tensor, on the device of ``like``."""
    if isinstance(value, Tensor):
        return real(value, "The data")
    array = numbers(
        value,
        "The data",
        "x, mask = gatewise.data.pad(series) lays series of any lengths together.",
    )
    # A copy: torch takes neither read-only arrays nor negative strides.
    copied = torch.from_numpy(np.array(array, order="C", copy=True))
    return copied if like is None else copied.to(like.device)


def checked_shape(shape: Sequence[int | None]) -> Shape:
    """Return a shape as a tuple of sizes and None; anything else raises ``InputError``."""
    try:
        return tuple(None if size is None else operator.index(size) for size in shape)
    except TypeError:
        raise InputError(
            f"A shape is a tuple of whole numbers and None, such as (None, 100), but got {shape!r}."
        ) from None


def checked_shapes(shape: Any) -> Any:
    """Return a shape, or for a layer of several inputs a tuple of shapes."""
    return checked_shape(shape) if is_shape(shape) else tuple(map(checked_shapes, shape))


def any_batch(shape: Any) -> Any:
    """Return the shape, or each of several, for a batch of any size."""
    return (None, *shape[1:]) if is_shape(shape) else tuple(map(any_batch, shape))


def positive(layer: str, argument: str, value: Any) -> int:
    """Return a size as an int; anything but a positive whole number raises ``InputError``."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    number = operator.index(value) if whole else 0
    if number <= 0:
        raise InputError(
            f"{layer} expected {argument} to be a positive whole number but got {value!r}."
        )
    return number


def sizes(shape: Shape) -> str:
    """Return a shape for a message, unknown sizes as None."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def place_weights_to_come(module: nn.Module, data: Any) -> None:
    """Let the weights that layers still have to create come to where the data is.

    Layers that were moved themselves stay where they are.
    """
    given = data[0] if isinstance(data, (list, tuple)) and data else data
    given = given[0] if isinstance(given, (list, tuple)) and given else given
    if not isinstance(given, Tensor) or given.device == torch.get_default_device():
        return
    for layer in module.modules():
        if isinstance(layer, Layer) and not layer.built and layer.weights_to_come is None:
            layer.weights_to_come = torch.empty(0, device=given.device)
