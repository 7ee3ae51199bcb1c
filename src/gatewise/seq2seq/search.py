"""How the next token is chosen: the most probable, a drawn one, or several kept side by side.

Each search asks a `Steps` for the log-probabilities of the token that comes next, row by row, and
tells it which token came. It knows nothing of models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from gatewise.errors import InputError, unknown_name
from gatewise.seq2seq.beams import Beams, Found

Pick = Callable[[Tensor], Tensor]


def _whole(search: str, argument: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(
            f"{search} expected {argument} to be a whole number from 1 but got {value!r}."
        )


class Steps(Protocol):
    """Sequences side by side, a row each, that go on token by token."""

    def step(self, ids: Tensor) -> Tensor:
        """Take the next token of each row, (B,); return log p of the one after it, (B, V)."""
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, in this order; a row may come more than once."""
        ...


class Search(ABC):
    """A way to choose tokens; a subclass is a frozen dataclass of its arguments."""

    @abstractmethod
    def run(self, steps: Steps, first: Tensor, stop: int | None, length: int) -> list[Found]:
        """Return what each row goes on with: at most `length` tokens, `stop` among them.

        `first` (B, V) holds log p of each row's first token.
        """

    def for_batch(self, number: int) -> Search:
        """Return the search for one of several batches: what draws must not draw alike in each."""
        return self


@dataclass(frozen=True)
class Greedy(Search):
    """Take the most probable token, step by step."""

    def run(self, steps: Steps, first: Tensor, stop: int | None, length: int) -> list[Found]:
        return _one_path(steps, first, stop, length, lambda log_p: log_p.argmax(dim=-1))


@dataclass(frozen=True)
class Sampling(Search):
    """Draw the token from p^(1/temperature), normalised.

    A temperature below 1 makes the probable more probable, above 1 less. `top_k` draws among the k
    most probable alone. With a `seed` the same calls give the same tokens; without, torch's global
    generator is used.

    >>> Sampling(temperature=0.8, top_k=5, seed=1).top_k
    5
    """

    temperature: float = 1.0
    top_k: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(
                f"Sampling expected a temperature above 0 but got {self.temperature!r}. Towards 0 "
                "only the most probable token is left: that is Greedy()."
            )
        if self.top_k is not None:
            _whole("Sampling", "top_k", self.top_k)

    def for_batch(self, number: int) -> Search:
        """Return the search with a seed of the batch's own."""
        return self if self.seed is None else replace(self, seed=self.seed + number)

    def run(self, steps: Steps, first: Tensor, stop: int | None, length: int) -> list[Found]:
        generator = None
        if self.seed is not None:
            generator = torch.Generator(first.device).manual_seed(self.seed)

        def draw(log_p: Tensor) -> Tensor:
            scores = log_p / self.temperature
            if self.top_k is not None and self.top_k < scores.shape[-1]:
                least = scores.topk(self.top_k, dim=-1).values[:, -1:]
                scores = scores.masked_fill(scores < least, -torch.inf)
            return torch.multinomial(scores.softmax(-1), 1, generator=generator).squeeze(1)

        return _one_path(steps, first, stop, length, draw)


@dataclass(frozen=True)
class BeamSearch(Search):
    """Keep the `width` most probable beginnings side by side; return the best ending.

        score = log p(tokens) / (number of tokens)^length_penalty

    The number counts the stop token. A penalty of 0 compares probabilities as they are, which
    favours short answers; 1 compares the mean of each token's log p. A row ends when `width` of its
    beginnings have ended. A width of 1 is `Greedy`.

    >>> BeamSearch(4).length_penalty
    1.0
    """

    width: int = 4
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        _whole("BeamSearch", "width", self.width)
        if not self.length_penalty >= 0:
            raise InputError(
                f"BeamSearch expected length_penalty from 0 but got {self.length_penalty!r}: below "
                "0 the least probable of long answers would win."
            )

    def run(self, steps: Steps, first: Tensor, stop: int | None, length: int) -> list[Found]:
        beams = Beams(len(first), self.width, self.length_penalty, stop, length)
        rows = torch.arange(len(first), device=first.device)
        steps.select(rows.repeat_interleave(self.width))
        log_p = first.repeat_interleave(self.width, dim=0)
        while True:
            rows, ids, done = beams.extend(log_p)
            if done:
                return beams.best()
            steps.select(rows)
            log_p = steps.step(ids)


_SEARCHES: dict[str, Search] = {
    "greedy": Greedy(),
    "sampling": Sampling(),
    "beam": BeamSearch(),
}


def get(given: str | Search) -> Search:
    """Return the search that a name or an object means.

    >>> get("beam").width
    4
    """
    if isinstance(given, Search):
        return given
    if not isinstance(given, str):
        raise InputError(
            f"search is {', '.join(map(repr, _SEARCHES))} or an object such as "
            f"BeamSearch(width=4), but got {given!r}."
        )
    if given not in _SEARCHES:
        raise unknown_name("search", given, _SEARCHES)
    return _SEARCHES[given]


def _one_path(
    steps: Steps, first: Tensor, stop: int | None, length: int, pick: Pick
) -> list[Found]:
    """Go on with one token a row until all have stopped, or for `length` tokens."""
    log_p, total = first, first.new_zeros(len(first))
    ended = torch.zeros(len(first), dtype=torch.bool, device=first.device)
    columns: list[Tensor] = []
    while True:
        ids = pick(log_p)
        total += log_p.gather(1, ids.unsqueeze(1)).squeeze(1).masked_fill(ended, 0.0)
        columns.append(ids)
        if stop is not None:
            ended |= ids == stop
        if len(columns) == length or bool(ended.all()):
            break
        log_p = steps.step(ids)
    rows = torch.stack(columns, dim=1).tolist()
    return [
        Found(row[: row.index(stop) + 1] if stop in row else row, log_probability)
        for row, log_probability in zip(rows, total.tolist(), strict=True)
    ]
