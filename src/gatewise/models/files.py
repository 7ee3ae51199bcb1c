"""A safetensors file with a description in its header: written whole or not at all, read with care.

The format is <https://github.com/huggingface/safetensors>: eight bytes of header length, a JSON
header with the name, type, shape and place of every tensor, then the tensors. Our description is
one string in the header's metadata. Nothing in a file is ever executed.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gatewise.errors import InputError, ModelFileError

FORMAT_VERSION = 1

_KEY = "gatewise"
_OTHER_FORMATS = {".keras", ".h5", ".hdf5", ".pt", ".pth", ".onnx", ".pkl", ".npz"}
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
    "BOOL": torch.bool,
}
_BEGINNINGS = {
    b"PK\x03\x04": "a zip archive, as Keras's .keras and torch.save write",
    b"\x89HDF": "an HDF5 file, as Keras's .h5",
    b"\x80\x02": "a pickle, which can run code and is never read",
}


@dataclass(frozen=True)
class Stored:
    """What the header says of one tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None


def write(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    description: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Write tensors and description, so that a crash at any time leaves the old file whole."""
    target = Path(os.path.realpath(path))
    if target.suffix.lower() in _OTHER_FORMATS:
        raise InputError(
            f"{target.name} names another format. gatewise writes safetensors files: "
            f"{target.with_suffix('.safetensors').name}."
        )
    if not overwrite and target.exists():
        raise InputError(f"{target} exists. Pass overwrite=True or another name.")
    text = json.dumps({"format_version": FORMAT_VERSION, **description}, allow_nan=False)
    contents = save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
        metadata={_KEY: text},
    )
    _replace(target, contents)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Reader]:
    """Open a safetensors file; whatever is wrong with it becomes a `ModelFileError`."""
    if os.path.isdir(path):
        raise ModelFileError(f"{path} is a folder, not a model file.")
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            yield Reader(Path(path), file)
    except SafetensorError as error:
        raise ModelFileError(
            f"{path} is not a whole model file: {_diagnosis(path, error)}"
        ) from error


class Reader:
    """An open file: its description, what tensors it holds, and the tensors."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self._file = file
        slices = ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118
        self.stored = {
            name: Stored(tuple(part.get_shape()), _DTYPES.get(part.get_dtype()))
            for name, part in slices
        }

    def description(self) -> dict[str, Any]:
        """Return our description, or raise `ModelFileError` if it is missing, broken or newer."""
        text = (self._file.metadata() or {}).get(_KEY)
        if text is None:
            raise ModelFileError(
                f"{self.path} is a safetensors file, but not one of gatewise: it holds tensors "
                "and no model. Build the model and call model.load_weights(path), if the names fit."
            )
        try:
            found = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"{self.path} holds a broken description: {error}.") from error
        version = found.get("format_version") if isinstance(found, dict) else None
        if type(version) is not int or version < 1:
            raise ModelFileError(f"{self.path} does not say which version of the format it has.")
        if version > FORMAT_VERSION:
            raise ModelFileError(
                f"{self.path} has format version {version}, but this gatewise reads versions up "
                f"to {FORMAT_VERSION}. Update gatewise."
            )
        return found

    def tensor(self, name: str) -> Tensor:
        """Return one tensor, in memory of its own."""
        return self._file.get_tensor(name).clone()


def _replace(target: Path, contents: bytes) -> None:
    """Put the contents where the target stands, in one step."""
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with open(beside, "xb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        # The new name itself must reach the disk, too.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _diagnosis(path: str | os.PathLike[str], error: Exception) -> str:
    """Return what the file seems to be."""
    with open(path, "rb") as file:
        beginning = file.read(4)
    for known, meaning in _BEGINNINGS.items():
        if beginning.startswith(known):
            return f"it looks like {meaning}."
    return f"it is damaged, cut short, or of another format ({error})."


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")
