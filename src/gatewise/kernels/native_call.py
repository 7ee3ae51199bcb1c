"""One call of the compiled module: every check that an array passes before its address is taken."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import Noise, Specification, Weights, units_of
from gatewise.cells.rows import gradient_row, saved_row
from gatewise.errors import InputError, UnsupportedError
from gatewise.kernels.native import compiled, supports


class NativeCall:
    """The sizes of one call, and the checks that every array passes before its address is taken."""

    def __init__(
        self,
        sequence: Tensor,
        weights: Sequence[Tensor],
        specification: Specification,
        inputs: int | None = None,
    ) -> None:
        self.dtype = sequence.dtype
        reason = supports(specification, self.dtype)
        if reason is not None:
            raise UnsupportedError(
                f"kernel 'cpu' cannot run this call: {reason}. Use kernel='reference'."
            )
        self.module = compiled()
        self.is_double = self.dtype == torch.float64
        self.batch, self.time, width = sequence.shape
        self.inputs = width if inputs is None else inputs
        self.weights = Weights.of(weights, specification)
        self.hidden = weights[1].shape[0]
        self.units = units_of(weights, specification) if specification.projection else self.hidden
        self.specification = specification
        self.two_biases = specification.two_biases
        self.saves = specification.saves
        self.columns = len(specification.gates) * self.units
        self.widths = (self.hidden, self.units)[: len(specification.states)]
        self.held: tuple[Tensor | None, ...] = ()
        self.check(sequence, sequence.shape, "x")
        self.check_matrices(weights)
        sizes = (self.batch, self.time, self.inputs, self.units, self.hidden)
        self.layer = _layer(specification, *sizes, torch.get_num_threads())

    @property
    def saved_width(self) -> int:
        """The numbers of a row of ``saved``."""
        return saved_row(self.specification, self.units).width

    @property
    def gradient_width(self) -> int:
        """The numbers of a row of ``grad_product``."""
        return gradient_row(self.specification, self.units, self.hidden).width

    def options(self, weights: Sequence[Tensor], noise: Noise) -> Any:
        """Return what the cell does beside its equation; ``held`` keeps the memory behind it."""
        specification = self.specification
        if not (noise.zones or specification.extra_weights or specification.cell_clip):
            return _no_options()
        named = Weights.of(weights, specification)
        zones = [
            self._share(noise.zoneout_h, self.hidden, "zoneout_h"),
            self._share(noise.zoneout_c, self.units, "zoneout_c"),
        ]
        if zones[1] is not None and len(self.widths) == 1:
            raise InputError(
                f"zoneout_c is about the memory c, and a {specification.cell} has none."
            )
        shapes = {
            "peephole": (len(specification.peepholes), self.units),
            "projection": (self.units, self.hidden),
            "input_gain": (self.columns,),
            "recurrent_gain": (self.columns,),
            "cell_gain": (self.units,),
            "cell_bias": (self.units,),
        }
        kept = {
            name: self.optional(getattr(named, name), shape, name) for name, shape in shapes.items()
        }
        self.held = (*kept.values(), *zones)
        projection = kept["projection"]
        return self.module.Options(
            address(kept["peephole"]),
            specification.cell_clip or 0.0,
            *(_NOTHING if share is None else matrix(share) for share in zones),
            _NOTHING if projection is None else matrix(projection),
            norms(named._replace(**kept)),
        )

    def _share(self, share: Tensor | None, width: int, what: str) -> Tensor | None:
        """Return the share of a state that stays, its last axis dense; the others are free."""
        if share is None:
            return None
        self.check(share, (self.batch, self.time, width), what)
        return rows_contiguous(share)

    def check_matrices(self, weights: Sequence[Tensor]) -> None:
        self.check(weights[0], (self.inputs, self.columns), "W")
        self.check(weights[1], (self.hidden, self.columns), "U")

    def check(
        self, tensor: Tensor, shape: tuple[int, ...], what: str, dtype: torch.dtype | None = None
    ) -> None:
        dtype = self.dtype if dtype is None else dtype
        if tensor.shape != shape or tensor.dtype != dtype or not tensor.is_cpu:
            raise InputError(
                f"kernel 'cpu' expected {what} of shape {tuple(shape)}, {dtype}, on the CPU, "
                f"but got {tuple(tensor.shape)}, {tensor.dtype}, on {tensor.device}."
            )

    def dense(self, tensor: Tensor, shape: tuple[int, ...], what: str) -> Tensor:
        """Return the tensor, of this shape, in contiguous memory."""
        self.check(tensor, shape, what)
        return tensor if tensor.is_contiguous() else tensor.contiguous()

    def optional(self, tensor: Tensor | None, shape: tuple[int, ...], what: str) -> Tensor | None:
        return None if tensor is None else self.dense(tensor, shape, what)

    def dropout(self, noise: Noise) -> Tensor | None:
        """Return what multiplies h in the recurrent product, in each row of the batch."""
        shape = (self.batch, self.hidden)
        return self.optional(noise.recurrent_dropout, shape, "recurrent_dropout")

    def states(self, state: Sequence[Tensor]) -> list[Tensor]:
        if len(state) != len(self.widths):
            raise InputError(
                f"kernel 'cpu' expected {len(self.widths)} state tensors but got {len(state)}."
            )
        return [
            self.dense(tensor, (self.batch, width), "state")
            for tensor, width in zip(state, self.widths, strict=True)
        ]

    def mask(self, mask: Tensor | None) -> Tensor | None:
        if mask is None:
            return None
        if mask.shape != (self.batch, self.time) or mask.dtype != torch.bool:
            raise InputError(
                f"kernel 'cpu' expected a bool mask of shape {(self.batch, self.time)} but got "
                f"{tuple(mask.shape)}, {mask.dtype}."
            )
        return mask.contiguous()

    def bias(self) -> Tensor | None:
        shape = (2, self.columns) if self.two_biases else (self.columns,)
        return self.optional(self.weights.bias, shape, "b")


@lru_cache(maxsize=256)
def _layer(
    specification: Specification,
    batch: int,
    time: int,
    inputs: int,
    units: int,
    hidden: int,
    threads: int,
) -> Any:
    """Return what the kernels must know about a layer and the machine."""
    cell = specification.cell
    if cell == "gru":
        cell = "gru_reset_after" if specification.reset_after else "gru_reset_before"
    return compiled().Layer(
        cell,
        specification.activation,
        specification.recurrent_activation,
        specification.reverse,
        (specification.projection, specification.layer_norm),
        (batch, time, inputs, units, hidden, threads),
        specification.precision,
    )


_NOTHING = (0, 0, 0)


@cache
def _no_options() -> Any:
    return compiled().Options(0, 0.0, _NOTHING, _NOTHING, _NOTHING, (0, 0, 0, 0))


@atexit.register
def _forget() -> None:
    """Let go of the module's objects while it is there: what outlives it is reported as a leak.

    Python empties this module first, unless something of torch's (its compiler, say) holds it.
    """
    _layer.cache_clear()
    _no_options.cache_clear()


def rows_contiguous(x: Tensor) -> Tensor:
    """Return x with its last axis dense; the batch and time strides are free."""
    return x if x.stride(-1) == 1 else x.contiguous()


def norms(weights: Weights) -> tuple[int, ...]:
    """Return the addresses of the weights of layer normalization in the native order."""
    _, _, _, _, _, *norms = weights
    return tuple(address(weight) for weight in norms)


def address(tensor: Tensor | None) -> int:
    """Return where a tensor begins; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()


def matrix(tensor: Tensor) -> tuple[int, int, int]:
    """Address and the first two strides: of a matrix, or of a sequence whose last axis is dense."""
    return tensor.data_ptr(), tensor.stride(0), tensor.stride(1)


def pair(tensors: Sequence[Tensor | None]) -> tuple[int, int]:
    """Return the addresses of one or two tensors; 0 for none."""
    addresses = [address(tensor) for tensor in tensors]
    return addresses[0], addresses[1] if len(addresses) > 1 else 0
