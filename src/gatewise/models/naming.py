"""The names of layers in a model: each its own, fit for `state_dict`."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from gatewise.errors import InputError
from gatewise.layers import Layer


def name_in(model: nn.Module, layer: nn.Module) -> str:
    """Return a name for a new layer of the model; an automatic one is numbered if it is taken."""
    name = _unique(layer, model._modules)
    if "." in name or "/" in name or not name:
        raise InputError(f"'{name}' is no name for a layer: leave out dots and slashes.")
    if name not in model._modules and hasattr(model, name):
        raise InputError(
            f"A layer cannot be called '{name}', which is an attribute of every model. "
            "Give it another name."
        )
    return name


def _unique(layer: nn.Module, taken: Iterable[str]) -> str:
    taken, name = set(taken), str(layer.name)
    if name not in taken:
        return name
    if isinstance(layer, Layer) and not layer.auto_named:
        raise InputError(
            f"Two layers are called '{name}'. Give each layer of a model its own name."
        )
    stem, _, number = name.rpartition("_")
    stem = stem if number.isdigit() and stem else name
    number = 1
    while f"{stem}_{number}" in taken:
        number += 1
    return f"{stem}_{number}"
