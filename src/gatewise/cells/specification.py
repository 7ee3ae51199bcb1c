"""The frozen description of a cell: everything about it that is not a tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

from torch import Tensor

from gatewise.activations import KERNEL_NAMES
from gatewise.cells.gates import GATES, PEEPHOLES, STATES
from gatewise.cells.products import PRECISIONS
from gatewise.errors import InputError, unknown_name


@dataclass(frozen=True)
class Specification:
    """Which equation a recurrent layer computes.

    ``cell`` is "lstm", "cifg" (an LSTM with coupled gates, i = 1 - f), "gru" or "simple_rnn".
    ``activation`` squashes the candidate (and an LSTM's c), ``recurrent_activation`` the gates;
    each is a name of :mod:`gatewise.activations` or a callable. ``reset_after`` (GRU) applies the
    reset gate after the recurrent product. ``reverse`` runs from the last time step to the first;
    everything stays indexed by its own time step. With ``peephole`` the gates of ``peepholes`` see
    the memory c, and ``cell_clip`` keeps c within ±cell_clip. With ``projection`` an LSTM's h is
    o ⊙ tanh(c') times a matrix (H, P), and P wide. ``layer_norm`` normalizes x W, h U and the c
    that an LSTM shows. ``precision`` is that of the matrix products: "float32" leaves their
    operands as they are, "bfloat16" rounds them (:mod:`gatewise.cells.products`).

    >>> Specification("gru").gates
    ('z', 'r', 'h')
    """

    cell: str
    activation: str | Callable[[Tensor], Tensor] = "tanh"
    recurrent_activation: str | Callable[[Tensor], Tensor] = "sigmoid"
    reset_after: bool = True
    reverse: bool = False
    precision: str = "float32"
    peephole: bool = False
    cell_clip: float | None = None
    projection: bool = False
    layer_norm: bool = False
    # The names of the weights that follow W, U and b in the list of weights.
    extra_weights: tuple[str, ...] = field(init=False, repr=False, compare=False)
    # Every call looks up its sizes by its specification, and that once took longer than the sizes.
    # It is worked out when it is asked for: torch.compile, which asks for none, cannot trace that.
    _hash: int | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.cell not in GATES:
            raise unknown_name("cell", self.cell, GATES)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        if (self.peephole or self.cell_clip is not None) and "c" not in self.states:
            raise InputError(
                f"peephole and cell_clip are about the memory c, and a {self.cell} has none. "
                "Leave them out, or take an LSTM."
            )
        self._check_norms()
        if self.cell_clip is not None and not 0 < self.cell_clip < math.inf:
            raise InputError(
                "cell_clip, the largest size of c, expected a positive number or None but got "
                f"{self.cell_clip!r}."
            )
        object.__setattr__(self, "extra_weights", self._extra_weights())

    def _extra_weights(self) -> tuple[str, ...]:
        names = ["peephole"] if self.peephole else []
        if self.projection:
            names.append("projection")
        if self.layer_norm:
            names += ["input_gain", "recurrent_gain"]
            names += ["cell_gain", "cell_bias"] if "c" in self.states else []
        return tuple(names)

    def _check_norms(self) -> None:
        if self.projection and "c" not in self.states:
            raise InputError(
                "projection makes an LSTM's h smaller than its memory c, and the h of a "
                f"{self.cell} is its memory. Leave it out, or take an LSTM."
            )
        if self.layer_norm and self.cell == "simple_rnn":
            raise InputError(
                "layer_norm is there for an LSTM and a GRU, not for a simple_rnn. Leave it out."
            )
        if self.layer_norm and self.cell == "gru" and not self.reset_after:
            raise InputError(
                "layer_norm normalizes h U before the reset gate meets it, and with "
                "reset_after=False the reset gate comes first. Use reset_after=True."
            )

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
    def peepholes(self) -> tuple[str, ...]:
        """The gates that see the memory c, in the order of the rows of the peephole weights."""
        return PEEPHOLES[self.cell] if self.peephole else ()

    @property
    def saves(self) -> bool:
        """Whether the way back needs something saved beside outputs and gates: c, or h U_h + b'."""
        return "c" in self.states or self.two_biases

    @property
    def weights_need_gates(self) -> bool:
        """Whether the weights' gradient needs the gates, beside x, h and dL/dP.

        A GRU's dU needs the reset gate, the peepholes' gradient the memory that o saw.
        """
        return self.cell == "gru" or self.peephole

    @property
    def weights_need_memory(self) -> bool:
        """Whether the weights' gradient needs what is saved: c, and what was normalized."""
        return self.peephole or self.layer_norm

    @property
    def fusable(self) -> bool:
        """Whether the fused kernels know both activations."""
        return self.activation in KERNEL_NAMES and self.recurrent_activation in KERNEL_NAMES

    def __hash__(self) -> int:
        known = self._hash
        if known is None:
            known = hash(self._key())
            object.__setattr__(self, "_hash", known)
        return known

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process computes its own hash: those of strings differ there."""
        return Specification, self._key()

    def _key(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self) if field.init)

    def encode(self) -> str:
        """Return the specification as the one string that travels through the operator."""
        words = [
            self.cell,
            str(self.activation),
            str(self.recurrent_activation),
            "reset_after" if self.reset_after else "reset_before",
            "reverse" if self.reverse else "forward",
            self.precision,
        ]
        for flag in ("peephole", "projection", "layer_norm"):
            if getattr(self, flag):
                words.append(flag)
        if self.cell_clip is not None:
            words.append(f"cell_clip={self.cell_clip!r}")
        return " ".join(words)

    @staticmethod
    def decode(text: str) -> Specification:
        """Return the specification that :meth:`encode` wrote.

        >>> Specification.decode(Specification("lstm", cell_clip=3.0).encode()).cell_clip
        3.0
        """
        return _decode(text)


@lru_cache(maxsize=256)
def _decode(text: str) -> Specification:
    cell, activation, recurrent_activation, reset, direction, precision, *words = text.split(" ")
    options: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")  # a flag's value is empty
        options[name] = value
    clip = options.get("cell_clip")
    return Specification(
        cell,
        activation,
        recurrent_activation,
        reset == "reset_after",
        direction == "reverse",
        precision,
        peephole="peephole" in options,
        projection="projection" in options,
        layer_norm="layer_norm" in options,
        cell_clip=None if clip is None else float(clip),
    )
