"""A stream as training reads it: batches that say where a series begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch

from gatewise.data import Chunk, Stream
from gatewise.errors import InputError, UnsupportedError
from gatewise.gradients.layout import require_pieces, returns_sequences
from gatewise.training.batches import Batch, Loaded
from gatewise.training.compiled import compiled_of
from gatewise.training.trainable import Trainable


def streamed(model: Trainable, stream: Stream, given: Mapping[str, Any], *, labels: bool) -> Loaded:
    """Return the chunks of a stream as batches; build the model for them if it is not built yet.

    `given` are arguments that a stream has itself. Raises `UnsupportedError` for a model or an
    algorithm that cannot go on from chunk to chunk.
    """
    if not labels:
        raise UnsupportedError(
            "A Stream holds labels, and predict wants none. Take model.stream(lanes) and feed it "
            "step by step."
        )
    for name, value in given.items():
        if value is not None:
            raise InputError(f"A Stream has its own {_OWN[name]}. Leave {name} out.")
    chunks = _Chunks(stream)
    if not model.built:
        first = chunks.peek()
        model.build(model.shape_of_data(torch.as_tensor(first.x)))
    require_pieces("A Stream", model)
    if not returns_sequences(model):
        raise UnsupportedError(
            f"A Stream has a label at every time step, and {model.name} predicts once, at the end. "
            "Set return_sequences=True on every recurrent layer."
        )
    if model.stateful:
        raise InputError(
            f"A Stream carries the states of {model.name} itself, and resets them where a series "
            "ends. Make its layers with stateful=False."
        )
    return Loaded(chunks, model, labels=True)


_OWN = {
    "y": "labels",
    "sample_weight": "weights, the third array of a series",
    "mask": "mask",
    "batch_size": "number of lanes",
}


def require_online(model: Trainable, stream: Stream) -> None:
    """Refuse an algorithm that needs the end of a series, or whose steps chunks would cut."""
    algorithm = compiled_of(model, "fit").gradient
    algorithm.open()  # refuses an algorithm that needs the end of the series
    stride = algorithm.stride
    if stride is not None and stream.chunk % stride:
        whole = max(stream.chunk // stride, 1) * stride
        raise InputError(
            f"{algorithm.name} takes a gradient every {stride} steps, and the stream comes in "
            f"chunks of {stream.chunk}. Let a chunk hold whole windows: chunk={whole}."
        )


class _Chunks:
    """Batches of a stream; what was looked at first comes again."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._begun: Iterator[Chunk] | None = None

    def peek(self) -> Chunk:
        """Return the first chunk, which the next iteration begins with."""
        chunks = iter(self._stream)
        first = next(chunks, None)
        if first is None:
            raise InputError("The stream gave no time step. Pass at least one.")
        self._begun = chain([first], chunks)
        return first

    def __iter__(self) -> Iterator[Batch]:
        begun, self._begun = self._begun, None
        for chunk in iter(self._stream) if begun is None else begun:
            yield Batch(
                torch.from_numpy(chunk.x),
                torch.from_numpy(chunk.y),
                None if chunk.sample_weight is None else torch.from_numpy(chunk.sample_weight),
                None if chunk.mask is None else torch.from_numpy(chunk.mask),
                begins=torch.from_numpy(chunk.begins),
            )
