"""Training or inference for the length of one call, as Keras's argument `training` has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Bring a module and all inside it into training or inference mode, and back.

    >>> layer = nn.Dropout()
    >>> with in_mode(layer, False):
    ...     layer.training
    False
    >>> layer.training
    True
    """
    modes = [(one, one.training) for one in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for one, mode in modes:
            one.training = mode
