"""A stack of layers, each fed by the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from torch import Tensor

from gatewise.errors import InputError, UnsupportedError
from gatewise.layers import Embedding, Input, Layer, Masking, RankError, get_layer_class
from gatewise.models.model import Model, Shape


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

    def __init__(
        self,
        layers: Iterable[Input | Layer | Model] | None = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or "sequential")
        self._order: list[str] = []
        # The input's shape, then each layer's output shape; empty until the input's is known.
        self._shapes: list[Shape] = []
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    def add(self, layer: Input | Layer | Model) -> None:
        """Append a layer, or begin the model with an `Input`."""
        if isinstance(layer, Input):
            self._begin(layer)
            return
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

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer | Model:
        """Return the layer of that name, or at that place."""
        if (name is None) == (index is None):
            raise InputError("get_layer takes a name or an index: get_layer('lstm').")
        if index is not None:
            if not -len(self._order) <= index < len(self._order):
                raise InputError(f"{self.name} has {len(self._order)} layers, none at {index}.")
            return self.layers[index]
        if name not in self._order:
            raise InputError(f"No layer '{name}' in {self.name}: {', '.join(self._order)}.")
        return self.layers[self._order.index(name)]

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
            self.build(self.shape_of_data(x))
        for layer in self.layers:
            if isinstance(layer, Model):
                x, mask = layer.forward_with_mask(x, mask)
                continue
            y = layer(x, mask=mask) if layer.takes_mask else layer(x)
            mask = _mask_after(layer, x, mask)
            x = y
        return x, mask

    def get_config(self) -> dict[str, Any]:
        """Return the model's layers and shape as JSON values; `from_config` reads them."""
        layers = {
            name: {"class": type(layer).__name__, "config": layer.get_config() | {"name": name}}
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
                made[name] = _layer_from(config["layers"][name])
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
        name = _unique(layer, self._modules)
        if "." in name or "/" in name or not name:
            raise InputError(f"'{name}' is no name for a layer: leave out dots and slashes.")
        if name not in self._modules and hasattr(self, name):
            raise InputError(
                f"A layer cannot be called '{name}', which is an attribute of every model. "
                "Give it another name."
            )
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
        if self.compiled is not None:
            self.compiled.unbind()


def _layer_from(stored: Mapping[str, Any]) -> Layer | Model:
    """Return a layer from its class's name and its arguments, all of which it must know."""
    kind, config = stored["class"], stored["config"]
    if kind == "Sequential":
        return Sequential.from_config(config)
    layer = get_layer_class(kind).from_config(config)
    unknown = config.keys() - layer.get_config().keys()
    if unknown:
        raise InputError(f"{kind} has no argument {sorted(unknown)[0]!r} in its configuration.")
    return layer


def _declared_shape(layer: Layer | Model) -> Shape | None:
    """Return the shape, with batch axis, of the input that the layer itself asks for, or None."""
    if isinstance(layer, Model):
        return layer.input_shape
    if layer.input_shape is not None:
        return (None, *layer.input_shape)
    # An embedding's weights do not depend on its input: ids (B, T).
    return (None, None) if isinstance(layer, Embedding) else None


def _mask_after(layer: Layer, x: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return the mask of a layer's output; a step that the caller masked stays masked."""
    made = layer.compute_mask(x, mask)
    if mask is None or not isinstance(layer, (Embedding, Masking)):
        return made
    return mask if made is None else made & mask


def _compatible(one: Shape, other: Shape) -> bool:
    """Return whether some array has both shapes."""
    return len(one) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(one, other, strict=True)
    )


def _unique(layer: Layer | Model, taken: Iterable[str]) -> str:
    """Return the layer's name, numbered if an automatic name is taken."""
    taken = set(taken)
    if layer.name not in taken:
        return layer.name
    if isinstance(layer, Layer) and not layer.auto_named:
        raise InputError(
            f"Two layers are called '{layer.name}'. Give each layer of a model its own name."
        )
    number = 1
    while f"{layer.name}_{number}" in taken:
        number += 1
    return f"{layer.name}_{number}"
