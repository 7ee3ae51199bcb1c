"""Finding the recurrent layers of any model, by what they offer and not by their class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import nn

from gatewise.errors import InputError, UnsupportedError


@dataclass(frozen=True)
class Place:
    """A module and the name under which a reader of the model knows it."""

    name: str
    module: nn.Module


def named_layers(module: nn.Module) -> list[Place]:
    """Return a Keras-style model's layers by their names, or any other module's children."""
    layers = getattr(module, "layers", None)
    if isinstance(layers, (list, tuple)) and all(hasattr(layer, "name") for layer in layers):
        return [Place(module_name(layer), layer) for layer in layers]
    # `named_children` would name a module that stands at two places only once.
    return [Place(name, child) for name, child in module._modules.items() if child is not None]


def walk(model: nn.Module, name: str = "") -> Iterator[Place]:
    """Yield every module, outermost first, not descending below one that has `weight_sets`."""
    yield Place(name or module_name(model), model)
    if not hasattr(model, "weight_sets"):
        for child in named_layers(model):
            yield from walk(child.module, f"{name}.{child.name}" if name else child.name)


class Named(Protocol):
    """What a measure holds for each weight set: at least its name."""

    @property
    def name(self) -> str: ...


_Named = TypeVar("_Named", bound=Named)


def find_set(sets: Iterable[_Named], name: str) -> _Named:
    """Return the weight set of this name among a measure's sets."""
    known = {one.name: one for one in sets}
    if name not in known:
        raise InputError(f"No weight set is called {name!r}. Known: {', '.join(map(repr, known))}.")
    return known[name]


class _Standing(Protocol):
    @property
    def module(self) -> nn.Module: ...


_Item = TypeVar("_Item", bound=_Standing)


def once(items: Iterable[_Item]) -> list[_Item]:
    """Keep the first item of each module, where one stands at several places."""
    first: dict[int, _Item] = {}
    for item in items:
        first.setdefault(id(item.module), item)
    return list(first.values())


def module_name(module: nn.Module) -> str:
    """Return the layer's own name, or its class's in small letters."""
    name = getattr(module, "name", None)
    return name if isinstance(name, str) and name else type(module).__name__.lower()


def measurable_places(model: nn.Module, torch_layers: bool = False) -> list[Place]:
    """Return the recurrent modules of a built model, or raise the error that names the cure.

    ``torch_layers`` says that `torch.nn`'s own, whose gates show only on a copy, count too.

    Raises:
        UnsupportedError: the model holds a `torch.nn` recurrent layer, and they do not count.
        InputError: the model is not built, or holds no recurrent layer.
    """
    for place in walk(model):
        if is_torch_layer(place.module) and not torch_layers:
            kind = type(place.module).__name__
            raise UnsupportedError(
                f"'{place.name}' is a torch.nn.{kind}, which does not show its gates. Call "
                f"gatewise.accelerate(model), which swaps it for gatewise.nn.{kind} with the same "
                "weights and numbers, and measure that model."
            )
        if getattr(place.module, "built", True) is False:
            raise InputError(
                f"'{place.name}' has no weights yet: its input size is not known. Give the first "
                "layer an input_shape, or call the model on data once, and measure again."
            )
    places = [
        place
        for place in once(walk(model))
        if hasattr(place.module, "weight_sets") or is_torch_layer(place.module)
    ]
    if not places:
        raise InputError(
            f"{type(model).__name__} holds no recurrent layer to measure. Accepted: a model with "
            "an LSTM, GRU, SimpleRNN or Bidirectional of gatewise.layers, or an LSTM, GRU or RNN "
            "of gatewise.nn or torch.nn."
        )
    return places


def is_torch_layer(module: nn.Module) -> bool:
    """Return whether a module is a recurrent layer of `torch.nn`, which shows no gates."""
    return isinstance(module, nn.RNNBase) and not hasattr(module, "weight_sets")


def train_recurrent_weights(model: nn.Module) -> None:
    """Let the gradient reach every recurrent layer, frozen or not."""
    for place in measurable_places(model):
        place.module.requires_grad_(True)


def full_name(layer: str, label: str) -> str:
    """Return how a weight set is called in text, e.g. `bidirectional (forward)`."""
    return f"{layer} ({label})" if label else layer
