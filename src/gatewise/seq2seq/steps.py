"""Sequences that go on token by token: a decoder's after its source, a language model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.layers.stream import LayerStream, ModelStream
from gatewise.seq2seq.tokens import Head
from gatewise.training import Several

_PIECE = 64  # tokens of a prompt that are read at a time


def parts_of(result: Any) -> list[Any]:
    """Return one or several results as a list."""
    return list(result.parts) if isinstance(result, Several) else [result]


class DecoderSteps:
    """A decoder after its source: each step takes and returns the states, the source stays."""

    def __init__(self, decoder: Any, head: Head, handed: list[Tensor], masks: list[Any]) -> None:
        self._decoder, self._head = decoder, head
        self._fixed = len(handed) - (len(decoder.outputs) - 1)  # memory and keys, if it attends
        self._handed, self._masks = handed, masks

    def step(self, ids: Tensor) -> Tensor:
        given = Several([ids.unsqueeze(1), *self._handed])
        result, _ = self._decoder.forward_with_mask(given, [None, *self._masks])
        output, *states = parts_of(result)
        self._handed[self._fixed :] = states
        return self._head.log_p(output[:, 0])

    def select(self, rows: Tensor) -> None:
        self._handed = [one.index_select(0, rows) for one in self._handed]
        self._masks = [None if one is None else one.index_select(0, rows) for one in self._masks]


class ModelSteps:
    """A language model on its stream: native steps, with the state kept in between."""

    def __init__(self, model: Any, head: Head, batch: int) -> None:
        self._model, self._head, self._batch = model, head, batch
        self._stream: ModelStream = model.stream(batch)

    def read(self, prompts: Sequence[Tensor]) -> Tensor:
        """Take all of each prompt; return log p (B, V) of the token after it."""
        device = self._model.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        padded = torch.nn.utils.rnn.pad_sequence(list(prompts), batch_first=True).to(device)
        last: Tensor | None = None
        # Pieces, because there is an answer (B, T, V) to every token of one.
        for first in range(0, padded.shape[1], _PIECE):
            ids = padded[:, first : first + _PIECE]
            left = lengths - first
            real = torch.arange(ids.shape[1], device=device) < left.unsqueeze(1)
            # A row whose prompt has ended keeps its state and its last answer.
            answers = self._stream.advance(ids, None if bool(real.all()) else real, series=True)
            ends = left.clamp(1, ids.shape[1]) - 1
            answer = answers[torch.arange(len(ids), device=device), ends]
            last = answer if last is None else torch.where(left.unsqueeze(1) > 0, answer, last)
        assert last is not None
        return self._head.log_p(last)

    def step(self, ids: Tensor) -> Tensor:
        return self._head.log_p(self._stream.advance(ids))

    def select(self, rows: Tensor) -> None:
        before = self._stream
        if len(rows) != self._batch:
            self._stream, self._batch = self._model.stream(len(rows)), len(rows)
        for old, new in zip(_layers(before), _layers(self._stream), strict=True):
            new.state = [part.index_select(0, rows.to(part.device)) for part in old.state]


def _layers(stream: ModelStream) -> Iterator[LayerStream]:
    for one in stream.streams:
        if isinstance(one, ModelStream):
            yield from _layers(one)
        else:
            yield one
