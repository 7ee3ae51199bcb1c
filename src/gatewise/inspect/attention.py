"""Where a model's attention layers look: the weights that each query gives to each value.

The weights of a query sum to 1. The entropy of a row, -Σ_v w log w, is 0 where one value takes
everything and log Tv where all values take the same (Bahdanau et al., arXiv 1409.0473, read
alignments off these weights).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatewise.errors import InputError
from gatewise.inspect.opening import open_layers
from gatewise.inspect.passes import use_name
from gatewise.inspect.probe import predict_on
from gatewise.inspect.showing import Shown
from gatewise.inspect.walk import Place, find_set, named_layers, once


@dataclass(frozen=True, eq=False)
class AttentionWeights(Shown):
    """One use of an attention layer.

    ``weights`` (B, Tq, Tv), averaged over the heads where there are several, are those that the
    layer multiplied its values with; ``queries`` (B, Tq) and ``values`` (B, Tv) are True at real
    steps, or None where the layer was given no mask.
    """

    layer: str
    kind: str
    use: int
    uses: int
    weights: np.ndarray
    queries: np.ndarray | None
    values: np.ndarray | None

    @property
    def name(self) -> str:
        """The layer's name, with the use where there are several."""
        return use_name(self.layer, "", self.use, self.uses)

    @property
    def entropy(self) -> np.ndarray:
        """-Σ_v w log w of each query, (B, Tq), in nats; NaN at masked queries."""
        logarithms = np.log(self.weights, where=self.weights > 0, out=np.zeros_like(self.weights))
        found = -(self.weights * logarithms).sum(axis=-1)
        return found if self.queries is None else np.where(self.queries, found, np.nan)

    @property
    def focus(self) -> np.ndarray:
        """The value that each query looks at most, (B, Tq)."""
        return self.weights.argmax(axis=-1)

    @property
    def looked_at(self) -> np.ndarray:
        """The mean weight of each value over the real queries, (B, Tv)."""
        if self.queries is None:
            return self.weights.mean(axis=1)
        counted = self.queries[..., None]
        return (self.weights * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


@dataclass(frozen=True, eq=False)
class AttentionMeasure(Shown):
    """Where every attention layer of a model looks on a batch."""

    layers: tuple[AttentionWeights, ...]
    batch: int

    def __getitem__(self, name: str) -> AttentionWeights:
        return find_set(self.layers, name)


@torch.no_grad()
def measure_attention(model: nn.Module, x: Any, *, mask: Any = None) -> AttentionMeasure:
    """Measure the weights of every attention layer: Attention, AdditiveAttention, torch.nn's.

    One forward pass on a copy of the model in inference mode; the model itself is left as it was.
    A layer counts if its forward takes ``return_attention_scores`` (Keras's) or is a
    `torch.nn.MultiheadAttention`, whose heads are averaged. ``x`` and ``mask`` are as in
    `measure_gates`.

    Raises:
        InputError: the model holds no attention layer.

    >>> from gatewise.layers import Attention
    >>> class Looking(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.attention = Attention(use_scale=True)
    ...     def forward(self, x):
    ...         return self.attention([x[:, -1:], x])
    >>> looking = Looking()
    >>> _ = looking(torch.ones(2, 4, 3))
    >>> measure_attention(looking, torch.ones(2, 4, 3))["attention"].weights[0].tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    if not _places(model):
        raise InputError(
            f"{type(model).__name__} holds no attention layer. Accepted: a model with Attention or "
            "AdditiveAttention of gatewise.layers, or torch.nn.MultiheadAttention."
        )
    twin = open_layers(copy.deepcopy(model)).eval()
    places = _places(twin)
    with _watching(places) as found:
        batch = predict_on(twin, x, mask)
    layers = [
        _weights(place, use, len(own), one)
        for place, own in zip(places, found, strict=True)
        for use, one in enumerate(own, start=1)
    ]
    return AttentionMeasure(tuple(layers), batch)


def _places(model: nn.Module) -> list[Place]:
    """Return the attention layers of a model, each once, under the first of its names."""
    return [place for place in once(_everything(model, "")) if _asks(place.module) is not None]


def _everything(module: nn.Module, name: str) -> Iterator[Place]:
    yield Place(name or type(module).__name__.lower(), module)
    for child in named_layers(module):
        yield from _everything(child.module, f"{name}.{child.name}" if name else child.name)


def _asks(module: nn.Module) -> dict[str, Any] | None:
    """Return the keywords by which a module returns its weights, too; None if it has none."""
    if isinstance(module, nn.MultiheadAttention):
        return {"need_weights": True, "average_attn_weights": True}
    if "return_attention_scores" in inspect.signature(module.forward).parameters:
        return {"return_attention_scores": True}
    return None


@dataclass(frozen=True)
class _Seen:
    weights: Tensor
    masks: Sequence[Tensor | None]


@contextmanager
def _watching(places: list[Place]) -> Iterator[list[list[_Seen]]]:
    """Make each layer return its weights, keep them, and hand on what was asked for."""
    found: list[list[_Seen]] = [[] for _ in places]
    handles = []
    for place, own in zip(places, found, strict=True):
        before, after = _hooks(place.module, own)
        handles.append(place.module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(place.module.register_forward_hook(after, with_kwargs=True))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _hooks(module: nn.Module, own: list[_Seen]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    asks = _asks(module) or {}
    signature = inspect.signature(module.forward)
    wanted: list[bool] = []

    def before(module: nn.Module, arguments: Any, keywords: Any) -> Any:
        bound = signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        wanted.append(bool(bound.arguments[next(iter(asks))]))
        bound.arguments.update(asks)
        return bound.args, bound.kwargs

    def after(module: nn.Module, arguments: Any, keywords: Any, output: Any) -> Any:
        bound = signature.bind(*arguments, **keywords).arguments
        result, weights = output
        own.append(_Seen(weights, _masks(module, bound)))
        if isinstance(module, nn.MultiheadAttention):
            return result, weights if wanted.pop() else None
        return output if wanted.pop() else result

    return before, after


def _masks(module: nn.Module, arguments: dict[str, Any]) -> Sequence[Tensor | None]:
    """Return the masks (B, Tq) and (B, Tv), True at real steps, or None for each."""
    if isinstance(module, nn.MultiheadAttention):
        padding = arguments.get("key_padding_mask")
        if padding is None or padding.dtype != torch.bool:
            return None, None
        return None, ~padding
    masks = arguments.get("mask")
    return (None, None) if masks is None else (masks[0], masks[1])


def _weights(place: Place, use: int, uses: int, one: _Seen) -> AttentionWeights:
    queries, values = (None if mask is None else mask.cpu().numpy() for mask in one.masks)
    return AttentionWeights(
        layer=place.name,
        kind=type(place.module).__name__,
        use=use,
        uses=uses,
        weights=one.weights.detach().cpu().numpy(),
        queries=queries,
        values=values,
    )
