"""Which kernel runs, and why: decided from metadata alone, above the operator."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.cells import NO_NOISE, Noise, Specification, units_of
from gatewise.errors import FallbackWarning, UnsupportedError, unknown_name
from gatewise.kernels import cpu, cuda

KERNELS = ("reference", "cpu", "cuda", "cudnn")


def device_type(x: Tensor) -> str:
    """Return "cpu", "cuda" and so on: of the CPU without a look at the device, which takes longer.

    >>> device_type(torch.ones(1))
    'cpu'
    """
    return "cpu" if x.is_cpu else x.device.type


class Request(NamedTuple):
    """What a call asks for. ``kernel`` is "auto" or the name of one of KERNELS.

    ``units`` is H, 0 where it is not known, and ``batch`` B; both matter on a GPU alone.
    """

    specification: Specification
    device: str
    dtype: torch.dtype
    mask: bool = False
    recurrent_dropout: bool = False
    kernel: str = "auto"
    recompute: str | None = None
    zoneout: bool = False
    units: int = 0
    batch: int = 1

    @staticmethod
    def of(
        x: Tensor,
        weights: Sequence[Tensor],
        specification: Specification,
        mask: Tensor | None = None,
        noise: Noise = NO_NOISE,
        kernel: str = "auto",
        recompute: str | None = None,
    ) -> Request:
        """Return the request that a call with these tensors makes."""
        return Request(
            specification,
            device_type(x),
            weights[1].dtype,
            mask is not None,
            noise.recurrent_dropout is not None,
            kernel,
            recompute,
            noise.zones,
            units_of(weights, specification),
            x.shape[0],
        )


class Choice(NamedTuple):
    """The kernel that runs and the reason, in words."""

    kernel: str
    reason: str


def choose(request: Request) -> Choice:
    """Return the kernel for a request, with the reason.

    A kernel asked for by name either serves or raises ``UnsupportedError``; only "auto" falls back.

    >>> choose(Request(Specification("lstm", "elu"), "cpu", torch.float32)).kernel
    'reference'
    """
    if request.kernel == "auto":
        return _choose_automatically(request)
    if request.kernel not in KERNELS:
        raise unknown_name("kernel", request.kernel, ("auto", *KERNELS))
    refusals = {"cpu": _cpu_refusal, "cuda": _cuda_refusal, "cudnn": _cudnn_refusal}
    refusal = refusals[request.kernel](request) if request.kernel in refusals else None
    if refusal is not None:
        raise UnsupportedError(
            f"The kernel {request.kernel!r} was asked for but cannot serve: {refusal}. "
            "Use kernel 'auto', which falls back, or 'reference', which serves everything."
        )
    return Choice(request.kernel, "asked for by name")


def keeping_gates(
    kernel: str, specification: Specification, weights: Sequence[Tensor], device: str
) -> str:
    """Return the kernel that takes the place of ``kernel`` where the operator must run.

    Only cuDNN is no kernel of the operator's: it keeps its gates to itself.
    """
    if kernel != "cudnn":
        return kernel
    units = units_of(weights, specification)
    request = Request(specification, device, weights[1].dtype, kernel="cuda", units=units)
    return "reference" if _cuda_refusal(request) else "cuda"


def _choose_automatically(request: Request) -> Choice:
    refusal = _cpu_refusal(request)
    if refusal is None:
        return Choice("cpu", f"native, {cpu.isa()}{_products(request.specification)}")
    unusual = _unusual_activation(request.specification)
    if unusual is not None:
        return Choice("reference", unusual)
    if request.device == "cuda":
        return _choose_on_gpu(request)
    if request.device != "cpu":
        return Choice("reference", f"no fused kernel for the device {request.device!r}")
    if not cpu.available():
        _warn_once(cpu.unavailable_reason())
    return Choice("reference", refusal)


def _choose_on_gpu(request: Request) -> Choice:
    not_ours, not_cudnn = _cuda_refusal(request), _cudnn_refusal(request)
    if not_ours is None and not_cudnn is not None:
        return Choice("cuda", f"our own; not cuDNN: {not_cudnn}")
    if not_ours is None and cuda.worthwhile(request.specification, request.units, request.batch):
        return Choice("cuda", "our own: a cluster of blocks holds U for the whole sequence")
    if not_cudnn is None:
        return Choice("cudnn", "cuDNN computes exactly this equation")
    return Choice("reference", f"not cuDNN: {not_cudnn}; {not_ours}")


def _products(specification: Specification) -> str:
    if specification.precision == "float32":
        return ""
    if cpu.multiplies_bfloat16():
        return "; products in bfloat16"
    return "; products in bfloat16 by float32 instructions, with the same bits but no faster"


def _cpu_refusal(request: Request) -> str | None:
    """Return why the native CPU kernel cannot serve, or None."""
    if request.device != "cpu":
        return f"the tensors are on {request.device!r}"
    unusual = _unusual_activation(request.specification)
    if unusual is not None:
        return unusual
    if not cpu.available():
        return "the native kernels are not installed"
    return cpu.supports(request.specification, request.dtype)


def _cuda_refusal(request: Request) -> str | None:
    """Return why the GPU kernels cannot serve, or None."""
    if request.device != "cuda":
        return f"the tensors are on {request.device!r}"
    unusual = _unusual_activation(request.specification)
    return unusual or cuda.refusal(request.specification, request.dtype, request.units)


def _cudnn_refusal(request: Request) -> str | None:
    """Return why cuDNN does not compute exactly this equation, or None."""
    specification = request.specification
    if request.device != "cuda":
        return f"the tensors are on {request.device!r}"
    if specification.precision != "float32":
        return "cuDNN does not round the products' operands alone"
    if request.mask:
        return "cuDNN has no masks with holes"
    if request.recurrent_dropout:
        return "cuDNN has no recurrent dropout"
    if request.zoneout:
        return "cuDNN has no zoneout"
    if request.recompute is not None:
        return "cuDNN keeps its gates"
    if specification.cell == "cifg":
        return "cuDNN has no coupled gates"
    if specification.peephole:
        return "cuDNN has no peepholes"
    if specification.cell_clip is not None:
        return "cuDNN clips c to other gradients"
    if specification.projection:
        return "cuDNN's projection is not wired up"
    if specification.layer_norm:
        return "cuDNN has no layer normalization"
    if specification.cell == "gru" and not specification.reset_after:
        return "cuDNN's GRU resets after the product"
    if specification.cell == "simple_rnn":
        allowed = ("tanh", "relu")
        return (
            None if specification.activation in allowed else "cuDNN's RNN has tanh and relu alone"
        )
    if (specification.activation, specification.recurrent_activation) != ("tanh", "sigmoid"):
        return "cuDNN has tanh and sigmoid alone"
    return None


def _unusual_activation(specification: Specification) -> str | None:
    if specification.fusable:
        return None
    names = (specification.activation, specification.recurrent_activation)
    words = " and ".join(getattr(name, "__name__", str(name)) for name in names)
    return f"activations {words}: not both in the fused kernels, so the equation runs"


_warned: set[str] = set()


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, FallbackWarning, stacklevel=2)
