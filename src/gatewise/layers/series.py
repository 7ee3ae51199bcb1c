"""The shape that a recurrent layer takes: series (B, T, I) of the features it was built for."""

from __future__ import annotations

from gatewise.errors import InputError
from gatewise.layers.layer import Layer, RankError, Shape, sizes


def check_series(layer: Layer, shape: Shape, features: int | None) -> None:
    """Raise ``InputError`` for a shape that is not (B, T, ``features``); None: not known yet."""
    if len(shape) != 3:
        raise RankError(
            f"{_expected(layer, features)} but got {sizes(shape)}. {_rank_cure(shape)}",
            shape=shape,
            layer=layer,
        )
    if features is not None and shape[2] not in (None, features):
        raise InputError(
            f"{_expected(layer, features)} but got {sizes(shape)}: every time step must hold the "
            f"{features} features that the layer was built for."
        )
    if shape[1] == 0:
        raise InputError(
            f"{type(layer).__name__} got series of length 0: input {sizes(shape)}. Every series "
            "needs at least one time step: leave the empty ones out."
        )
    if shape[0] == 0:
        raise InputError(
            f"{type(layer).__name__} got an empty batch: input {sizes(shape)}. Pass at least one "
            "series."
        )


def _expected(layer: Layer, features: int | None) -> str:
    wanted = "I" if features is None else features
    return f"{type(layer).__name__} expected input (B, T, {wanted})"


def _rank_cure(shape: Shape) -> str:
    if len(shape) == 2:
        return "Add a time axis: x[:, None, :]."
    if len(shape) == 1:
        return "Add a batch and a time axis: x[None, None, :]."
    return "Flatten the axes after the time axis: x.flatten(2)."
