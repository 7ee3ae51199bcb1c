"""Cells: one time step of a recurrence as a layer, for `RNN`, for a stack, or for a loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor

from gatewise.errors import InputError
from gatewise.layers.gru import GRU
from gatewise.layers.layer import Layer, Shape, checked_shape, sizes
from gatewise.layers.lstm import LSTM
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.registered import describe, from_description
from gatewise.layers.simple_rnn import SimpleRNN

_OF_THE_LAYER = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask")


class OwnCell(Layer):
    """The base of our cells: a step of `layer`, whose weights and arguments it has."""

    kind: ClassVar[type[Recurrent]]

    def __init__(self, units: int, *positional: Any, **arguments: Any) -> None:
        own = {key: arguments.pop(key) for key in ("name", "trainable") if key in arguments}
        arguments.pop("input_shape", None)
        unknown = [key for key in (*_OF_THE_LAYER, "stateful", "unroll") if key in arguments]
        if unknown:
            raise InputError(
                f"{type(self).__name__} is one time step and takes no {unknown[0]}: give it to RNN."
            )
        super().__init__(**own)
        self.layer: Recurrent = self.kind(  # pyright: ignore[reportCallIssue]
            units, *positional, **arguments, return_sequences=True, return_state=True
        )
        self.layer.trainable = self.trainable
        self.units = self.layer.units
        states = list(self.layer.state_sizes)
        self.state_size: int | list[int] = states if len(states) > 1 else states[0]
        self.output_size = self.layer.output_size

    def create_weights(self, input_shape: Shape) -> None:
        self.layer.build((input_shape[0], None, input_shape[-1]))

    def check_input_shape(self, shape: Shape) -> None:
        if len(shape) != 2:
            raise InputError(
                f"{type(self).__name__} expected one time step (B, I) but got {sizes(shape)}. "
                f"RNN({type(self).__name__}(…)) takes whole series."
            )

    def forward(self, x: Tensor, states: Any) -> tuple[Tensor, list[Tensor]]:
        """Return the output (B, units) and the new states, from an input (B, I) and the states."""
        x = self.receive(x)
        listed = list(states) if isinstance(states, (list, tuple)) else [states]
        outputs, *new = self.layer(x[:, None], initial_state=listed)
        return outputs[:, 0], new

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        batch = checked_shape(input_shape)[0]
        states = ((batch, size) for size in self.layer.state_sizes)
        return ((batch, self.output_size), *states)

    def get_initial_state(self, batch_size: int) -> list[Tensor]:
        """Return states of zeros."""
        weight = self.layer._weight()
        if weight is None:
            raise InputError(f"{self.name} has no weights yet: call build((None, features)) first.")
        return [weight.new_zeros(batch_size, size) for size in self.layer.state_sizes]

    def get_config(self) -> dict[str, Any]:
        config = self.layer.get_config()
        for key in (*_OF_THE_LAYER, "stateful", "input_shape"):
            config.pop(key, None)
        return {**config, "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        config = dict(config)
        mode = config.pop("quantization", None)
        cell = cls(**config)
        cell.layer.quantization = mode
        return cell

    def _weight(self) -> Tensor | None:
        return self.layer._weight()


class LSTMCell(OwnCell):
    """One time step of an :class:`LSTM`, with its arguments and weights.

    >>> import torch
    >>> cell = LSTMCell(4)
    >>> y, (h, c) = cell(torch.zeros(2, 3), [torch.zeros(2, 4), torch.zeros(2, 4)])
    >>> y.shape, cell.state_size
    (torch.Size([2, 4]), [4, 4])
    """

    kind = LSTM


class GRUCell(OwnCell):
    """One time step of a :class:`GRU`, with its arguments and weights."""

    kind = GRU


class SimpleRNNCell(OwnCell):
    """One time step of a :class:`SimpleRNN`, with its arguments and weights."""

    kind = SimpleRNN


class StackedRNNCells(Layer):
    """Cells on top of each other as one cell: each is fed by the output of the one below.

    >>> cell = StackedRNNCells([LSTMCell(4), GRUCell(3)])
    >>> cell.state_size, cell.output_size
    ([[4, 4], 3], 3)
    """

    def __init__(self, cells: Sequence[Any], *, name: str | None = None, trainable: bool = True):
        super().__init__(name=name, trainable=trainable)
        self.cells = list(cells)
        if not self.cells:
            raise InputError("StackedRNNCells needs at least one cell.")
        for number, cell in enumerate(self.cells):
            check_cell(cell)
            self.add_module(f"cell_{number}", cell)

    @property
    def state_size(self) -> list[Any]:
        """The sizes of each cell's states."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        """The size of the last cell's output."""
        return output_size(self.cells[-1])

    def create_weights(self, input_shape: Shape) -> None:
        shape = (input_shape[0], input_shape[-1])
        for cell in self.cells:
            cell.build(shape)
            shape = (shape[0], output_size(cell))

    def forward(self, x: Tensor, states: Any) -> tuple[Tensor, list[Any]]:
        """Return the last cell's output and the new states of all."""
        x, new = self.receive(x), []
        for cell, state in zip(self.cells, states, strict=True):
            x, found = cell(x, state if isinstance(state, (list, tuple)) else [state])
            single = not isinstance(cell.state_size, (list, tuple))
            new.append(found[0] if single and isinstance(found, (list, tuple)) else list(found))
        return x, new

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["input_shape"]
        return {**config, "cells": [describe(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "cells": [from_description(one) for one in config["cells"]]})


def check_cell(cell: Any) -> None:
    """Raise `InputError` for what is no cell."""
    if not isinstance(cell, Layer) or not hasattr(cell, "state_size"):
        raise InputError(
            f"A cell is a layer with call(inputs, states) and a state_size, but got {cell!r}. "
            "Derive it from gatewise.layers.Layer and set self.state_size = units."
        )


def output_size(cell: Any) -> int:
    """Return the size of a cell's output: by default that of its first state."""
    given = getattr(cell, "output_size", None)
    if given is not None:
        return given[-1] if isinstance(given, (list, tuple)) else int(given)
    return _listed(cell.state_size)[0]


def _listed(size: Any) -> list[Any]:
    return list(size) if isinstance(size, (list, tuple)) else [size]
