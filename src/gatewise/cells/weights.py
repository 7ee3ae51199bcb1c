"""The weights of a recurrent cell: a list that travels, taken apart by name, and a named set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from gatewise.cells.gates import split_gates
from gatewise.cells.specification import Specification
from gatewise.errors import InputError


class Weights(NamedTuple):
    """The weights of one cell by name; what the cell does not have is None."""

    W: Tensor  # (I, G·H)
    U: Tensor  # (P, G·H), where P is the width of h: H, or that of its projection
    bias: Tensor | None = None  # (G·H,), or (2, G·H) of a GRU that resets after the product
    peephole: Tensor | None = None  # a row (H,) for each gate of `Specification.peepholes`
    projection: Tensor | None = None  # (H, P)
    input_gain: Tensor | None = None  # (G·H,), of the normalized x W
    recurrent_gain: Tensor | None = None  # (G·H,), of the normalized h U
    cell_gain: Tensor | None = None  # (H,), of the normalized c
    cell_bias: Tensor | None = None  # (H,)

    @staticmethod
    def of(weights: Sequence[Tensor], specification: Specification) -> Weights:
        """Take a list apart: W, U, perhaps the bias, and the specification's ``extra_weights``.

        >>> import torch
        >>> W, U, p = torch.ones(3, 8), torch.ones(2, 8), torch.ones(3, 2)
        >>> taken = Weights.of([W, U, p], Specification("lstm", peephole=True))
        >>> taken.bias is None, taken.peephole is p
        (True, True)
        """
        extra = specification.extra_weights
        count = len(weights) - len(extra)
        if not extra and 2 <= count <= 3:
            return Weights(*weights)
        if not 2 <= count <= 3:
            names = ", ".join(("W", "U", "perhaps b", *extra))
            raise InputError(
                f"A {specification.cell} cell expected the weights {names} but got "
                f"{len(weights)} tensors."
            )
        return Weights(*weights[:count], **dict(zip(extra, weights[count:], strict=True)))


def units_of(weights: Sequence[Tensor], specification: Specification) -> int:
    """Return H, the number of hidden units; h is as wide unless it is projected.

    >>> import torch
    >>> units_of([torch.ones(3, 8), torch.ones(2, 8)], Specification("simple_rnn"))
    8
    """
    return weights[0].shape[1] // len(specification.gates)


def weight_names(weights: Sequence[Tensor], specification: Specification) -> tuple[str, ...]:
    """Return the names of the weights of a list, Keras's for W, U and b.

    >>> import torch
    >>> weight_names([torch.ones(3, 4), torch.ones(4, 4)], Specification("simple_rnn"))
    ('kernel', 'recurrent_kernel')
    """
    biased = Weights.of(weights, specification).bias is not None
    return (
        "kernel",
        "recurrent_kernel",
        *(("bias",) if biased else ()),
        *specification.extra_weights,
    )


def split_weight(name: str, weight: Tensor, specification: Specification) -> dict[str, Tensor]:
    """Return a view of each gate's part of a weight called ``name``; its leading axes are free.

    What belongs to no gate goes by the state that it makes: "h" for a projection, "c" for what c is
    normalized with.

    >>> import torch
    >>> parts = split_weight("peephole", torch.ones(3, 8), Specification("lstm", peephole=True))
    >>> {gate: tuple(part.shape) for gate, part in parts.items()}
    {'i': (8,), 'f': (8,), 'o': (8,)}
    """
    if name == "peephole":
        return dict(zip(specification.peepholes, weight.unbind(-2), strict=True))
    if name == "projection":
        return {"h": weight}
    if name in ("cell_gain", "cell_bias"):
        return {"c": weight}
    return split_gates(weight, specification.cell)


NORM_WEIGHTS = ("input_gain", "recurrent_gain", "cell_gain", "cell_bias")
"""The names of the weights of layer normalization."""


@dataclass(frozen=True)
class WeightSet:
    """The weights of one cell, in Keras's layout whatever module they come from.

    ``weights`` holds "kernel" (I, G·H), "recurrent_kernel" (H, G·H), if there is one "bias" (G·H,)
    or (2, G·H), and the specification's ``extra_weights``. ``sources`` names the module's own
    parameters behind each. ``label`` tells several sets of one module apart ("layer 0 reverse")
    and is empty where there is one.
    """

    label: str
    specification: Specification
    weights: dict[str, Tensor]
    sources: dict[str, tuple[str, ...]]

    @property
    def units(self) -> int:
        """H, the number of hidden units."""
        return self.weights["kernel"].shape[1] // len(self.specification.gates)

    @property
    def input_size(self) -> int:
        """I, the number of input features."""
        return self.weights["kernel"].shape[0]
