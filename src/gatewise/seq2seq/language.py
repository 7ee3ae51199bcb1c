"""A language model goes on with a text, on its stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise.errors import InputError, UnsupportedError
from gatewise.layers import Embedding
from gatewise.models import Sequential
from gatewise.seq2seq import search as searches
from gatewise.seq2seq.search import Search
from gatewise.seq2seq.steps import ModelSteps
from gatewise.seq2seq.tokens import Head, checked_token


@torch.no_grad()
def generate(
    model: Sequential,
    prompt: Any,
    length: int = 100,
    *,
    search: str | Search = "sampling",
    stop: int | None = None,
) -> Any:
    """Return the token ids with which a language model goes on after `prompt`.

    `model` is a Sequential from token ids to scores of the next token, such as `Embedding`, `LSTM`,
    `Dense`; whether it returns sequences does not matter. `prompt` holds ids (T,), or is a list of
    such prompts, whose lengths may differ; the result is an array of at most `length` ids, or a
    list of them, without the prompt. `search` is "sampling", "greedy", "beam", or an object that
    says more: `Sampling(temperature=0.5, top_k=10, seed=1)`. Generation ends early at the token
    `stop`, which is left out of the result.

    It runs on `model.stream()`: one step of the kernels a token, however long the text has become.

    Raises `InputError` for an empty prompt and for ids that the model does not know,
    `UnsupportedError` for a model that is not of this kind.

    >>> import gatewise
    >>> from gatewise.layers import LSTM, Dense, Embedding
    >>> from gatewise.seq2seq import Sampling, generate
    >>> gatewise.utils.set_random_seed(0)
    >>> model = gatewise.Sequential([Embedding(10, 4), LSTM(8), Dense(10, activation="softmax")])
    >>> ids = generate(model, [1, 2, 3], length=5, search=Sampling(temperature=0.5, seed=1))
    >>> ids.shape, ids.dtype
    ((5,), dtype('int64'))
    """
    if not isinstance(model, Sequential):
        raise UnsupportedError(
            f"generate() goes on with a Sequential language model, but got a "
            f"{type(model).__name__}. A Seq2Seq has generate(source) of its own."
        )
    model._require_built("generate()")
    length = positive_length(length)
    chosen, stop = searches.get(search), checked_token("stop", stop)
    first = model.layers[0]
    head = Head(model.name, model.layers[-1], first)
    assert isinstance(first, Embedding)
    prompts, single = _prompts(prompt, first.input_dim)
    steps = ModelSteps(model, head, len(prompts))
    found = chosen.run(steps, steps.read(prompts), stop, length)
    results = [without_stop(one.ids, stop) for one in found]
    return results[0] if single else results


def positive_length(value: Any) -> int:
    """Return a number of tokens; anything but a whole number from 1 is refused."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"The length is a whole number of tokens from 1, but got {value!r}.")
    return value


def without_stop(ids: list[int], stop: int | None) -> np.ndarray:
    """Return the ids as an array, the stop token left out."""
    return np.array(ids[:-1] if ids and ids[-1] == stop else ids, dtype=np.int64)


def _prompts(prompt: Any, known: int) -> tuple[list[Tensor], bool]:
    """Return the prompts as tensors, and whether there was a single one."""
    if isinstance(prompt, str):
        raise InputError(
            "The prompt is a text, but the model takes token ids. Encode it first: "
            "vocabulary.encode([text])[0]."
        )
    single = not isinstance(prompt, (Sequence, np.ndarray, Tensor)) or (
        len(prompt) == 0 or np.ndim(prompt[0]) == 0
    )
    rows = [prompt] if single else list(prompt)
    found = [torch.as_tensor(np.asarray(row)) for row in rows]
    for number, row in enumerate(found):
        if row.ndim != 1 or len(row) == 0:
            raise InputError(
                f"Prompt {number} has the shape {tuple(row.shape)}, but a prompt is a sequence of "
                "at least one token id. Begin with a start token, or with the first character."
            )
        if row.is_floating_point() or bool((row < 0).any()) or bool((row >= known).any()):
            raise InputError(
                f"Prompt {number} holds {row.tolist()[:5]}, but token ids are whole numbers from "
                f"0 to {known - 1}."
            )
    return [row.long() for row in found], single
