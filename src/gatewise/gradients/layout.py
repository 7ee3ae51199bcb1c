"""What a model is made of, as far as time is concerned, and what an algorithm may refuse of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gatewise.errors import UnsupportedError
from gatewise.kernels.int8 import INFERENCE_ALONE
from gatewise.layers import (
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    InputLayer,
    Masking,
)
from gatewise.layers.recurrent import Recurrent

# Layers that compute a time step from that step alone, so that a sequence may come in pieces.
STEPWISE = (Activation, Dense, Dropout, Embedding, InputLayer, Masking)


def layers_of(model: Any) -> Iterator[Any]:
    """Yield the model's layers in the order in which they are applied, those of models inside."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from layers_of(layer)
        else:
            yield layer


def recurrent_layers(model: Any) -> list[Recurrent]:
    """Return the recurrent layers in the order in which they are applied."""
    return [layer for layer in layers_of(model) if isinstance(layer, Recurrent)]


def refuse_quantized(model: Any, wanted: str) -> None:
    """Raise `UnsupportedError` for a model that has weights of 8 bits."""
    for module in model.modules():
        if getattr(module, "quantization", None) is not None:
            raise UnsupportedError(
                f"{wanted} trains the weights, but '{module.name}' was quantized, and "
                f"{INFERENCE_ALONE}. Train the model as it was before quantize(), and call that "
                "last."
            )


def returns_sequences(model: Any) -> bool:
    """Return whether the model predicts at every time step."""
    return all(layer.return_sequences for layer in recurrent_layers(model))


def makes_masks(model: Any) -> bool:
    """Return whether a layer finds out by itself which time steps are real."""
    return any(
        isinstance(layer, Masking) or (isinstance(layer, Embedding) and layer.mask_zero)
        for layer in layers_of(model)
    )


def takes_pieces_of_target(model: Any) -> bool:
    """Return whether the model is an encoder and a decoder, and the decoder's target may be cut."""
    return hasattr(model, "forward_piece")


def refuse_encoder(algorithm: str, model: Any, reason: str) -> None:
    """Raise `UnsupportedError`, with the reason, for an encoder and a decoder."""
    if takes_pieces_of_target(model):
        raise UnsupportedError(
            f"{algorithm} cannot train '{model.name}', an encoder and a decoder: {reason} Use "
            "gradient=BPTT(), BPTT(checkpoint='sqrt') to save memory, or TBPTT(k1), which cuts the "
            "decoder's sequence."
        )


def require_pieces(algorithm: str, model: Any) -> None:
    """Raise `UnsupportedError` unless the model can run a sequence piece by piece."""
    refuse_encoder(
        algorithm,
        model,
        "it goes forward along one sequence and learns at each step, but the first loss comes "
        "after the whole source, through the states handed over and, with attention, from every "
        "step of the source again.",
    )
    if not getattr(model, "is_chain", False):
        raise UnsupportedError(
            f"{algorithm} runs a sequence piece by piece, which it does for Sequential models, and "
            f"'{model.name}' is a {type(model).__name__}. Use gradient=BPTT()."
        )
    over_time = True
    for layer in layers_of(model):
        if isinstance(layer, Bidirectional) or getattr(layer, "go_backwards", False):
            raise UnsupportedError(
                f"{algorithm} goes forward through time, and '{layer.name}' reads the sequence "
                "from its end. Use gradient=BPTT(checkpoint='sqrt') to save memory, or "
                "gradient=ARTBP(mean_length=20)."
            )
        if isinstance(layer, Recurrent):
            if not over_time:
                raise UnsupportedError(
                    f"{algorithm} cannot carry '{layer.name}' from piece to piece: the sequence "
                    "ended before it. Use gradient=BPTT()."
                )
            over_time = layer.return_sequences
        elif over_time and type(layer) not in STEPWISE:
            raise UnsupportedError(
                f"{algorithm} runs a sequence piece by piece, and '{layer.name}' "
                f"({type(layer).__name__}) may look at more than one time step. "
                "Use gradient=BPTT()."
            )
    if not recurrent_layers(model):
        raise UnsupportedError(
            f"{algorithm} is about recurrent layers, and '{model.name}' has none. Leave gradient "
            "out."
        )


def require_stepwise(algorithm: str, model: Any) -> None:
    """Raise `UnsupportedError` unless a decoder can run its target piece by piece."""
    for layer in model.layers_in_pieces:
        if not isinstance(layer, (Recurrent, *STEPWISE)):
            raise UnsupportedError(
                f"{algorithm} runs the target piece by piece, the states carried from one to the "
                f"next, and '{layer.name}' ({type(layer).__name__}) is none of LSTM, GRU, "
                f"SimpleRNN, {', '.join(one.__name__ for one in STEPWISE)}. Use gradient=BPTT()."
            )


def require_fused(algorithm: str, model: Any) -> None:
    """Raise `UnsupportedError` for an activation whose way back the kernels do not know."""
    for layer in layers_of(model):
        for one in (layer, *layer.modules()):
            if isinstance(one, Recurrent) and not one.specification.fusable:
                raise UnsupportedError(
                    f"{algorithm} steers the fused way back, and '{layer.name}' has an activation "
                    f"that only the equation knows ({one.specification.activation!r}, "
                    f"{one.specification.recurrent_activation!r}). Use gradient=BPTT() or "
                    "TBPTT(k1)."
                )
