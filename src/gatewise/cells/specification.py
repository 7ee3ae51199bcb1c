"""The frozen description of a cell: everything about it that is not a tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from torch import Tensor

from gatewise.activations import KERNEL_NAMES
from gatewise.cells.gates import GATES, STATES
from gatewise.cells.products import PRECISIONS
from gatewise.errors import unknown_name


@dataclass(frozen=True)
class Specification:
    """Which equation a recurrent layer computes.

    ``cell`` is "lstm", "gru" or "simple_rnn". ``activation`` squashes the candidate (and an LSTM's
    c), ``recurrent_activation`` the gates; each is a name of :mod:`gatewise.activations` or a
    callable. ``reset_after`` (GRU) applies the reset gate after the recurrent product. ``reverse``
    runs from the last time step to the first; everything stays indexed by its own time step.
    ``precision`` is that of the matrix products: "float32" leaves their operands as they are,
    "bfloat16" rounds them (:mod:`gatewise.cells.products`).

    >>> Specification("gru").gates
    ('z', 'r', 'h')
    """

    cell: str
    activation: str | Callable[[Tensor], Tensor] = "tanh"
    recurrent_activation: str | Callable[[Tensor], Tensor] = "sigmoid"
    reset_after: bool = True
    reverse: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.cell not in GATES:
            raise unknown_name("cell", self.cell, GATES)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)

    def at(self, precision: str) -> Specification:
        """Return the same cell with its products at this precision.

        >>> Specification("lstm").at("bfloat16").precision
        'bfloat16'
        """
        return self if precision == self.precision else replace(self, precision=precision)

    @property
    def gates(self) -> tuple[str, ...]:
        """The cell's gates, in the order of their columns."""
        return GATES[self.cell]

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the cell's states."""
        return STATES[self.cell]

    @property
    def two_biases(self) -> bool:
        """Whether the bias has a second row, for the recurrent product."""
        return self.cell == "gru" and self.reset_after

    @property
    def fusable(self) -> bool:
        """Whether the fused kernels know both activations."""
        return self.activation in KERNEL_NAMES and self.recurrent_activation in KERNEL_NAMES

    def encode(self) -> str:
        """Return the specification as the one string that travels through the operator."""
        flags = (
            "reset_after" if self.reset_after else "reset_before",
            "reverse" if self.reverse else "forward",
            self.precision,
        )
        return " ".join((self.cell, str(self.activation), str(self.recurrent_activation), *flags))

    @staticmethod
    def decode(text: str) -> Specification:
        """Return the specification that :meth:`encode` wrote.

        >>> Specification.decode(Specification("lstm", reverse=True).encode()).reverse
        True
        """
        return _decode(text)


@lru_cache(maxsize=256)
def _decode(text: str) -> Specification:
    cell, activation, recurrent_activation, reset, direction, precision = text.split(" ")
    return Specification(
        cell,
        activation,
        recurrent_activation,
        reset == "reset_after",
        direction == "reverse",
        precision,
    )
