"""What comes from outside as arrays, lists or tensors: real numbers alone are accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from gatewise.errors import InputError


def numbers(value: Any, name: str, ragged: str) -> np.ndarray:
    """Return an array, or lists in lists, as an array of real numbers or truth values.

    Raises ``InputError`` for anything else, about ``name``; of rows of different lengths ``ragged``
    says how to mend them.

    >>> numbers([[1, 2], [3, 4]], "x", "").dtype
    dtype('int64')
    >>> numbers(["a"], "x", "")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gatewise.errors.InputError: x holds <U1 values, but only numbers are accepted. Encode text ...
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(
            f"{name} is no rectangular array: its rows have different lengths. {ragged}"
        ) from error
    kind = array.dtype.kind
    if kind == "c":
        raise _complex(name, array.dtype)
    if kind not in "fiub":
        raise InputError(
            f"{name} holds {array.dtype} values, but only numbers are accepted. Encode text with "
            "gatewise.data.Vocabulary, and categories as whole numbers."
        )
    return array


def real(tensor: Tensor, name: str) -> Tensor:
    """Return a tensor that holds no complex numbers, whose imaginary parts a cast would drop."""
    if tensor.is_complex():
        raise _complex(name, tensor.dtype)
    return tensor


def _complex(name: str, dtype: Any) -> InputError:
    return InputError(
        f"{name} holds {dtype} values, but only real numbers are accepted. Give real and imaginary "
        "parts as two features."
    )
