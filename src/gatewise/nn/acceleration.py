"""What ``accelerate`` did, as data, with a text for 80 columns."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from gatewise.nn.agreement import Difference

_WIDTH = 80


@dataclass(frozen=True)
class Swapped:
    """A layer that now runs on gatewise's kernels."""

    names: tuple[str, ...]  # every path that leads to it in the model; "" is the model itself
    layer: str  # its arguments, as it prints itself
    kernel: str
    reason: str  # why that kernel
    difference: Difference  # the largest, on random sequences, to torch's layer
    tolerance: float

    def lines(self) -> list[str]:
        """Return the entry's text."""
        return [
            *_entry("swapped", self.names, self.layer),
            *_detail(f"kernel {self.kernel}: {self.reason}"),
            *_detail(f"largest relative error ({self.tolerance:.0e} passes): {self.difference}"),
        ]


@dataclass(frozen=True)
class Left:
    """A recurrent module that stayed as it was."""

    names: tuple[str, ...]
    layer: str
    reason: str

    def lines(self) -> list[str]:
        """Return the entry's text."""
        return [*_entry("left", self.names, self.layer), *_detail(self.reason)]


@dataclass(frozen=True)
class Acceleration:
    """What :func:`gatewise.nn.accelerate` swapped, what it left and why.

    ``model_difference`` is the largest relative error of the whole model's outputs and gradients on
    the ``probe`` that was given; None without one.
    """

    swapped: tuple[Swapped, ...]
    left: tuple[Left, ...]
    model_difference: Difference | None = None

    def __str__(self) -> str:
        lines = [f"Recurrent layers: {len(self.swapped)} swapped, {len(self.left)} left"]
        for entry in (*self.swapped, *self.left):
            lines += entry.lines()
        if self.model_difference is not None:
            lines += textwrap.wrap(
                f"whole model on the probe: largest relative error {self.model_difference}", _WIDTH
            )
        return "\n".join(lines)


def _entry(verb: str, names: tuple[str, ...], layer: str) -> list[str]:
    path = " = ".join(name or "(the model itself)" for name in names)
    return textwrap.wrap(f"{verb:8} {path}: {layer}", _WIDTH, subsequent_indent=" " * 9)


def _detail(text: str) -> list[str]:
    indent = " " * 9
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
