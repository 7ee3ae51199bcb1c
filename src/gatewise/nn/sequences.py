"""The three forms in which torch.nn takes sequences, brought to (B, T, I) with a mask and back.

A form knows how the caller's tensors lie: padded (with or without lengths), unbatched, or packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatewise.errors import InputError

Lengths = Tensor | Sequence[int]


@dataclass(frozen=True)
class Padded:
    """A tensor (T, B, I), (B, T, I) or, unbatched, (T, I)."""

    x: Tensor  # (B, T, I)
    mask: Tensor | None  # (B, T), True at real steps; None if all are
    batch_first: bool
    batched: bool

    def enter_state(self, state: Tensor) -> Tensor:
        """Return the caller's state as (layers, B, H)."""
        return state if self.batched else state.unsqueeze(1)

    def leave_state(self, state: Tensor) -> Tensor:
        """Return a final state (layers, B, H) as the caller's form has it."""
        return state if self.batched else state.squeeze(1)

    def leave(self, outputs: Tensor) -> Tensor:
        """Return outputs (B, T, F) in the caller's form, zero past the lengths."""
        if self.mask is not None:
            outputs = outputs.masked_fill(~self.mask.unsqueeze(-1), 0)
        if not self.batched:
            return outputs.squeeze(0)
        # torch's own output is contiguous here, and much code calls .view on it.
        return outputs if self.batch_first else outputs.transpose(0, 1).contiguous()

    def dropout_mask(self, x: Tensor, dropout: float) -> Tensor:
        """Return zeros and 1/(1-p), (B, T, F), drawn in torch's order: time first."""
        ones = x.new_ones(x.shape[1], x.shape[0], x.shape[2])
        return functional.dropout(ones, dropout).transpose(0, 1)


@dataclass(frozen=True)
class Packed:
    """A PackedSequence; inside, the batch stands sorted by length as in the packed data."""

    x: Tensor  # (B, T, I)
    mask: Tensor | None  # (B, T)
    lengths: Tensor  # (B,), on the CPU, descending
    packed: PackedSequence

    def enter_state(self, state: Tensor) -> Tensor:
        """Return the caller's state sorted like the packed data."""
        order = self.packed.sorted_indices
        return state if order is None else state.index_select(1, order)

    def leave_state(self, state: Tensor) -> Tensor:
        """Return a final state in the caller's order of sequences."""
        order = self.packed.unsorted_indices
        return state if order is None else state.index_select(1, order)

    def leave(self, outputs: Tensor) -> PackedSequence:
        """Return outputs (B, T, F) packed like the input."""
        data = pack_padded_sequence(outputs, self.lengths, batch_first=True).data
        return self._repack(data)

    def dropout_mask(self, x: Tensor, dropout: float) -> Tensor:
        """Return zeros and 1/(1-p), (B, T, F), drawn in torch's order: as the packed data lies."""
        ones = x.new_ones(self.packed.data.shape[0], x.shape[2])
        drawn = PackedSequence(functional.dropout(ones, dropout), self.packed.batch_sizes)
        return pad_packed_sequence(drawn, batch_first=True)[0]

    def _repack(self, data: Tensor) -> PackedSequence:
        packed = self.packed
        return PackedSequence(
            data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )


def open_padded(
    name: str, x: Tensor, lengths: Lengths | None, input_size: int, batch_first: bool
) -> Padded:
    """Check a tensor (and lengths) and return it as (B, T, I) with its mask."""
    batched_form = f"(B, T, {input_size})" if batch_first else f"(T, B, {input_size})"
    if x.dim() not in (2, 3):
        raise InputError(
            f"{name} expected input {batched_form}, or (T, {input_size}) for one sequence, "
            f"but got {tuple(x.shape)}."
        )
    if x.shape[-1] != input_size:
        raise InputError(
            f"{name} expected input {batched_form} but got {tuple(x.shape)}. Its last axis holds "
            f"the features: build the layer with input_size={x.shape[-1]}, or bring {input_size}."
        )
    batched = x.dim() == 3
    if not batched:
        x = x.unsqueeze(0)
    elif not batch_first:
        x = x.transpose(0, 1)
    if x.shape[1] == 0:
        raise InputError(
            f"{name} expected at least one time step but got input with T=0. "
            "Leave empty sequences out of the batch."
        )
    if lengths is None:
        return Padded(x, None, batch_first, batched)
    if not batched:
        raise InputError(
            f"{name} takes lengths= with a batch {batched_form} only. "
            "One sequence has no padding: cut it, x[:length]."
        )
    return Padded(x, length_mask(name, lengths, x), batch_first, batched)


def open_packed(
    name: str, packed: PackedSequence, lengths: Lengths | None, input_size: int
) -> Packed:
    """Check a PackedSequence and return it padded to (B, T, I) with its mask."""
    if lengths is not None:
        raise InputError(
            f"{name} got lengths= together with a PackedSequence, which has its own. "
            "Give the padded tensor and lengths=, or the packed sequence alone."
        )
    if packed.data.dim() != 2 or packed.data.shape[-1] != input_size:
        raise InputError(
            f"{name} expected packed data (steps, {input_size}) but got {tuple(packed.data.shape)}."
        )
    in_order = PackedSequence(packed.data, packed.batch_sizes)
    x, lengths_sorted = pad_packed_sequence(in_order, batch_first=True)
    full = int(lengths_sorted[-1]) == x.shape[1]
    mask = None if full else _mask(lengths_sorted.to(x.device), x.shape[1])
    return Packed(x, mask, lengths_sorted, packed)


def length_mask(name: str, lengths: Lengths, x: Tensor) -> Tensor | None:
    """Return the mask (B, T) of ``lengths`` on x's device, or None where every step is real.

    The values are checked in eager mode; under compile, export and vmap they cannot be.
    """
    batch, steps = x.shape[0], x.shape[1]
    lengths = torch.as_tensor(lengths)
    if lengths.shape != (batch,) or lengths.dtype == torch.bool or lengths.is_floating_point():
        raise InputError(
            f"{name} expected lengths ({batch},) of whole numbers, one a sequence, but got "
            f"{tuple(lengths.shape)} of {lengths.dtype}."
        )
    if not (torch.compiler.is_compiling() or _is_transformed(lengths)):
        values = lengths.tolist()
        _check_lengths(name, values, steps)
        if all(length == steps for length in values):
            return None
    return _mask(lengths.to(x.device), steps)


def _check_lengths(name: str, lengths: list[int], steps: int) -> None:
    for position, length in enumerate(lengths):
        if length < 1:
            cure = "Leave empty sequences out of the batch."
        elif length > steps:
            cure = "Does batch_first say where the time axis is?"
        else:
            continue
        raise InputError(
            f"{name} expected lengths from 1 to T={steps} but got {length} at sequence {position}. "
            + cure
        )


def _mask(lengths: Tensor, steps: int) -> Tensor:
    return torch.arange(steps, device=lengths.device) < lengths.unsqueeze(-1)


def _is_transformed(tensor: Tensor) -> bool:
    """Whether torch.func is at work on a tensor, whose values then cannot be looked at."""
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return functorch.is_functorch_wrapped_tensor(tensor)
