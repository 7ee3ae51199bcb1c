"""Attention: each query looks at all values and takes a weighted mean of them.

Luong et al., "Effective approaches to attention-based neural machine translation", arXiv
1508.04025 (dot product); Bahdanau et al., "Neural machine translation by jointly learning to align
and translate", arXiv 1409.0473 (additive).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.errors import InputError, unknown_name
from gatewise.layers.layer import Layer, Shape, as_tensor
from gatewise.layers.noise import NoiseSource

# Keras takes this from the scores of masked values.
_FAR = 1.0e9


class Attention(Layer):
    """Dot-product attention, called on [query (B, Tq, I), value (B, Tv, V), key (B, Tv, I)].

        weights = softmax(query keyᵀ)        (B, Tq, Tv)
        y = weights value                    (B, Tq, V)

    Without a key the value is the key. ``use_scale`` multiplies the scores by a trained number;
    ``score_mode="concat"`` scores by Σ tanh(query + key). Masks come as a list, [query's, value's]:
    masked values get no weight, and the result is zero at masked queries. A call takes
    ``return_attention_scores`` and ``use_causal_mask`` (query i sees values up to i).

    >>> query, value = torch.zeros(2, 3, 4), torch.ones(2, 5, 4)
    >>> y, weights = Attention()([query, value], return_attention_scores=True)
    >>> y.shape, weights[0, 0].tolist()
    (torch.Size([2, 3, 4]), [0.20000000298023224, 0.20000000298023224, 0.20000000298023224, \
0.20000000298023224, 0.20000000298023224])
    """

    takes_mask = True
    supports_masking = True
    scale: nn.Parameter | None
    concat_score_weight: nn.Parameter | None

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        if score_mode not in ("dot", "concat"):
            raise unknown_name("score_mode", score_mode, ("dot", "concat"))
        if not 0 <= dropout < 1:
            raise InputError(
                f"{type(self).__name__} takes dropout from 0 to 1 but got {dropout!r}."
            )
        self.use_scale = bool(use_scale)
        self.score_mode = score_mode
        self.dropout = float(dropout)
        self.noise = NoiseSource(seed)

    def create_weights(self, input_shape: Any) -> None:
        for name, wanted in (
            ("scale", self.use_scale),
            ("concat_score_weight", self.score_mode == "concat"),
        ):
            if wanted:
                self.add_weight(name, (), "ones")
            else:
                self.register_parameter(name, None)

    def check_input_shape(self, shape: Any) -> None:
        kind = type(self).__name__
        if not 2 <= len(shape) <= 3 or any(not hasattr(one, "__len__") for one in shape):
            raise InputError(
                f"{kind} is called on a list, [query, value] or [query, value, key], but got the "
                f"shape {shape!r}."
            )
        query, key = shape[0], shape[-1]
        if query[-1] is not None and key[-1] is not None and query[-1] != key[-1]:
            raise InputError(
                f"{kind} compares queries of {query[-1]} features with keys of {key[-1]}. Both "
                "need the same number: put a Dense layer before one."
            )

    def forward(
        self,
        x: Any,
        mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Return (B, Tq, V), and with ``return_attention_scores`` the weights (B, Tq, Tv), too."""
        parts = [part if isinstance(part, Tensor) else as_tensor(part, None) for part in x]
        self.build([tuple(part.shape) for part in parts])
        query, value, key = (*parts, parts[1])[:3]
        query_mask, value_mask = (None, None) if mask is None else mask[:2]
        scores = self.scores(query, key)
        seen = None if value_mask is None else value_mask.unsqueeze(-2)
        if use_causal_mask:
            past = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            seen = past if seen is None else seen & past
        if seen is not None:
            scores = torch.where(seen, scores, scores - _FAR)
        weights = scores.softmax(dim=-1)
        if self.training and self.dropout:
            weights = weights * self.noise(tuple(weights.shape), self.dropout, weights)
        y = weights @ value
        if query_mask is not None:
            y = torch.where(query_mask.unsqueeze(-1), y, 0)
        return (y, weights) if return_attention_scores else y

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """Return how much each query looks for each key, before the softmax: (B, Tq, Tv)."""
        if self.score_mode == "dot":
            scores = query @ key.transpose(-2, -1)
            return scores if self.scale is None else scores * self.scale
        both = query.unsqueeze(-2) + key.unsqueeze(-3)  # (B, Tq, Tv, I)
        both = both if self.scale is None else both * self.scale
        assert self.concat_score_weight is not None
        return both.tanh().sum(-1) * self.concat_score_weight

    def compute_mask(self, x: Any, mask: Any = None) -> Tensor | None:
        return None if mask is None else mask[0]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        self.check_input_shape(input_shape)
        return (*input_shape[0][:-1], input_shape[1][-1])

    def compute_scores_shape(self, input_shape: Any) -> Shape:
        """Return the shape of the attention weights."""
        return (*input_shape[0][:-1], input_shape[-1][-2])

    def get_config(self) -> dict[str, Any]:
        own = {"use_scale": self.use_scale, "score_mode": self.score_mode, "dropout": self.dropout}
        return {**super().get_config(), **own, "seed": self.noise.seed}


class AdditiveAttention(Attention):
    """Additive attention, called as :class:`Attention` is.

        scores = Σ scale ⊙ tanh(query + key)        (B, Tq, Tv)

    ``scale`` (I,) is trained unless ``use_scale`` is False.
    """

    def __init__(
        self,
        use_scale: bool = True,
        dropout: float = 0.0,
        seed: int | None = None,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            use_scale,
            dropout=dropout,
            seed=seed,
            input_shape=input_shape,
            name=name,
            trainable=trainable,
        )

    def create_weights(self, input_shape: Any) -> None:
        if self.use_scale:
            self.add_weight("scale", (input_shape[0][-1],), "glorot_uniform")
        else:
            self.register_parameter("scale", None)

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        both = (query.unsqueeze(-2) + key.unsqueeze(-3)).tanh()  # (B, Tq, Tv, I)
        return (both if self.scale is None else both * self.scale).sum(-1)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["score_mode"]
        return config
