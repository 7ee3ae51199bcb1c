"""What an algorithm for gradients through time is.

A recurrent layer takes its state s_t from s_{t-1}, with the same weights θ at every step. The
gradient of the loss L = Σ ℓ_t is a sum over all pairs of a loss at t and a use of θ at t' ≤ t.
Cut the sequence into chunks. A chunk that runs from s_start to s_end gives four things:

    g_in = dL_chunk/dθ  within the chunk         A = ds_end/ds_start
    g_0  = dL_chunk/ds_start                     B = ds_end/dθ  within the chunk

and with J = ds_start/dθ, the influence of all the past on the state, the gradient is

    Σ over chunks (g_in + g_0 · J)               J ← A · J + B

Every algorithm here is an answer to three questions about that sum:

    past     what is g_0 worth: 0 (truncation), g_0 · J (RTRL), or g_0 times a part of J
    scale    by which factor a step hands its cotangent to the step before
    path     which way the cotangent may take: "full", "diagonal" (of U), "cell" (not through U)

The split into past-facing and future-facing terms follows Marschall, Cho and Savin, "A unified
framework of online learning algorithms for training recurrent neural networks", JMLR 21, 2020. That
a method of differentiation is an object with a contract was learned from Kidger's diffrax.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

from gatewise.errors import InputError, UnsupportedError
from gatewise.gradients.task import Differentiable, Part, Task


class Trail(Protocol):
    """What an online algorithm carries from one chunk of a stream to the next.

    States, and whatever else its past is worth to it: an influence, traces, the last few inputs.
    """

    @property
    def states(self) -> list[list[Tensor]]:
        """The states after the last step, for each pass of the model; empty before the first."""
        ...

    def forget(self, lanes: Tensor) -> None:
        """Let the series where `lanes` (B,) is True begin anew, from a state of zeros."""
        ...


class GradientAlgorithm(ABC):
    """How the gradient flows through time; a subclass is a frozen dataclass of its arguments."""

    exact: ClassVar[bool]
    """Whether the gradient is that of backpropagation through time, with the weights held."""
    unbiased: ClassVar[bool]
    """Whether its mean is that gradient."""
    online: ClassVar[bool]
    """Whether the memory for the states does not grow with the number of steps."""
    cost: ClassVar[str]
    """Time and memory, in words; F is one forward step."""

    @property
    def name(self) -> str:
        """The name under which messages speak of it."""
        return type(self).__name__

    @abstractmethod
    def supports(self, model: Differentiable) -> None:
        """Raise `UnsupportedError`, with the alternative, for a model that it cannot serve."""

    @property
    def stride(self) -> int | None:
        """After how many time steps a gradient is due; None where it comes once, at the end."""
        return None

    def open(self) -> Trail:
        """Return the trail of a stream that begins here; `UnsupportedError` unless online."""
        raise UnsupportedError(
            f"{self.name} keeps something for every time step until a series ends, and the end of "
            "a stream may never come. Use gradient=TBPTT(k1) or, with a gradient that reaches "
            "further back, SnAp1(), EProp() or RTRL()."
        )

    @abstractmethod
    def gradients(self, task: Task, trail: Any = None) -> Iterator[Part]:
        """Fill the weights' `.grad` with one part of the gradient after the other.

        With the weights held, the parts add up to the algorithm's gradient of the whole objective.
        The training loop takes an optimizer step after each, and the algorithm goes on from there.
        With a `trail`, that of `open`, the task is the next chunk of a stream.
        """

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as plain data for a file."""
        return dataclasses.asdict(self)  # pyright: ignore[reportArgumentType]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the algorithm whose `get_config` this is."""
        return cls(**config)


def whole_steps(algorithm: str, argument: str, value: Any) -> int:
    """Return a number of time steps; anything but a whole number from 1 is refused."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(
            f"{algorithm} expected {argument} to be a whole number of time steps, at least 1, but "
            f"got {value!r}."
        )
    return value
