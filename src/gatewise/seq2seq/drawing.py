"""An encoder and a decoder drawn as one graph, and the two cut out of it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gatewise.errors import InputError, UnsupportedError, unknown_name
from gatewise.layers import (
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Input,
    Layer,
    LayerNormalization,
    Masking,
    Symbol,
)
from gatewise.seq2seq.attention import ASKS_FIRST, ATTENTIONS, Asked
from gatewise.seq2seq.bridge import BRIDGES, FORWARD, bridged, of_both_directions

STEPWISE = (Activation, Dense, Dropout, Embedding, LayerNormalization, Masking)
"""Layers that compute a time step from that step alone."""


@dataclass(frozen=True)
class Drawing:
    """The symbols where a sequence-to-sequence model begins, ends, and can be cut."""

    source: Input
    target: Input
    output: Symbol
    handed: list[Symbol]
    """What the decoder needs of the source: memory and keys if it attends, and its first states."""
    states: list[Symbol]
    """The decoder's final states, in the order of the first states."""
    asking: list[Symbol] | None
    """What the attention layer is called on."""


def draw(
    encoder: Sequence[Layer], decoder: Sequence[Layer], attention: str | None, bridge: str
) -> Drawing:
    """Call the layers on symbols; raise the error that says what does not fit."""
    if attention is not None and attention not in ATTENTIONS:
        raise unknown_name("attention", attention, ATTENTIONS)
    if bridge not in BRIDGES:
        raise unknown_name("bridge", bridge, BRIDGES)
    _check(encoder, "encoder", (*FORWARD, Bidirectional))
    _check(decoder, "decoder", FORWARD)
    source, memory, found = _encode(encoder, attends=attention is not None)
    target = _beginning(decoder[0], "decoder", "target")
    first = bridged(found, [one for one in decoder if isinstance(one, FORWARD)], bridge)
    output, states, asked = _decode(decoder, target, first, memory, attention)
    handed = [] if asked is None else [memory, asked.keys]
    handed += [state for of_layer in first for state in of_layer]
    return Drawing(source, target, output, handed, states, None if asked is None else asked.asking)


def _encode(
    layers: Sequence[Layer], attends: bool
) -> tuple[Input, Symbol, list[tuple[Layer, list[Symbol]]]]:
    """Return the source, the last layer's outputs, and each recurrent layer's final states."""
    source = _beginning(layers[0], "encoder", "source")
    x: Symbol = source
    found: list[tuple[Layer, list[Symbol]]] = []
    for layer in layers:
        if isinstance(layer, STEPWISE):
            x = layer(x)
            continue
        x, *states = _returning_all(layer)(x)
        found.append((layer, of_both_directions(layer, states, len(found))))
    if not attends and isinstance(layers[-1], STEPWISE):
        raise InputError(
            f"'{layers[-1].name}' is the encoder's last layer, but without attention the decoder "
            "reads the states of the recurrent layers alone. Leave it out, or use "
            "attention='luong'."
        )
    return source, x, found


def _decode(
    layers: Sequence[Layer],
    target: Symbol,
    first: list[list[Symbol]],
    memory: Symbol,
    attention: str | None,
) -> tuple[Symbol, list[Symbol], Asked | None]:
    """Return the decoder's output, its final states, and what attention added."""
    recurrent = [layer for layer in layers if isinstance(layer, FORWARD)]
    asks = None
    if attention is not None:
        asks = recurrent[0] if attention in ASKS_FIRST else recurrent[-1]
    x, asked = target, None
    final: list[Symbol] = []
    place = 0
    for layer in layers:
        if not isinstance(layer, FORWARD):
            x = layer(x)
            continue
        x, *states = _returning_all(layer)(x, initial_state=first[place])
        final += states
        place += 1
        if layer is asks:
            assert attention is not None
            asked = ATTENTIONS[attention](x, memory)
            x = asked.result
    return x, final, asked


def _returning_all(layer: Any) -> Any:
    """Let a recurrent layer return all outputs and its final states, as its place asks for."""
    parts = (layer,)
    if isinstance(layer, Bidirectional):
        parts = (layer, layer.forward_layer, layer.backward_layer)
        for direction in parts[1:]:
            direction.zero_output_for_mask = True
    for part in parts:
        part.return_sequences = part.return_state = True
    return layer


def _beginning(layer: Layer, part: str, name: str) -> Input:
    if isinstance(layer, Embedding):
        return Input((None,), dtype="int64", name=name)
    shape = layer.input_shape
    if shape is None and isinstance(layer, Bidirectional):
        shape = layer.forward_layer.input_shape
    if shape is None:
        raise InputError(
            f"The {part} begins with '{layer.name}', which does not say what it is fed with. Begin "
            "with an Embedding for token ids, or give the layer input_shape=(None, features)."
        )
    return Input(shape, name=name)


def _check(layers: Sequence[Layer], part: str, recurrent: tuple[type, ...]) -> None:
    """Refuse what cannot be part of an encoder or decoder."""
    if not layers or not any(isinstance(layer, recurrent) for layer in layers):
        raise InputError(
            f"The {part} is a list of layers with at least one LSTM, GRU, SimpleRNN or RNN in it, "
            f"such as [Embedding(100, 32), LSTM(64){', Dense(100)' * (part == 'decoder')}], but "
            f"got {[getattr(layer, 'name', layer) for layer in layers]}."
        )
    for layer in layers:
        if not isinstance(layer, (*STEPWISE, *recurrent)):
            raise UnsupportedError(
                f"'{getattr(layer, 'name', layer)}' ({type(layer).__name__}) cannot be part of "
                f"the {part}: it is not known to compute each time step from that step and a "
                f"state. Use {', '.join(one.__name__ for one in (*STEPWISE, *recurrent))}."
                + (" A decoder runs forwards only." if isinstance(layer, Bidirectional) else "")
            )
        if getattr(layer, "go_backwards", False):
            raise UnsupportedError(
                f"'{layer.name}' goes backwards. Reverse the source itself, source[:, ::-1], or "
                "wrap the layer in Bidirectional."
            )
        if getattr(layer, "stateful", False):
            raise UnsupportedError(
                f"'{layer.name}' is stateful, but a decoder begins with the encoder's state and an "
                "encoder anew with each source. Leave stateful=True out."
            )
