"""How the decoder's first states come from the encoder's final ones."""

from __future__ import annotations

from typing import Any

from gatewise.errors import InputError, UnsupportedError
from gatewise.layers import RNN, Bidirectional, Concatenate, Dense, Layer, Symbol
from gatewise.layers.recurrent import Recurrent

BRIDGES = ("copy", "dense")
FORWARD = (Recurrent, RNN)
"""The recurrent layers that go forwards: a decoder has no others."""


def state_sizes(layer: Any) -> dict[str, int]:
    """Return the size of each state of a recurrent layer, by name."""
    if isinstance(layer, Recurrent):
        return dict(zip(layer.specification.states, layer.state_sizes, strict=True))
    size = layer.cell.state_size
    sizes = list(size) if isinstance(size, (list, tuple)) else [size]
    if any(isinstance(one, (list, tuple)) for one in sizes):
        raise UnsupportedError(
            f"'{layer.name}' is an RNN over a stack of cells, whose states are lists in a list. "
            "Use one RNN for each cell."
        )
    return {f"state{number}": int(one) for number, one in enumerate(sizes)}


def bridged(
    found: list[tuple[Layer, list[Symbol]]], decoder: list[Any], bridge: str
) -> list[list[Symbol]]:
    """Return the states with which each recurrent layer of the decoder begins."""
    if bridge == "dense":
        everything = [state for _, states in found for state in states]
        joined = everything[0]
        if len(everything) > 1:
            joined = Concatenate(name="bridge_joined")(everything)
        return [
            [
                Dense(size, "tanh", name=f"bridge_{number}_{state}")(joined)
                for state, size in state_sizes(layer).items()
            ]
            for number, layer in enumerate(decoder)
        ]
    if len(found) != len(decoder):
        raise InputError(
            f"The encoder has {len(found)} recurrent layers and the decoder {len(decoder)}, but "
            "each of the decoder's begins with the states of the encoder's at the same place. Use "
            "as many, or bridge='dense', a trained layer from all states to all states."
        )
    for (before, states), layer in zip(found, decoder, strict=True):
        given = [int(state.shape[-1] or 0) for state in states]
        wanted = list(state_sizes(layer).values())
        if given != wanted:
            raise InputError(
                f"'{layer.name}' in the decoder begins with the states of '{before.name}': "
                f"{_listed(given)} but needs {_listed(wanted)}. "
                f"{_cure(given, wanted)}, or use bridge='dense', a trained layer between them."
            )
    return [states for _, states in found]


def of_both_directions(layer: Layer, states: list[Symbol], number: int) -> list[Symbol]:
    """Return a layer's final states; those of two directions side by side, each twice as wide."""
    if not isinstance(layer, Bidirectional):
        return states
    half = len(states) // 2
    names = layer.forward_layer.specification.states
    return [
        Concatenate(name=f"both_{number}_{name}")([ahead, back])
        for name, ahead, back in zip(names, states[:half], states[half:], strict=True)
    ]


def _cure(given: list[int], wanted: list[int]) -> str:
    if len(given) != len(wanted):
        return "Use the same cell in both"
    return f"Give it {given[0]} units"


def _listed(sizes: list[int]) -> str:
    return f"{len(sizes)} of {sizes[0]} units" if len(sizes) > 1 else f"1 of {sizes[0]} units"
