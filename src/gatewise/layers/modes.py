"""What a module is for the length of one call: in training or not, and left as it was."""

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


@contextmanager
def left_as_it_was(module: nn.Module) -> Iterator[None]:
    """Give a module in inference mode its mode and the states of its stateful layers back."""
    states = [
        (one, name, state) for one in module.modules() for name, state in one._buffers.items()
    ]
    try:
        with in_mode(module, False):
            yield
    finally:
        for one, name, state in states:
            one._buffers[name] = state
