"""Attention between decoder and encoder, arranged so that every recurrent layer runs fused.

The decoder asks with its outputs d_t, all at once, and never with a state that waits for an answer:

    a_t = softmax(score(d_t, m))        over the source's steps, m the encoder's outputs
    context_t = Σ_s a_ts m_s

Luong, Pham and Manning, "Effective approaches to attention-based neural machine translation", arXiv
1508.04025: the last recurrent layer asks, score = d_tᵀ W m_s ("general"), and the head sees
tanh(W [context_t; d_t]).

Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align and translate",
arXiv 1409.0473: score = vᵀ tanh(W d_t + U m_s). There the state *before* a step asks, and the
answer is part of that same step's input, so that no two steps can run together. Here the first
recurrent layer asks and what stands above it is given [context_t; d_t], the layers of a stack as in
Wu et al., "Google's neural machine translation system", arXiv 1609.08144, in a decoder of one layer
the head. What is lost: the first layer does not know where the last step looked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gatewise.layers import AdditiveAttention, Attention, Concatenate, Dense, Symbol


@dataclass(frozen=True)
class Asked:
    """What attention adds to a model that is being drawn."""

    keys: Symbol
    """The encoder's outputs as the scores see them; the same for every step of the decoder."""
    asking: list[Symbol]
    """What the attention layer is called on: queries, values, keys."""
    result: Symbol
    """What goes on through the decoder, (B, T, …)."""


def luong(outputs: Symbol, memory: Symbol) -> Asked:
    """Ask with the outputs (B, T, H) of the last recurrent layer; return tanh(W [context; d])."""
    units = outputs.shape[-1]
    assert units is not None
    keys = Dense(units, use_bias=False, name="attention_keys")(memory)
    asking = [outputs, memory, keys]
    context = Attention(name="luong_attention")(asking)
    joined = Concatenate(name="attention_joined")([context, outputs])
    result = Dense(units, "tanh", use_bias=False, name="attention_output")(joined)
    return Asked(keys, asking, result)


def bahdanau(outputs: Symbol, memory: Symbol) -> Asked:
    """Ask with the outputs (B, T, H) of the first recurrent layer; return [context; d]."""
    units = outputs.shape[-1]
    assert units is not None
    keys = Dense(units, use_bias=False, name="attention_keys")(memory)
    queries = Dense(units, name="attention_queries")(outputs)
    asking = [queries, memory, keys]
    context = AdditiveAttention(name="bahdanau_attention")(asking)
    return Asked(keys, asking, Concatenate(name="attention_joined")([context, outputs]))


ATTENTIONS: dict[str, Callable[[Symbol, Symbol], Asked]] = {"luong": luong, "bahdanau": bahdanau}
ASKS_FIRST = ("bahdanau",)
"""The kinds in which the first recurrent layer of the decoder asks, not the last."""
