"""What a model's last layer says of the next token, and the tokens of a training pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise.data import check_series, pad_tensors
from gatewise.errors import InputError, UnsupportedError
from gatewise.layers import Activation, Dense, Embedding, Layer, Masking

PADDING = 0


class Head:
    """Reads a model's output as log-probabilities of the next token.

    The last layer decides: a softmax returns probabilities, a linear Dense the scores before it
    (`from_logits=True` in the loss). Where id 0 is padding it is never the next token.
    """

    def __init__(self, model: str, last: Any, embedding: Any) -> None:
        if not isinstance(embedding, Embedding):
            raise UnsupportedError(
                f"{model} is not fed with tokens, so it cannot go on with what it says. Generation "
                "needs a model that begins with an Embedding of token ids; for series of numbers "
                "feed predictions back in a loop of your own, with model.stream()."
            )
        activation = last.activation if isinstance(last, (Dense, Activation)) else None
        if activation not in ("softmax", "linear"):
            raise UnsupportedError(
                f"{model} ends with '{last.name}' ({type(last).__name__}), whose numbers are no "
                "probabilities of the next token. End it with Dense(tokens, activation='softmax'), "
                "or Dense(tokens) with from_logits=True in the loss."
            )
        self._probabilities = activation == "softmax"
        self._masks_zero = embedding.mask_zero
        self._heard = embedding.input_dim
        self._model = model

    def log_p(self, output: Tensor) -> Tensor:
        """Return log p (…, V) of the output (…, V)."""
        if output.shape[-1] != self._heard:
            raise InputError(
                f"{self._model} scores {output.shape[-1]} tokens, but its Embedding knows "
                f"{self._heard}: what it says it must be able to hear. Use Dense({self._heard})."
            )
        scores = output.log() if self._probabilities else output
        if self._masks_zero:
            padding = torch.arange(self._heard, device=scores.device) == PADDING
            scores = scores.masked_fill(padding, -torch.inf)
        return scores.log_softmax(dim=-1)


def checked_token(name: str, value: Any) -> int | None:
    """Return a token's id, or None; raise `InputError` for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise InputError(f"{name} is a token's id, a whole number from 0, but got {value!r}.")
    return int(value)


def padded_source(source: Any, first: Layer, what: str) -> Tensor:
    """Return sources as one tensor; a list of different lengths is padded where that is seen."""
    if isinstance(source, np.ndarray) and source.dtype != object:
        source = torch.from_numpy(np.ascontiguousarray(source))
    if isinstance(source, Tensor):
        if source.ndim < 2:
            raise InputError(
                f"The {what}s are (N, T, …), but this is {tuple(source.shape)}. Put a single "
                f"{what} in a list: [{what}]."
            )
        return source
    x, mask = pad_tensors(check_series(list(source)))
    masks = isinstance(first, Masking) or (isinstance(first, Embedding) and first.mask_zero)
    if not bool(mask.all()) and not masks:
        cure = "mask_zero=True" if isinstance(first, Embedding) else "a Masking layer before it"
        raise InputError(
            f"The {what}s have different lengths, and '{first.name}' would read the padding as if "
            f"it were real. Give it {cure}."
        )
    return x


def shifted(
    targets: Sequence[Any], start: int, stop: int | None, padded: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what the decoder hears, [start, y1 …], and what it is to say, [y1 …, stop].

    `padded` says that zeros at the end of a row are padding.
    """
    heard, said = [], []
    for number, target in enumerate(targets):
        row = torch.as_tensor(np.asarray(target), dtype=torch.int64)
        if row.ndim != 1:
            raise InputError(
                f"Target {number} has the shape {tuple(row.shape)}, but a target is a sequence of "
                "token ids, (T,)."
            )
        if padded:
            real = (row != PADDING).nonzero()
            row = row[: int(real[-1]) + 1 if len(real) else 0]
            if len(real) < len(row):
                raise InputError(
                    f"Target {number} holds the id {PADDING} between others, which is padding "
                    "(mask_zero=True). Number the tokens from 1."
                )
        if stop is None and len(row) == 0:
            raise InputError(f"Target {number} has no tokens, and there is no stop token.")
        end = row.new_tensor([] if stop is None else [stop])
        said.append(torch.cat([row, end]))
        heard.append(torch.cat([row.new_tensor([start]), said[-1][:-1]]))
    return heard, said
