"""The kernels as code: compiled for one layout, by the compiler that torch brings along.

NVRTC compiles at run time, for the very GPU and the very sizes; nothing is built beforehand, and no
toolkit has to be installed. A kernel is compiled once a process.
"""

from __future__ import annotations

import ctypes
import importlib
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import torch

from gatewise.cells import Specification
from gatewise.errors import GatewiseError
from gatewise.kernels.cuda.constant import constant_when_compiled
from gatewise.kernels.cuda.layout import WARPS, Layout

_CELLS = {"lstm": "Lstm", "cifg": "Cifg", "gru": "Gru", "simple_rnn": "SimpleRnn"}
_ELEMENTS = {"float32": "Float32", "bfloat16": "Bfloat16"}
_ACTIVATIONS = {
    "linear": "Linear",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "hard_sigmoid": "HardSigmoid",
    "softsign": "Softsign",
}


@constant_when_compiled
def missing() -> str | None:
    """Return what the kernels need and do not find, or None."""
    return _missing()


@cache
def _missing() -> str | None:
    for name in ("cuda.bindings.driver", "cuda.bindings.nvrtc"):
        try:
            importlib.import_module(name)
        except ImportError as problem:
            return f"cuda-bindings cannot be imported ({problem}); torch's CUDA builds bring it"
    return None


def compile_kernel(
    direction: str, specification: Specification, layout: Layout, architecture: str
) -> bytes:
    """Return the machine code of "forward" or "backward", for an architecture such as "sm_90"."""
    nvrtc = importlib.import_module("cuda.bindings.nvrtc")
    sources = _sources()
    headers = {name: text for name, text in sources.items() if name.endswith(".cuh")}
    program = _checked(
        nvrtc.nvrtcCreateProgram(
            sources[f"{direction}.cu"], f"{direction}.cu".encode(), len(headers),
            list(headers.values()), [name.encode() for name in headers],
        )
    )  # fmt: skip
    defines = {
        "CELL": _CELLS[specification.cell],
        "ACTIVATION": _ACTIVATIONS[str(specification.activation)],
        "RECURRENT_ACTIVATION": _ACTIVATIONS[str(specification.recurrent_activation)],
        "ELEMENT": _ELEMENTS[specification.precision],
        "WARPS": WARPS,
        **{
            name.upper(): getattr(layout, name)
            for name in (
                "hidden", "blocks", "units", "rows", "tiles", "tile_groups", "steps",
                "in_registers", "in_shared",
            )
        },
    }  # fmt: skip
    options = [f"-DGATEWISE_{name}={value}" for name, value in defines.items()]
    options += [f"--gpu-architecture={architecture}", "--std=c++17"]
    (status,) = nvrtc.nvrtcCompileProgram(
        program, len(options), [option.encode() for option in options]
    )
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
        _checked(nvrtc.nvrtcGetProgramLog(program, log))
        raise GatewiseError(
            f"The GPU kernel {direction!r} does not compile for {architecture}: "
            f"{log.decode(errors='replace').strip()} Use kernel='reference' and report this."
        )
    code = bytearray(_checked(nvrtc.nvrtcGetCUBINSize(program)))
    _checked(nvrtc.nvrtcGetCUBIN(program, code))
    _checked(nvrtc.nvrtcDestroyProgram(program))
    return bytes(code)


class Kernel:
    """A compiled kernel, ready on one GPU."""

    def __init__(self, code: bytes, name: str, shared_bytes: int) -> None:
        self._driver = importlib.import_module("cuda.bindings.driver")
        self._code = code  # the module refers to it
        module = _checked(self._driver.cuModuleLoadData(code))
        self._function = _checked(self._driver.cuModuleGetFunction(module, name.encode()))
        attributes = self._driver.CUfunction_attribute
        for attribute, value in (
            (attributes.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes),
            (attributes.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1),
        ):
            _checked(self._driver.cuFuncSetAttribute(self._function, attribute, value))
        self._shared_bytes = shared_bytes

    def launch(self, blocks: int, argument: ctypes.Structure) -> None:
        """Put the kernel, with its one argument, on torch's current stream."""
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(argument))
        _checked(
            self._driver.cuLaunchKernel(
                self._function, blocks, 1, 1, WARPS * 32, 1, 1, self._shared_bytes,
                torch.cuda.current_stream().cuda_stream, ctypes.addressof(arguments), 0,
            )
        )  # fmt: skip


@lru_cache(maxsize=256)
def kernel(direction: str, specification: Specification, layout: Layout, device: int) -> Kernel:
    """Return the kernel for a layout on a GPU, compiled when it is first asked for."""
    major, minor = torch.cuda.get_device_capability(device)
    code = compile_kernel(direction, specification, layout, f"sm_{major}{minor}")
    return Kernel(code, direction, layout.shared_bytes)


@cache
def _sources() -> dict[str, bytes]:
    folder = files("gatewise.kernels.cuda").joinpath("source")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def _checked(result: tuple[Any, ...]) -> Any:
    """Return what a call of the driver or the compiler gave, or raise what it says."""
    status, *values = result
    if int(status) != 0:
        raise GatewiseError(
            f"The CUDA driver answered {status.name}. If memory is short, take a smaller batch; "
            "kernel='reference' runs without this kernel."
        )
    return values[0] if values else None
