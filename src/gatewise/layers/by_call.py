"""Layers of the user's own, written with Keras's ``build`` and ``call``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from gatewise.layers.modes import left_as_it_was
from gatewise.layers.symbol import is_shape


def adopt(cls: Any) -> None:
    """Give Keras's methods in a new layer class the names that they have here.

    Its ``build`` creates weights (the base sees to it that this happens once), its ``call`` is what
    ``forward`` does once the data is received.
    """
    if "build" in cls.__dict__ and "create_weights" not in cls.__dict__:
        cls.create_weights = cls.__dict__["build"]
        del cls.build
    if "call" in cls.__dict__ and "forward" not in cls.__dict__:
        accepted = inspect.signature(cls.call).parameters
        open_ended = any(one.kind is one.VAR_KEYWORD for one in accepted.values())
        cls.by_call = True
        cls.takes_mask = "mask" in accepted or cls.__dict__.get("takes_mask", False)
        cls.takes_training = "training" in accepted or open_ended
        cls.forward = forward_by_call
    elif "forward" in cls.__dict__:
        cls.call = cls.__dict__["forward"]  # for `super().call(x)` and `layer.call(x)`


def adopt_build(cls: Any) -> None:
    """Let a model class's own ``build`` make its own weights, once, before its layers'."""
    if "build" in cls.__dict__ and "forward_with_mask" not in cls.__dict__:
        cls.build_own = cls.__dict__["build"]
        del cls.build


def forward_by_call(self: Any, x: Any, *arguments: Any, **keywords: Any) -> Any:
    """Receive the data and return what the class's ``call`` makes of it."""
    if self.takes_training:
        keywords.setdefault("training", self.training)
    if isinstance(x, (list, tuple)):
        if not self.built:
            self.build([tuple(part.shape) for part in x])
        return self.call(x, *arguments, **keywords)
    return self.call(self.receive(x), *arguments, **keywords)


@torch.no_grad()
def shape_by_running(layer: Any, input_shape: Any, ids: bool = False) -> Any:
    """Return the shape of a layer's result, found by running it on zeros of two sizes.

    Where the results differ in size, the size depends on the data.
    """
    if hasattr(layer, "create_weights"):  # a layer; a model is built by running it
        layer.build(input_shape)
    weight = None if ids else next(iter(layer.parameters()), None)
    results = []
    for size in (2, 3):
        with left_as_it_was(layer), torch.random.fork_rng(devices=[]):
            zeros = _zeros(input_shape, size, weight)
            given: Any = list(zeros) if isinstance(zeros, tuple) else zeros
            given = given.long() if ids else given
            results.append(_shapes(layer.forward(given)))
    return _common(*results)


def _zeros(shape: Any, size: int, weight: torch.Tensor | None) -> Any:
    if not is_shape(shape):
        return tuple(_zeros(one, size, weight) for one in shape)
    known = [size if one is None else one for one in shape]
    if weight is None:
        return torch.zeros(known)
    return torch.zeros(known, dtype=weight.dtype, device=weight.device)


def _shapes(result: Any) -> Any:
    if isinstance(result, Sequence):
        return tuple(_shapes(one) for one in result)
    return tuple(result.shape)


def _common(one: Any, other: Any) -> Any:
    if not is_shape(one):
        return tuple(_common(a, b) for a, b in zip(one, other, strict=True))
    return tuple(a if a == b else None for a, b in zip(one, other, strict=True))


def run_call(model: Any, x: Any, mask: Any) -> tuple[Any, Any]:
    """Return what a model's own ``call`` makes of the data, and the mask: one value a step or none.

    A mask that the call takes goes with a result that still has the time axis.
    """
    if isinstance(x, torch.Tensor):
        model.build_own_once((None, *x.shape[1:]))
    accepted = inspect.signature(model.call).parameters
    keywords = {"training": model.training} if "training" in accepted else {}
    if "mask" in accepted:
        keywords["mask"] = mask
    result = model.call(x, **keywords)
    if model._built_for is None:
        model._built_for = (None, *x.shape[1:]) if isinstance(x, torch.Tensor) else None
    stays = (
        "mask" in accepted
        and mask is not None
        and isinstance(result, torch.Tensor)
        and result.ndim > 2
        and result.shape[:2] == mask.shape
    )
    return result, mask if stays else None
