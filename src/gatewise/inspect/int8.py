"""What weights of 8 bits cost and gain: a model beside its own quantized copy."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.errors import UnsupportedError
from gatewise.inspect.parameters import measure_parameters
from gatewise.inspect.showing import Shown
from gatewise.inspect.speed import Rounds, Work, quietly


@dataclass(frozen=True)
class Timing(Shown):
    """Milliseconds a time step before and after, and the quartiles of their ratio."""

    what: str
    float32_ms: float
    int8_ms: float
    quartiles: tuple[float, float, float]

    @property
    def ratio(self) -> float:
        """How many times as fast the quantized model is."""
        return self.quartiles[1]


@dataclass(frozen=True)
class Int8Cost(Shown):
    """The largest difference of an output, the sizes in bytes, and the times.

    ``largest_output`` is the largest magnitude of an output in float32, for comparison.
    """

    largest_difference: float
    largest_output: float
    float32_bytes: int
    int8_bytes: int
    kernel: str
    timings: tuple[Timing, ...]


def quantized_copy(model: nn.Module) -> Any:
    """Return a copy of a model with weights of 8 bits; the model itself stays as it is."""
    copied: Any = copy.deepcopy(model)
    copied.quantize("int8")
    return copied


def measure_int8(
    model: Any,
    x: Tensor,
    mask: Tensor | None = None,
    rounds: Rounds | None = None,
) -> Int8Cost:
    """Measure a model beside its quantized copy on a batch x (B, T, …), alternately.

    Timed are the first series alone, the whole batch, and a stream of one series where the model
    can be streamed.

    >>> from gatewise import Sequential
    >>> from gatewise.layers import LSTM, Dense
    >>> model = Sequential([LSTM(16, input_shape=(None, 3)), Dense(1)])
    >>> cost = measure_int8(model, torch.ones(4, 5, 3), rounds=Rounds(2, 0.0))
    >>> [timing.what for timing in cost.timings], cost.int8_bytes < cost.float32_bytes
    (['one series', 'batch of 4', 'stream of one'], True)
    """
    small = quantized_copy(model)
    with torch.inference_mode():
        before, after = model(x, mask=mask), small(x, mask=mask)
    found = measure_parameters(small)
    sets = [one for layer in found.layers for one in layer.sets]
    kernels = dict.fromkeys(f"{one.kernel}: {one.kernel_reason}" for one in sets)
    return Int8Cost(
        (before - after).abs().max().item(),
        before.abs().max().item(),
        measure_parameters(model).bytes,
        found.bytes,
        "; ".join(kernels),
        tuple(_timings(model, small, x, mask, rounds or Rounds())),
    )


def _timings(
    model: Any, small: Any, x: Tensor, mask: Tensor | None, rounds: Rounds
) -> list[Timing]:
    first = None if mask is None else mask[:1]
    steps = x.shape[1]

    def timed(what: str, works: list[Work], steps: int) -> Timing:
        found = rounds.compare(works[1], works[0])
        return Timing(what, found.peer_ms / steps, found.ours_ms / steps, found.quartiles)

    def calls(x: Tensor, mask: Tensor | None) -> list[Work]:
        return [quietly(lambda one=one: one(x, mask=mask)) for one in (model, small)]

    timings = [
        timed("one series", calls(x[:1], first), steps),
        timed(f"batch of {len(x)}", calls(x, mask), steps),
    ]
    streams = [_stream(one) for one in (model, small)]
    if None in streams:
        return timings
    step = x[:1, 0]
    steppers = [quietly(lambda stream=stream: stream.step(step)) for stream in streams]
    return [*timings, timed("stream of one", steppers, 1)]


def _stream(model: Any) -> Any:
    """Return the model to be fed step by step; None where some layer needs the whole series."""
    try:
        return model.stream() if hasattr(model, "stream") else None
    except UnsupportedError:
        return None
