"""The check behind every conversion: both sides give the same numbers, or it fails."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewise.errors import GatewiseError

# What float32 loses in sums of a few hundred products through a few layers.
_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


class DisagreementError(GatewiseError):
    """A converted model does not compute what its original computes."""


def assert_equal_outputs(name: str, wanted: Any, got: Any) -> None:
    """Raise ``DisagreementError`` if two arrays of outputs differ by more than rounding."""
    wanted, got = np.asarray(wanted), np.asarray(got)
    close = _TOLERANCE.get(str(wanted.dtype), 1e-4)
    if wanted.shape == got.shape and np.allclose(got, wanted, rtol=close, atol=close):
        return
    apart = f"the shapes {wanted.shape} and {got.shape}"
    if wanted.shape == got.shape:
        apart = f"up to {np.abs(wanted - got).max():.3g} between outputs"
    raise DisagreementError(
        f"{name}: the converted model differs from its original ({apart}), so it is not handed "
        "out. Please report the model's configuration; until then, keep the original."
    )
