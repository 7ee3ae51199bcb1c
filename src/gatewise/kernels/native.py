"""The compiled module: whether it is there, what it can compute, and how fast.

Memory: glibc gives large blocks back to the system when they are freed, and a training step that
takes them anew spends up to half of its time in page faults. So the first call that trains asks
glibc, for the whole process, to keep what is freed (up to 1 GiB). ``GATEWISE_KEEP_MEMORY=0`` in the
environment leaves glibc as it is; nothing is done with other C libraries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from time import perf_counter
from types import ModuleType

import torch
from torch import Tensor

from gatewise.activations import KERNEL_NAMES
from gatewise.cells import Specification
from gatewise.errors import InputError

DTYPES = (torch.float32, torch.float64)
_PLAIN = (Tensor, torch.nn.Parameter)

_INSTALL = (
    "`pip install --no-cache-dir --force-reinstall --no-deps gatewise` (or its source's path)"
)
_SLOWER = "The equations run instead, more slowly."


def _load() -> tuple[ModuleType | None, str]:
    """Import the compiled module: it, or the reason why there is none."""
    try:
        return import_module("gatewise._native"), ""
    except ModuleNotFoundError as error:
        return None, (
            f"The native CPU kernels are not installed ({error}). {_SLOWER} Cure: install a C++20 "
            f"compiler, then {_INSTALL}; with GATEWISE_REQUIRE_NATIVE=1 in the environment a "
            "compile error stops that and is shown."
        )
    except ImportError as error:
        return None, (
            f"The native CPU kernels cannot be loaded ({error}). {_SLOWER} Cure: upgrade "
            f"what is too old, or compile them for what is here, {_INSTALL}."
        )


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
    if not specification.fusable:
        return f"the native kernels know the activations {', '.join(sorted(KERNEL_NAMES))} alone"
    return None


@cache
def keep_freed_memory() -> bool:
    """Keep what this process frees, unless ``GATEWISE_KEEP_MEMORY=0``; return whether it is kept.

    The first training call does this; it cannot be undone.
    """
    return _may_keep_memory and _native is not None and _native.keep_freed_memory()


def compiled() -> ModuleType:
    """Return the compiled module, which must be there."""
    assert _native is not None, _reason
    return _native


def peak(dtype: torch.dtype = torch.float32, precision: str = "float32") -> float:
    """Measure the multiply-adds a second that all of torch's threads can do: the kernels' limit."""
    module, is_double = compiled(), dtype == torch.float64
    return _rate(lambda threads: module.multiply_adds(is_double, precision, threads, 1_000_000))


def activation_peak(dtype: torch.dtype = torch.float32) -> float:
    """Measure the activations a second that all of torch's threads can do, tanh and sigmoid."""
    module, is_double = compiled(), dtype == torch.float64
    return _rate(lambda threads: module.activations(is_double, threads, 10_000))


def _rate(work: Callable[[int], float]) -> float:
    """Return how much torch's threads do in a second of what ``work(threads)`` counts."""
    rates = []
    for _ in range(5):
        began = perf_counter()
        rates.append(work(torch.get_num_threads()) / (perf_counter() - began))
    return max(rates)


def handover() -> float | None:
    """Measure the seconds that a line of memory takes to another of torch's threads and back.

    None where there is a single thread. Threads that share what they write wait so long for each
    other: some 0.1 microseconds where their processors share a cache, several times that where not.
    On a virtual machine it changes as the host moves its processors.
    """
    module = compiled()
    if torch.get_num_threads() < 2:
        return None
    return min(module.handover_seconds(2_000) for _ in range(5)) or None


def is_plain(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Return whether the numbers of this type stand in main memory one after the other."""
    return (
        type(tensor) in _PLAIN
        and tensor.dtype == dtype
        and tensor.is_cpu
        and tensor.is_contiguous()
        and not tensor.is_neg()
    )


def all_finite(tensors: Sequence[Tensor]) -> bool | None:
    """Return whether no number is NaN or infinite; None where the kernels cannot look.

    They look at plain, contiguous tensors of one type on the CPU.
    """
    if _native is None:
        return None
    dtype = tensors[0].dtype if tensors else torch.float32
    if dtype not in DTYPES or not all(is_plain(tensor, dtype) for tensor in tensors):
        return None
    arrays = [(tensor, tensor.numel()) for tensor in tensors]
    return _native.all_finite(dtype == torch.float64, arrays, torch.get_num_threads())


def random_mask(
    shape: Sequence[int], key: int, below: int, values: tuple[float, float], like: Tensor
) -> Tensor:
    """Return a mask that is ``values[0]`` with the probability below / 2**32, else ``values[1]``.

    ``key`` is a 32-bit number, ``below`` at least 1. The mask is that which ``layers.noise``
    computes from the same key, to the bit.
    """
    assert _native is not None
    mask = like.new_empty(tuple(shape))
    _native.random_mask(
        like.dtype == torch.float64, mask, mask.numel(), key, below, values, torch.get_num_threads()
    )
    return mask
