"""A stack of layers, each fed by the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from gatewise.errors import InputError, UnsupportedError
from gatewise.layers import Embedding, Input, Layer, RankError, Symbol, TorchLayer
from gatewise.layers.layer import place_weights_to_come
from gatewise.layers.stream import ModelStream
from gatewise.models.describing import describe_layer, make_layer, model_kind
from gatewise.models.masks import mask_after
from gatewise.models.model import Model, Shape
from gatewise.models.naming import name_in
from gatewise.models.precision import set_precision


@model_kind
class Sequential(Model):
    """A model that applies its layers one after the other.

    Give the layers as a list or with `add`. The weights are created as soon as the input shape is
    known: from an `Input` in front, from the first layer's `input_shape`, from `build`, or from
    the first data. Layers get a name that is unique in the model (`lstm`, `lstm_1`), under which
    their weights stand in `state_dict()` (`lstm.kernel`).

    The same layer object may be added more than once: then its places share one set of weights,
    which counts once and is trained by the gradient of all of them.

    Raises `InputError` when a layer does not fit the one before it, naming the layer to change.

    >>> from gatewise.layers import LSTM, Dense, Dropout
    >>> model = Sequential()
    >>> model.add(LSTM(128, input_shape=(None, 100)))
    >>> model.add(Dropout(0.5))
    >>> model.add(Dense(1, activation="sigmoid"))
    >>> model.output_shape, model.count_params()
    ((None, 1), 117377)
    """

    is_chain = True

    def __init__(
        self,
        layers: Iterable[Input | Layer | Model | nn.Module] | None = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or "sequential")
        self._order: list[str] = []
        # The input's shape, then each layer's output shape; empty until the input's is known.
        self._shapes: list[Shape] = []
        self._drawn: tuple[Symbol, Symbol] | None = None
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    def add(self, layer: Input | Layer | Model | nn.Module) -> None:
        """Append a layer, or begin the model with an `Input`; torch's modules are taken as well."""
        if isinstance(layer, Input):
            self._begin(layer)
            return
        if isinstance(layer, nn.Module) and not isinstance(layer, (Layer, Model)):
            layer = TorchLayer(layer)
        if not isinstance(layer, (Layer, Model)):
            raise InputError(
                f"Sequential takes layers of gatewise.layers but got {layer!r}"
                f" ({type(layer).__name__})."
                + (" Call the class: add(LSTM(128))." if isinstance(layer, type) else "")
            )
        if getattr(layer, "return_state", False) or getattr(layer, "merge_mode", "") is None:
            raise UnsupportedError(
                f"'{layer.name}' returns several tensors (return_state=True or merge_mode=None), "
                "but a Sequential model passes one from layer to layer. Leave that argument out, "
                "or call the layer on its own."
            )
        before = set(self._modules)
        name = self._register(layer)
        self._order.append(name)
        try:
            self._fit_in(layer)
        except Exception:
            self._order.pop()
            if name not in before:
                del self._modules[name]
            raise
        layer.train(self.training)
        self._unbind()

    def pop(self) -> Layer | Model:
        """Remove the last layer and return it."""
        if not self._order:
            raise InputError(f"{self.name} has no layers to pop.")
        name = self._order.pop()
        layer = self._modules[name]
        if name not in self._order:
            del self._modules[name]
        self._shapes = self._shapes[: len(self._order) + 1]
        self._unbind()
        assert isinstance(layer, (Layer, Model))
        return layer

    @property
    def layers(self) -> list[Layer | Model]:
        """The layers in the order in which they are applied; a shared one once for each place."""
        return [self._modules[name] for name in self._order]  # pyright: ignore[reportReturnType]

    @property
    def layer_names(self) -> list[str]:
        """The name of each of `layers` in this model."""
        return list(self._order)

    @property
    def input_shape(self) -> Shape | None:
        """The input's shape with its batch axis, such as `(None, None, 100)`; None if unknown."""
        return self._shapes[0] if self._shapes else None

    @property
    def output_shape(self) -> Shape | None:
        """The output's shape with its batch axis, such as `(None, 1)`; None if unknown."""
        return self._shapes[-1] if self._shapes else None

    @property
    def output_shapes(self) -> list[Shape]:
        """The output shape of each of `layers`; empty until the model is built."""
        return self._shapes[1:]

    @property
    def built(self) -> bool:
        """Whether every layer has its weights."""
        return bool(self._order) and len(self._shapes) == len(self._order) + 1

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights for inputs of this shape, such as `(None, None, 100)`.

        Raises `InputError` if the model was built for another shape before.
        """
        shape = tuple(input_shape)
        if self._shapes:
            if not _compatible(shape, self._shapes[0]):
                raise InputError(
                    f"{self.name} was built for inputs {self._shapes[0]} and cannot be built "
                    f"for {shape}. Make a new model."
                )
            return
        if not self._order:
            raise InputError(f"{self.name} has no layers. Add one: model.add(LSTM(128)).")
        self._shapes = [shape]
        try:
            for place, layer in enumerate(self.layers):
                self._shapes.append(self._shape_after(layer, place))
        except Exception:
            self._shapes = []
            raise

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """Return the output's shape for inputs of this shape."""
        shape = tuple(input_shape)
        for layer in self.layers:
            shape = tuple(layer.compute_output_shape(shape))
        return shape

    def forward_with_mask(
        self, x: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output (B, …) and the mask (B, T) that belongs to it, or None.

        `mask` (B, T) is True where a step of `x` is real. Each layer hands on the mask of its
        output: an `Embedding(mask_zero=True)` or a `Masking` makes one, a layer that returns one
        vector a series ends it.
        """
        if not self.built:
            place_weights_to_come(self, x)
            self.build(self.shape_of_data(x))
        for layer in self.layers:
            if isinstance(layer, Model):
                x, mask = layer.forward_with_mask(x, mask)
                continue
            y = layer(x, mask=mask) if layer.takes_mask else layer(x)
            mask = mask_after(layer, x, mask)
            x = y
        return x, mask

    def stream(self, batch: int = 1) -> ModelStream:
        """Return the model to be fed some time steps at a time, `batch` series side by side.

        It keeps the recurrent layers' weights of this moment, and its own state; see `ModelStream`.
        """
        return ModelStream(self.layers, batch)

    @property
    def inputs(self) -> list[Symbol]:
        """The model as a graph begins here; drawn when it is first asked for."""
        self._draw()
        assert self._drawn is not None
        return [self._drawn[0]]

    @property
    def outputs(self) -> list[Symbol]:
        """The symbol that the last layer returns, as a list; `get_layer(...).output` others'."""
        self._draw()
        assert self._drawn is not None
        return [self._drawn[1]]

    def _draw(self) -> None:
        """Call the layers on symbols, so that other models can be cut out of this one."""
        if self._drawn is None:
            self._require_built("cutting a model out of it")
            batch_size, *shape = self._shapes[0]
            begin = symbol = Input(shape, batch_size, "int64" if self.takes_ids else None)
            for layer in self.layers:
                symbol = layer(symbol)
            self._drawn = begin, symbol

    def get_config(self) -> dict[str, Any]:
        """Return the model's layers and shape as JSON values; `from_config` reads them."""
        layers = {
            name: describe_layer(layer, name)
            for name, layer in zip(self._order, self.layers, strict=True)
        }
        return {
            "name": self.name,
            "input_shape": list(self._shapes[0]) if self._shapes else None,
            "layers": layers,
            "order": list(self._order),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new model with the layers of `get_config`; its weights start anew.

        Only layers of `gatewise.layers.LAYERS` and nested Sequential models are made.

        >>> from gatewise.layers import LSTM
        >>> config = Sequential([LSTM(3, input_shape=(None, 2))]).get_config()
        >>> Sequential.from_config(config).output_shape
        (None, 3)
        """
        model = cls(name=config["name"])
        if config["input_shape"] is not None:
            batch_size, *shape = config["input_shape"]
            model.add(Input(shape=shape, batch_size=batch_size))
        made: dict[str, Layer | Model] = {}
        for name in config["order"]:
            if name not in made:
                made[name] = make_layer(config["layers"][name])
            model.add(made[name])
        return model

    def _begin(self, declared: Input) -> None:
        """Take the input shape from an `Input`, which must come first."""
        if self._order or self._shapes:
            raise InputError(
                f"Input must come first, but {self.name} already has "
                + (f"'{self._order[0]}'." if self._order else f"the input {self._shapes[0]}.")
            )
        self._shapes = [tuple(declared.batch_shape)]

    def _register(self, layer: Layer | Model) -> str:
        """Put the layer among the modules under a name of its own; a shared one has its name."""
        for name in self._order:
            if self._modules[name] is layer:
                return name
        name = name_in(self, layer)
        layer.name = name
        self.add_module(name, layer)
        return name

    def _fit_in(self, layer: Layer | Model) -> None:
        """Build the newest layer if the shape that reaches it is known."""
        place = len(self._order) - 1
        if place == 0 and not self._shapes:
            declared = _declared_shape(layer)
            if declared is None:
                return
            self._shapes = [declared]
            try:
                self._shapes.append(self._shape_after(layer, place))
            except Exception:
                self._shapes = []
                raise
        elif self._shapes:
            self._shapes.append(self._shape_after(layer, place))

    def _shape_after(self, layer: Layer | Model, place: int) -> Shape:
        """Build the layer at `place` for the shape that reaches it; return its output's shape."""
        shape = self._shapes[place]
        declared = _declared_shape(layer)
        if place and declared is not None and not _compatible(declared, shape):
            raise InputError(
                f"'{layer.name}' was given input_shape={declared[1:]}, but "
                f"'{self._order[place - 1]}' returns {shape}. Leave input_shape out: only the "
                "first layer needs it."
            )
        try:
            layer.build(shape)
            return tuple(layer.compute_output_shape(shape))
        except RankError as error:
            raise self._rank_error(place, error) from error

    def _rank_error(self, place: int, error: RankError) -> InputError:
        """Say which layer before this one has to return its sequence."""
        wants = f"{self._order[place]} ({type(self.layers[place]).__name__}) needs (B, T, I) but "
        for earlier in reversed(range(place)):
            if getattr(self.layers[earlier], "return_sequences", None) is False:
                culprit = self._order[earlier]
                return InputError(
                    f"{wants}{culprit} returns {self._shapes[earlier + 1]}. "
                    f"Set return_sequences=True on '{culprit}'."
                )
        return error

    def _unbind(self) -> None:
        """Let the optimizer be bound anew, to the weights as they are now."""
        self._drawn = None
        if self.compiled is not None:
            self.compiled.unbind()
            set_precision(self, self.compiled.precision)


def _declared_shape(layer: Layer | Model) -> Shape | None:
    """Return the shape, with batch axis, of the input that the layer itself asks for, or None."""
    if isinstance(layer, Model):
        return layer.input_shape
    if layer.input_shape is not None:
        return (None, *layer.input_shape)
    # An embedding's weights do not depend on its input: ids (B, T).
    return (None, None) if isinstance(layer, Embedding) else None


def _compatible(one: Shape, other: Shape) -> bool:
    """Return whether some array has both shapes."""
    return len(one) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(one, other, strict=True)
    )
