"""A copy of a model whose recurrent layers show what happens inside them.

`torch.nn`'s own layers keep their gates to themselves. On a copy they are replaced by
`gatewise.nn`'s around the same parameters, which compute the same numbers in the open.
"""

from __future__ import annotations

from torch import nn

from gatewise.errors import UnsupportedError
from gatewise.inspect.walk import is_torch_layer, measurable_places, walk
from gatewise.nn.exchange import COUNTERPARTS, rebuild, refusal


def require_openable(model: nn.Module) -> None:
    """Raise what `open_layers` and `measurable_places` would raise on a copy of this model."""
    for place in walk(model):
        if is_torch_layer(place.module):
            _require_counterpart(place.name, place.module)
    measurable_places(model, torch_layers=True)


def open_layers(model: nn.Module) -> nn.Module:
    """Replace `torch.nn`'s recurrent layers in a model by `gatewise.nn`'s, and return the model.

    The Parameter objects stay the same, so an optimizer that holds them goes on. To be called on a
    copy: the model itself is changed, unless it is such a layer.

    Raises `UnsupportedError` for a layer that has no counterpart, with the reason.

    >>> open_layers(nn.Sequential(nn.LSTM(3, 4)))[0].__class__.__module__
    'gatewise.nn.recurrent'
    """
    opened: dict[int, nn.Module] = {}

    def of(name: str, module: nn.Module) -> nn.Module:
        if id(module) not in opened:
            _require_counterpart(name, module)
            opened[id(module)] = rebuild(module, COUNTERPARTS[type(module)], "auto")
        return opened[id(module)]

    if is_torch_layer(model):
        return of(type(model).__name__.lower(), model)
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and is_torch_layer(child):
                parent._modules[name] = of(name, child)
    return model


def _require_counterpart(name: str, module: nn.Module) -> None:
    reason = refusal(module)
    if reason is not None:
        raise UnsupportedError(
            f"'{name}' is a torch.nn.{_torch_name(module)} whose gates cannot be shown: {reason}. "
            f"Measure a model with a plain torch.nn.{_torch_name(module)} in its place, with the "
            "same weights."
        )


def _torch_name(module: nn.Module) -> str:
    return next(kind.__name__ for kind in (*COUNTERPARTS, nn.RNNBase) if isinstance(module, kind))
