"""The recurrence of any cell over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from gatewise.errors import InputError
from gatewise.layers.layer import Layer, RankError, Shape, as_tensor, checked_shape, sizes
from gatewise.layers.masks import checked_mask
from gatewise.layers.registered import describe, from_description
from gatewise.layers.rnn_cells import OwnCell, StackedRNNCells, check_cell, output_size


class RNN(Layer):
    """Run a cell along (B, T, I): `output, states = cell(x[:, t], states)` for each t.

    A cell is a layer with ``call(inputs, states)``, which returns the output and the new states,
    and with ``state_size``: a number, a list of numbers, or a nested list. ``output_size`` is that
    of the first state unless the cell says otherwise. A list of cells is stacked. ``LSTMCell``,
    ``GRUCell``, ``SimpleRNNCell`` and stacks of them run as whole sequences in the kernels; other
    cells run step by step in torch.

    ``return_sequences``, ``return_state``, ``go_backwards``, ``zero_output_for_mask`` and masks
    mean what they mean in :class:`LSTM`.

    >>> from gatewise.layers import GRUCell
    >>> RNN([GRUCell(4), GRUCell(3)])(torch.zeros(2, 5, 6)).shape
    torch.Size([2, 3])
    """

    takes_mask = True
    supports_masking = True

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        cell = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else cell
        check_cell(cell)
        self.cell: Any = cell
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.stateful = bool(stateful)
        for place in range(len(_leaves(cell.state_size)) if self.stateful else 0):
            self.register_buffer(f"kept_{place}", None, persistent=False)
        self.zero_output_for_mask = bool(zero_output_for_mask)

    def create_weights(self, input_shape: Shape) -> None:
        self.cell.build((None, input_shape[2]))

    def check_input_shape(self, shape: Shape) -> None:
        if len(shape) != 3:
            raise RankError(
                f"RNN expected input (B, T, I) but got {sizes(shape)}.", shape=shape, layer=self
            )
        if 0 in shape[:2]:
            raise InputError(f"RNN needs at least one series of one step but got {sizes(shape)}.")

    def forward(self, x: Tensor, mask: Any = None, initial_state: Any = None) -> Any:
        """Return the last output (B, H), or all; with ``return_state`` the states after it."""
        x = self.receive(x)
        mask = None if mask is None else checked_mask("RNN", mask, x)
        states = self._states(initial_state, x)
        if self.go_backwards:
            x, mask = x.flip(1), None if mask is None else mask.flip(1)
        if _is_ours(self.cell):
            outputs, states = _whole(self.cell, x, mask, states)
        else:
            outputs, states = self._step_by_step(x, mask, states)
        if self.stateful:
            self._keep(states)
        if mask is not None and self.zero_output_for_mask:
            outputs = torch.where(mask.unsqueeze(-1), outputs, 0)
        result = outputs if self.return_sequences else outputs[:, -1]
        return (result, *states) if self.return_state else result

    def reset_state(self) -> None:
        """Forget the state that ``stateful=True`` carries from one batch to the next."""
        self._keep(None)

    reset_states = reset_state

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return mask if self.return_sequences else None

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        size = output_size(self.cell)
        result = (*shape[:2], size) if self.return_sequences else (shape[0], size)
        if not self.return_state:
            return result
        return (result, *(_state_shape(one, shape[0]) for one in self._sizes()))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "cell": describe(self.cell),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "zero_output_for_mask": self.zero_output_for_mask,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "cell": from_description(config["cell"])})

    def _sizes(self) -> list[Any]:
        size = self.cell.state_size
        return list(size) if isinstance(size, (list, tuple)) else [size]

    def _states(self, given: Any, x: Tensor) -> list[Any]:
        if given is not None:
            listed = list(given) if isinstance(given, (list, tuple)) else [given]
            if len(listed) != len(self._sizes()):
                raise InputError(
                    f"{self.name} expected {len(self._sizes())} initial states but got "
                    f"{len(listed)}."
                )
            return [_as_tensors(one, x) for one in listed]
        if self.stateful and self.kept_0 is not None:
            return self._kept(x)
        own = getattr(self.cell, "get_initial_state", None)
        if own is not None:
            found = own(batch_size=len(x))
            return list(found) if isinstance(found, (list, tuple)) else [found]
        return [_zeros(size, x) for size in self._sizes()]

    def _kept(self, x: Tensor) -> list[Any]:
        leaves = [getattr(self, f"kept_{place}") for place in range(len(_leaves(self._sizes())))]
        if len(leaves[0]) != len(x):
            raise InputError(
                f"{self.name} is stateful and holds the state of {len(leaves[0])} series, but the "
                f"batch size is {len(x)} now. Call reset_state() to begin anew, and give batches "
                "of one size."
            )
        found = iter(leaves)
        return [_arranged(size, found) for size in self._sizes()]

    def _keep(self, states: list[Any] | None) -> None:
        count = len(_leaves(self._sizes())) if self.stateful else 0
        leaves = [None] * count if states is None else _leaves(states)
        for place in range(count):
            state = leaves[place]
            setattr(self, f"kept_{place}", None if state is None else state.detach())

    def _step_by_step(
        self, x: Tensor, mask: Tensor | None, states: list[Any]
    ) -> tuple[Tensor, list[Any]]:
        outputs: list[Tensor] = []
        for t in range(x.shape[1]):
            output, new = self.cell(x[:, t], states)
            new = list(new) if isinstance(new, (list, tuple)) else [new]
            if mask is not None:
                real = mask[:, t, None]
                before = outputs[-1] if outputs else torch.zeros_like(output)
                output = torch.where(real, output, before)
                new = [_chosen(real, a, b) for a, b in zip(new, states, strict=True)]
            states = new
            outputs.append(output)
        for forget in ("reset_dropout_mask", "reset_recurrent_dropout_mask"):
            for cell in getattr(self.cell, "cells", [self.cell]):
                getattr(cell, forget, lambda: None)()
        return torch.stack(outputs, dim=1), states

    def _weight(self) -> Tensor | None:
        return next((p for p in self.cell.parameters() if p.is_floating_point()), None)


def _is_ours(cell: Any) -> bool:
    """Return whether whole sequences can go through the kernels, cell after cell."""
    if isinstance(cell, StackedRNNCells):
        return all(map(_is_ours, cell.cells))
    return isinstance(cell, OwnCell)


def _whole(
    cell: Any, x: Tensor, mask: Tensor | None, states: list[Any]
) -> tuple[Tensor, list[Any]]:
    if isinstance(cell, OwnCell):
        outputs, *new = cell.layer(x, mask=mask, initial_state=states)
        return outputs, new
    found: list[Any] = []
    for one, state in zip(cell.cells, states, strict=True):
        several = isinstance(state, (list, tuple))
        x, new = _whole(one, x, mask, list(state) if several else [state])
        found.append(new if several else new[0])
    return x, found


def _zeros(size: Any, x: Tensor) -> Any:
    if isinstance(size, (list, tuple)):
        return [_zeros(one, x) for one in size]
    return x.new_zeros(len(x), size)


def _as_tensors(state: Any, like: Tensor) -> Any:
    if isinstance(state, (list, tuple)):
        return [_as_tensors(one, like) for one in state]
    return as_tensor(state, like).to(like.dtype)


def _leaves(nested: Any) -> list[Any]:
    """Return the parts of nested states, or of their sizes, in order."""
    if isinstance(nested, (list, tuple)):
        return [leaf for one in nested for leaf in _leaves(one)]
    return [nested]


def _arranged(size: Any, leaves: Iterator[Tensor]) -> Any:
    """Return states that are nested as their sizes are."""
    if isinstance(size, (list, tuple)):
        return [_arranged(one, leaves) for one in size]
    return next(leaves)


def _chosen(real: Tensor, new: Any, old: Any) -> Any:
    """Return the new state at real steps and the old one at masked steps."""
    if isinstance(new, (list, tuple)):
        return [_chosen(real, a, b) for a, b in zip(new, old, strict=True)]
    return torch.where(real.reshape(len(real), *(1 for _ in range(new.ndim - 1))), new, old)


def _state_shape(size: Any, batch: int | None) -> Any:
    if isinstance(size, (list, tuple)):
        return tuple(_state_shape(one, batch) for one in size)
    return (batch, size)
