"""Settings and the one oracle that many tests share: the real Keras, on torch and in float64."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Keras reads this when it is first imported.
os.environ["KERAS_BACKEND"] = "torch"


@pytest.fixture
def keras_in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The real Keras as an oracle in full precision.

    On torch it casts the operands of matmul, add and others from float64 to float32, whatever the
    dtype of the layer, unless that entry is taken from its table.
    """
    import keras
    from keras.src.backend.common import dtypes

    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")  # the policy in force was made from the old floatx
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)
