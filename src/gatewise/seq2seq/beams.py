"""The bookkeeping of a beam search: which beginnings are alive, and which have ended."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Found(NamedTuple):
    """A sequence of tokens, the stop token among them if it came, and log p of the whole."""

    ids: list[int]
    log_probability: float


class Beams:
    """Several sequences, each with up to `width` beginnings alive.

    After each step the `width` most probable continuations of a sequence are looked at: those that
    stop have ended, and the most probable of the others stay alive.
    """

    def __init__(
        self, sequences: int, width: int, penalty: float, stop: int | None, length: int
    ) -> None:
        self._width, self._penalty, self._stop, self._length = width, penalty, stop, length
        # At first all beginnings of a sequence are the same empty one: one is enough.
        self._alive = [[Found([], 0.0)] for _ in range(sequences)]
        self._ended: list[list[Found]] = [[] for _ in range(sequences)]

    def extend(self, log_p: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Take log p of every beginning's next token, (sequences·width, V).

        Return the rows to go on with, the token that each takes, and whether all have ended.
        """
        vocabulary = log_p.shape[-1]
        before = torch.full((len(self._alive), self._width), -math.inf, dtype=log_p.dtype)
        for number, alive in enumerate(self._alive):
            for place, beginning in enumerate(alive):
                before[number, place] = beginning.log_probability
        totals = before.to(log_p.device).unsqueeze(-1) + log_p.view(len(before), self._width, -1)
        # Twice as many as stay: each of the `width` that stay may have one that stops before it.
        count = min(2 * self._width, self._width * vocabulary)
        best = totals.flatten(1).topk(count, dim=-1)
        rows = torch.zeros(len(before), self._width, dtype=torch.long)
        ids = torch.zeros_like(rows)
        for number, (values, places) in enumerate(
            zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ):
            taken = self._continue(number, values, places, vocabulary)
            for place, (row, token) in enumerate(taken):
                rows[number, place], ids[number, place] = row, token
        rows += torch.arange(len(before)).unsqueeze(1) * self._width
        device = log_p.device
        return rows.flatten().to(device), ids.flatten().to(device), not any(self._alive)

    def best(self) -> list[Found]:
        """Return the best ending of each sequence."""
        return [max(ended, key=self._score) for ended in self._ended]

    def _continue(
        self, number: int, values: list[float], places: list[int], vocabulary: int
    ) -> list[tuple[int, int]]:
        """Sort the continuations of one sequence into ended and alive; return those alive."""
        before, alive, taken = self._alive[number], [], []
        for rank, (value, place) in enumerate(zip(values, places, strict=True)):
            if value == -math.inf or not before or len(alive) == self._width:
                break
            row, token = divmod(place, vocabulary)
            found = Found([*before[row].ids, token], value)
            if token == self._stop or len(found.ids) == self._length:
                if rank < self._width:
                    self._ended[number].append(found)
                continue
            alive.append(found)
            taken.append((row, token))
        if len(self._ended[number]) >= self._width:
            alive, taken = [], []
        self._alive[number] = alive
        return taken

    def _score(self, found: Found) -> float:
        return found.log_probability / len(found.ids) ** self._penalty
