"""Penalties on what layers return, gathered while a model runs for its objective."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from gatewise.layers.regularizers import Penalty

_PENALTIES: ContextVar[list[Tensor] | None] = ContextVar("penalties", default=None)


@contextmanager
def activity_penalties() -> Iterator[list[Tensor]]:
    """Gather the penalties of all layers that run in the block, each a scalar, in the list given.

    Of what `torch.compile` runs nothing is gathered.

    >>> import torch
    >>> from gatewise.layers import Dense
    >>> from gatewise.layers.activity import activity_penalties
    >>> layer = Dense(1, kernel_initializer="ones", activity_regularizer="l1")
    >>> with activity_penalties() as found:
    ...     y = layer(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> found[0].detach()  # 0.01 · (3 + 7), for each of 2 samples
    tensor(0.0500)
    """
    found: list[Tensor] = []
    token = _PENALTIES.set(found)
    try:
        yield found
    finally:
        _PENALTIES.reset(token)


def note(regularizer: Penalty, result: Any) -> None:
    """Add a layer's penalty for a sample, as Keras has it: of every result, over the batch size."""
    # torch's compiler traces no context variables.
    found = None if torch.compiler.is_compiling() else _PENALTIES.get()
    if found is None:
        return
    for part in result if isinstance(result, (list, tuple)) else [result]:
        if isinstance(part, Tensor):
            found.append(regularizer(part) / len(part))


def summed(penalty: Tensor | None, of_activities: list[Tensor]) -> Tensor | None:
    """Return the penalty on weights and those on activities as one, or None if there is none."""
    for one in of_activities:
        penalty = one if penalty is None else penalty + one
    return penalty


def regularized_activities(model: Any) -> list[str]:
    """Return the names of the layers inside a model that have an activity regularizer."""
    return [
        module.name
        for module in model.modules()
        if getattr(module, "activity_regularizer", None) is not None
    ]
