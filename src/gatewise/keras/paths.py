"""Which path each recurrent layer of a Keras model took at its last call, and why."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import torch

from gatewise.errors import FallbackWarning
from gatewise.kernels import Choice, Request, choose

# By layer and by whether it was training: the request that a kernel served, or why none did.
_taken: weakref.WeakKeyDictionary[Any, dict[bool, Request | str]] = weakref.WeakKeyDictionary()
_warned: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Path:
    """What ran a layer: ``kernel`` is a kernel's name, "keras" for Keras's loop, or None.

    Where training and inference took different paths, both are named, training first.
    """

    layer: str
    kernel: str | None
    reason: str


class Report(Mapping[str, Path]):
    """The path of every recurrent layer, by the layer's name; ``print`` shows a table."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self._paths = paths

    def __getitem__(self, layer: str) -> Path:
        return self._paths[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __str__(self) -> str:
        if not self._paths:
            return "no recurrent layers"
        rows = [(path.layer, path.kernel or "-", path.reason) for path in self._paths.values()]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return "\n".join(
            f"{layer:{widths[0]}}  {kernel:{widths[1]}}  {reason}" for layer, kernel, reason in rows
        )

    __repr__ = __str__


def report(model: keras.Layer) -> Report:
    """Return for each recurrent layer of a Keras model what ran its last calls, and why.

    Calls are seen while the bridge is on. Two layers of one name are told apart by a number.

    >>> print(report(keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(2, name="memory")])))
    memory  -  not called yet on numbers, or only while the bridge was off
    """
    found: dict[str, Path] = {}
    for layer in _layers(model):
        if isinstance(layer, keras.layers.RNN):
            name, count = layer.name, 1
            while name in found:
                count += 1
                name = f"{layer.name} ({count})"
            found[name] = _path(name, layer)
    return Report(found)


def _layers(layer: Any) -> Iterator[Any]:
    """Yield a layer and all below it, in order and each once."""
    seen: set[int] = set()
    waiting = [layer]
    while waiting:
        current = waiting.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting.extend(reversed(list(current._flatten_layers(False, False))))


def record_kernel(layer: Any, request: Request, training: bool) -> None:
    """Note that a layer's call goes to the kernel that serves ``request``."""
    if not torch.compiler.is_compiling():
        _taken.setdefault(layer, {})[training] = request


def record_keras(layer: Any, reason: str, training: bool) -> None:
    """Note that a layer's call stays with Keras, and warn the first time."""
    if torch.compiler.is_compiling():
        return
    _taken.setdefault(layer, {})[training] = reason
    warned = _warned.setdefault(layer, set())
    if reason not in warned:
        warned.add(reason)
        message = f"{layer.name} runs Keras's own loop: {reason}."
        warnings.warn(message, FallbackWarning, stacklevel=3)


def _path(name: str, layer: Any) -> Path:
    taken = {training: _choice(found) for training, found in _taken.get(layer, {}).items()}
    if not taken:
        return _path_without_calls(name, layer)
    if len(taken) == 1 or taken[True] == taken[False]:
        (choice, *_) = taken.values()
        return Path(name, choice.kernel, choice.reason)
    learning, using = taken[True], taken[False]
    kernels = dict.fromkeys((learning.kernel, using.kernel))
    reason = (
        f"training: {learning.kernel} ({learning.reason}), "
        f"inference: {using.kernel} ({using.reason})"
    )
    return Path(name, ", ".join(kernels), reason)


def _choice(taken: Request | str) -> Choice:
    return choose(taken) if isinstance(taken, Request) else Choice("keras", taken)


def _path_without_calls(name: str, layer: Any) -> Path:
    if isinstance(layer, keras.layers.LSTM | keras.layers.GRU | keras.layers.SimpleRNN):
        return Path(name, None, "not called yet on numbers, or only while the bridge was off")
    return Path(name, "keras", "only LSTM, GRU and SimpleRNN have kernels")
