"""The native CPU kernels: checks and memory here, arithmetic in ``native/``.

The four functions :func:`forward`, :func:`backward_scan`, :func:`weight_gradient` and
:func:`input_gradient` are the kernel protocol; ``kernels/reference.py`` has the same four. Tensors
travel to the compiled module as addresses, so everything it relies on is settled here first:
one device and scalar type, shapes, and contiguous memory where ``native/kernels.h`` asks for it.

Memory: glibc gives large blocks back to the system when they are freed, and a training step that
takes them anew spends up to half of its time in page faults. So the first call that trains asks
glibc, for the whole process, to keep what is freed (up to 1 GiB). ``GATEWISE_KEEP_MEMORY=0`` in the
environment leaves glibc as it is; nothing is done with other C libraries.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from time import perf_counter
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.activations import KERNEL_NAMES
from gatewise.cells import GATES, NO_NOISE, Noise, Specification, Weights, units_of
from gatewise.cells.rows import gradient_row, saved_row
from gatewise.errors import InputError, UnsupportedError

DTYPES = (torch.float32, torch.float64)

_CURE = (
    "The equations run instead, more slowly. Cure: install a C++20 compiler, then "
    "`pip install --no-cache-dir --force-reinstall --no-deps gatewise` (or its source's path); "
    "with GATEWISE_REQUIRE_NATIVE=1 in the environment a compile error stops that and is shown."
)


def _load() -> tuple[ModuleType | None, str]:
    """Import the compiled module: it, or the reason why there is none."""
    try:
        return import_module("gatewise._native"), ""
    except ImportError as error:
        return None, f"The native CPU kernels are not installed ({error}). {_CURE}"


def _choose_isa() -> str:
    if _native is None:
        return ""
    try:
        return _native.isa()
    except ValueError as error:
        raise InputError(str(error)) from None


def _choose_memory() -> bool:
    given = os.environ.get("GATEWISE_KEEP_MEMORY", "")
    if given not in ("", "0", "1"):
        raise InputError(
            f"GATEWISE_KEEP_MEMORY is {given!r}, which is neither 0 nor 1. Set it to 0 to leave "
            "the C library's memory settings alone; unset it, or set it to 1, to have freed memory "
            "kept once training begins."
        )
    return given != "0"


# Settled at import: torch.compile traces the choice of a kernel, and cannot trace an import.
_native, _reason = _load()
_isa = _choose_isa()
_may_keep_memory = _choose_memory()


def available() -> bool:
    """Whether the native kernels were compiled and can be loaded."""
    return _native is not None


def unavailable_reason() -> str:
    """Return why the native kernels are missing and the cure; empty where they are there."""
    return _reason


def isa() -> str:
    """Return the instruction set in use, such as "avx512"; empty without kernels."""
    return _isa


def multiplies_bfloat16() -> bool:
    """Return whether the instruction set in use has a multiply-add of bfloat16.

    Where it has none, two float32 multiply-adds give the same bits in the time of float32.
    """
    return _isa == "avx512_bf16"


def available_isas() -> list[str]:
    """Return what was compiled and this processor can run, slowest first."""
    return [] if _native is None else _native.available_isas()


def supports(specification: Specification, dtype: torch.dtype) -> str | None:
    """Return None where the kernels can compute this cell, else the reason why not."""
    if not available():
        return unavailable_reason()
    if dtype not in DTYPES:
        return f"the native kernels compute in float32 and float64, not {dtype}"
    if specification.precision == "bfloat16" and dtype != torch.float32:
        return f"the native kernels sum bfloat16 products in float32, not in {dtype}"
    if specification.precision == "bfloat16" and specification.projection:
        return "the native kernels project h in float32 and float64, not with bfloat16 products"
    if specification.precision == "bfloat16" and specification.layer_norm:
        return "the native kernels normalize sums in float32 and float64, not of bfloat16 products"
    if not specification.fusable:
        return f"the native kernels know the activations {', '.join(sorted(KERNEL_NAMES))} alone"
    if specification.layer_norm and "c" not in specification.states:
        return "the native kernels normalize the sums of an LSTM alone"
    return None


@cache
def keep_freed_memory() -> bool:
    """Keep what this process frees, unless ``GATEWISE_KEEP_MEMORY=0``; return whether it is kept.

    The first training call of :func:`forward` does this; it cannot be undone.
    """
    return _may_keep_memory and _native is not None and _native.keep_freed_memory()


def forward(
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    needs_backward: bool,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Return the outputs (B, T, H), the final state, the activated gates and what else is saved.

    Without ``needs_backward`` nothing is saved and the last two are empty.
    """
    call = _Call(x, weights, specification)
    if needs_backward:
        keep_freed_memory()
    batch, time = call.batch, call.time
    x = _rows_contiguous(x)
    states = call.states(state)
    mask = call.mask(mask)
    dropout = call.optional(noise.recurrent_dropout, (batch, call.hidden), "recurrent_dropout")
    bias = call.bias()

    outputs = x.new_empty(batch, time, call.hidden)
    final_state = [torch.empty_like(part) for part in states]
    gates = x.new_empty((batch, time, call.columns) if needs_backward else 0)
    saved = x.new_empty((batch, time, call.saved_width) if needs_backward and call.saves else 0)
    call.module.forward(
        call.is_double, call.layer, _matrix(x), _matrix(weights[0]), _matrix(weights[1]),
        _address(bias), _pair(states), _address(mask), _address(dropout),
        outputs.data_ptr(), _pair(final_state), gates.data_ptr(), saved.data_ptr(),
        call.options(weights, noise),
    )  # fmt: skip
    return outputs, final_state, gates, saved


def backward_scan(
    grad_outputs: Tensor | None,
    grad_final_state: Sequence[Tensor | None],
    outputs: Tensor,
    gates: Tensor,
    saved: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    scale: Tensor | None,
    path: str,
    norms: bool,
    grad_product: Tensor | None = None,
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Return rows of cotangents (B, T, R), dL/d(initial state) and, when asked for, the norms.

    The rows begin with dL/dP (see :mod:`gatewise.cells.rows`); the norms are (B, T, S).
    ``scale`` (T,) multiplies what step t hands to the step before it; ``path``, the cotangent's way
    through U, is "full", "diagonal" or "cell". The rows are written to ``grad_product`` if that is
    given, which is contiguous.
    """
    call = _Call(outputs, weights, specification, inputs=weights[0].shape[0])
    batch, time = call.batch, call.time
    outputs, gates, saved = outputs.contiguous(), gates.contiguous(), saved.contiguous()
    call.check(gates, (batch, time, call.columns), "gates")
    if call.saves:
        call.check(saved, (batch, time, call.saved_width), "saved")
    grad_outputs = call.optional(grad_outputs, (batch, time, call.hidden), "grad_outputs")
    grad_final = [
        call.optional(grad, (batch, width), "grad_final_state")
        for grad, width in zip(grad_final_state, call.widths, strict=True)
    ]
    states = call.states(state)
    mask = call.mask(mask)
    dropout = call.optional(noise.recurrent_dropout, (batch, call.hidden), "recurrent_dropout")
    scale = call.optional(scale, (time,), "scale")

    shape = (batch, time, call.gradient_width)
    if grad_product is None:
        grad_product = gates.new_empty(shape)
    call.check(grad_product, shape, "grad_product")
    assert grad_product.is_contiguous()
    grad_state = [torch.empty_like(part) for part in states]
    measured = outputs.new_empty((batch, time, len(states)) if norms else 0)
    call.module.backward_scan(
        call.is_double, call.layer, _address(grad_outputs), _pair(grad_final),
        outputs.data_ptr(), gates.data_ptr(), saved.data_ptr(), _matrix(weights[1]),
        _pair(states), _address(mask),
        _address(dropout), _address(scale), path,
        grad_product.data_ptr(), _pair(grad_state), measured.data_ptr(),
        call.options(weights, noise),
    )  # fmt: skip
    return grad_product, grad_state, measured


def weight_gradient(
    x: Tensor,
    outputs: Tensor,
    gates: Tensor,
    saved: Tensor,
    dP: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    reduce: str,
) -> list[Tensor]:
    """Return the gradient of each weight: summed, or apart for each sample or time step."""
    call = _Call(x, weights, specification)
    batch, time = call.batch, call.time
    x = _rows_contiguous(x)
    outputs, gates, saved, dP = (part.contiguous() for part in (outputs, gates, saved, dP))
    call.check(outputs, (batch, time, call.hidden), "outputs")
    if specification.weights_need_gates:
        call.check(gates, (batch, time, call.columns), "gates")
    if specification.weights_need_memory:
        call.check(saved, (batch, time, call.saved_width), "saved")
    call.check(dP, (batch, time, call.gradient_width), "dP")
    states = call.states(state)
    mask = call.mask(mask)
    dropout = call.optional(noise.recurrent_dropout, (batch, call.hidden), "recurrent_dropout")

    leading = {"all": (), "sample": (batch,), "step": (time,)}[reduce]
    gradients = [x.new_empty(leading + weight.shape) for weight in weights]
    grads = Weights.of(gradients, specification)
    memory = _pair(states)[1]
    call.module.weight_gradient(
        call.is_double, call.layer, reduce, _matrix(x), outputs.data_ptr(), gates.data_ptr(),
        saved.data_ptr(), dP.data_ptr(), states[0].data_ptr(), _address(mask), _address(dropout),
        grads.W.data_ptr(), grads.U.data_ptr(), _address(grads.bias), memory,
        _address(grads.peephole), _address(grads.projection), _norms(grads),
        call.options(weights, noise),
    )  # fmt: skip
    return gradients


def input_gradient(dP: Tensor, weights: Sequence[Tensor], specification: Specification) -> Tensor:
    """Return dL/dx = dP Wᵀ, (B, T, I)."""
    call = _Call(dP, weights, specification, inputs=weights[0].shape[0])
    dP = dP.contiguous()
    call.check(dP, (call.batch, call.time, call.gradient_width), "dP")
    grad_x = dP.new_empty(call.batch, call.time, call.inputs)
    call.module.input_gradient(
        call.is_double, call.layer, dP.data_ptr(), _matrix(weights[0]), grad_x.data_ptr()
    )
    return grad_x


def peak(dtype: torch.dtype = torch.float32, precision: str = "float32") -> float:
    """Measure the multiply-adds a second that all of torch's threads can do: the kernels' limit."""
    assert _native is not None, _reason
    arguments = (dtype == torch.float64, precision, torch.get_num_threads(), 1_000_000)
    rates = []
    for _ in range(5):
        began = perf_counter()
        rates.append(_native.multiply_adds(*arguments) / (perf_counter() - began))
    return max(rates)


class Stream:
    """A cell that is fed one time step at a time: weights packed once, and its ``state``.

    The state is h (B, P) and an LSTM's c (B, H). The weights are copied. ``noise`` is that of each
    step, its masks (B, 1, H). Changing the state in place changes where the next step begins. Not
    for several threads at once.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        batch: int,
        specification: Specification,
        noise: Noise = NO_NOISE,
    ) -> None:
        step = weights[0].new_empty(batch, 1, weights[0].shape[0])
        call = _Call(step, weights, specification)
        bias = call.bias()
        options = call.options([weight.clone() for weight in weights], noise)
        self._held = call.held  # what the options point into
        self.state = tuple(weights[0].new_zeros(batch, width) for width in call.widths)
        self._native = call.module.Stream(
            call.is_double, call.layer, _matrix(weights[0]), _matrix(weights[1]), _address(bias),
            _pair(self.state), options,
        )  # fmt: skip
        # Takes the addresses of x (B, I), of a mask (B,) or 0, and of the outputs (B, P).
        self.step = self._native.step

    def advance(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return h (B, P) after a step of x (B, I), contiguous and of the weights' type."""
        outputs = torch.empty_like(self.state[0])
        self.step(x.data_ptr(), _address(mask), outputs.data_ptr())
        return outputs


def random_mask(shape: Sequence[int], key: int, below: int, like: Tensor) -> Tensor:
    """Return a mask that is 1 with the probability below / 2**32, else 0.

    ``key`` is a 32-bit number, ``below`` at least 1. The mask is that which ``layers.noise``
    computes from the same key, to the bit.
    """
    assert _native is not None
    mask = like.new_empty(tuple(shape))
    _native.random_mask(
        like.dtype == torch.float64, mask.data_ptr(), mask.numel(), key, below,
        torch.get_num_threads(),
    )  # fmt: skip
    return mask


class RmspropRates(NamedTuple):
    """The numbers of an RMSprop step, in the order in which the compiled module takes them."""

    learning_rate: float
    rho: float
    momentum: float
    epsilon: float


def serves_rmsprop(lists: Iterable[Sequence[Tensor]]) -> bool:
    """Return whether :func:`rmsprop` takes these: plain, contiguous, on the CPU, of one type."""
    if _native is None or torch.compiler.is_compiling():
        return False
    types = set()
    for tensors in lists:
        for tensor in tensors:
            if (
                type(tensor) not in (Tensor, torch.nn.Parameter)
                or tensor.device.type != "cpu"
                or not tensor.is_contiguous()
                or tensor.is_neg()
            ):
                return False
            types.add(tensor.dtype)
    return len(types) == 1 and types <= set(DTYPES)


def rmsprop(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    velocities: Sequence[Tensor],
    momentums: Sequence[Tensor] | None,
    averages: Sequence[Tensor] | None,
    rates: RmspropRates,
) -> None:
    """Take one RMSprop step in one pass, in place; for tensors that :func:`serves_rmsprop` takes.

    The bits do not depend on the number of threads or the instruction set. Denormal numbers are
    flushed to zero.
    """
    assert _native is not None
    nothing = [None] * len(parameters)
    tensors = []
    for parameter, *others in zip(
        parameters, gradients, velocities, momentums or nothing, averages or nothing, strict=True
    ):
        for other in others:
            if other is not None and other.shape != parameter.shape:
                raise InputError(
                    f"RMSprop expected a gradient and state of shape {tuple(parameter.shape)}, the "
                    f"weight's own, but got {tuple(other.shape)}."
                )
        addresses = (parameter.data_ptr(), *map(_address, others))
        tensors.append((*addresses, parameter.numel()))
    is_double = parameters[0].dtype == torch.float64
    _native.rmsprop(is_double, tensors, tuple(rates), torch.get_num_threads())
    # Written past torch, which must still refuse to go back through an older value.
    torch.autograd.graph.increment_version([*parameters])


class _Call:
    """The sizes of one call, and the checks that every array passes before its address is taken."""

    def __init__(
        self,
        sequence: Tensor,
        weights: Sequence[Tensor],
        specification: Specification,
        inputs: int | None = None,
    ) -> None:
        reason = supports(specification, sequence.dtype)
        if reason is not None:
            raise UnsupportedError(
                f"kernel 'cpu' cannot run this call: {reason}. Use kernel='reference'."
            )
        assert _native is not None
        self.module = _native
        self.dtype = sequence.dtype
        self.is_double = sequence.dtype == torch.float64
        self.batch, self.time = sequence.shape[:2]
        self.inputs = sequence.shape[2] if inputs is None else inputs
        self.weights = Weights.of(weights, specification)
        self.hidden = weights[1].shape[0]
        self.units = units_of(weights, specification) if specification.projection else self.hidden
        self.columns = len(GATES[specification.cell]) * self.units
        self.widths = (self.hidden, self.units)[: len(specification.states)]
        self.two_biases = specification.two_biases
        self.saves = specification.saves
        self.specification = specification
        self.held: tuple[Tensor | None, ...] = ()
        self.check(sequence, sequence.shape, "x")
        self.check_matrices(weights)
        cell = specification.cell
        if cell == "gru":
            cell = "gru_reset_after" if specification.reset_after else "gru_reset_before"
        self.layer = self.module.Layer(
            cell,
            specification.activation,
            specification.recurrent_activation,
            specification.reverse,
            (specification.projection, specification.layer_norm),
            (self.batch, self.time, self.inputs, self.units, self.hidden, torch.get_num_threads()),
            specification.precision,
        )

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
            _address(kept["peephole"]),
            specification.cell_clip or 0.0,
            *(_NOTHING if share is None else _matrix(share) for share in zones),
            _NOTHING if projection is None else _matrix(projection),
            _norms(named._replace(**kept)),
        )

    def _share(self, share: Tensor | None, width: int, what: str) -> Tensor | None:
        """Return the share of a state that stays, its last axis dense; the others are free."""
        if share is None:
            return None
        self.check(share, (self.batch, self.time, width), what)
        return _rows_contiguous(share)

    def check_matrices(self, weights: Sequence[Tensor]) -> None:
        self.check(weights[0], (self.inputs, self.columns), "W")
        self.check(weights[1], (self.hidden, self.columns), "U")

    def check(
        self, tensor: Tensor, shape: Sequence[int], what: str, dtype: torch.dtype | None = None
    ) -> None:
        dtype = self.dtype if dtype is None else dtype
        if tensor.shape != tuple(shape) or tensor.dtype != dtype or tensor.device.type != "cpu":
            raise InputError(
                f"kernel 'cpu' expected {what} of shape {tuple(shape)}, {dtype}, on the CPU, "
                f"but got {tuple(tensor.shape)}, {tensor.dtype}, on {tensor.device}."
            )

    def optional(self, tensor: Tensor | None, shape: Sequence[int], what: str) -> Tensor | None:
        if tensor is None:
            return None
        self.check(tensor, shape, what)
        return tensor.contiguous()

    def states(self, state: Sequence[Tensor]) -> list[Tensor]:
        if len(state) != len(self.widths):
            raise InputError(
                f"kernel 'cpu' expected {len(self.widths)} state tensors but got {len(state)}."
            )
        for tensor, width in zip(state, self.widths, strict=True):
            self.check(tensor, (self.batch, width), "state")
        return [tensor.contiguous() for tensor in state]

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


_NOTHING = (0, 0, 0)


@cache
def _no_options() -> Any:
    assert _native is not None
    return _native.Options(0, 0.0, _NOTHING, _NOTHING, _NOTHING, (0, 0, 0, 0))


def _rows_contiguous(x: Tensor) -> Tensor:
    """Return x with its last axis dense; the batch and time strides are free."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _norms(weights: Weights) -> tuple[int, ...]:
    """Return the addresses of the weights of layer normalization in the native order."""
    _, _, _, _, _, *norms = weights
    return tuple(_address(weight) for weight in norms)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _matrix(tensor: Tensor) -> tuple[int, int, int]:
    """Address and the first two strides: of a matrix, or of a sequence whose last axis is dense."""
    return tensor.data_ptr(), tensor.stride(0), tensor.stride(1)


def _pair(tensors: Sequence[Tensor | None]) -> tuple[int, int]:
    addresses = [_address(tensor) for tensor in tensors]
    return addresses[0], addresses[1] if len(addresses) > 1 else 0
